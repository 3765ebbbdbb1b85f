"""What is noticed about strips stands in the result, the table and the page of every command that reads them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from lineside.cli._reading import READS_STRIPS
from lineside.cli.main import app, main
from lineside.errors import USER_ERROR

MODEL = Path(__file__).parents[1] / "engine" / "models" / "production.onnx"
SAID = "Target is a copy of a reference"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set with one good strip whose Target is a reference, and a mask that is inverted."""
    rng = np.random.default_rng(0)
    for folder, count in (("train/good", 2), ("test/good", 2), ("test/spot", 2)):
        (tmp_path / "data" / folder).mkdir(parents=True)
        for index in range(count):
            strip = np.tile(rng.integers(60, 200, (1, 64, 96)), (3, 1, 1)).astype(np.uint8)
            strip[2] ^= 1
            strip[0] ^= 2
            if folder == "test/spot":
                strip[0, 20:24, 30:33] = 255
            if (folder, index) == ("test/good", 1):
                strip[0] = strip[1]
            tifffile.imwrite(tmp_path / "data" / folder / f"{index}.tif", strip, photometric="minisblack")
    truth = tmp_path / "data/ground_truth/spot"
    truth.mkdir(parents=True)
    mask = np.zeros((64, 96), np.uint8)
    mask[20:24, 30:33] = 255
    Image.fromarray(mask).save(truth / "0.png")
    Image.fromarray(255 - mask).save(truth / "1.png")
    return tmp_path / "data"


def test_infer_names_the_strip_in_its_row_its_table_and_its_summary(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["infer", str(MODEL), str(data / "test"), "--out", str(out), "--json", str(tmp_path / "a.json")]) == 0
    printed = capsys.readouterr()
    assert SAID in " ".join(printed.out.split())
    assert f"warning: {SAID}" in printed.err
    with (out / "results.csv").open(newline="") as file:
        warnings = {Path(row["file"]).relative_to(data / "test").as_posix(): row["warning"] for row in csv.DictReader(file)}
    assert {name for name, text in warnings.items() if SAID in text} == {"good/1.tif"}
    results = json.loads((out / "results.json").read_text())
    assert any(SAID in line and "1.tif" in line for line in results["warnings"])
    assert results["warnings"] == json.loads((tmp_path / "a.json").read_text())["warnings"]


def test_evaluate_and_qualify_keep_the_warnings_in_their_files(data: Path, tmp_path: Path) -> None:
    assert main(["evaluate", str(MODEL), str(data), "--out", str(tmp_path / "out")]) == 0
    lines = json.loads((tmp_path / "out/metrics.json").read_text())["warnings"]
    assert any(SAID in line for line in lines)
    assert any("more than half" in line and "1.png" in line for line in lines)
    main(["qualify", str(MODEL), "--reference", str(MODEL), "--dataset", str(data), "--report", str(tmp_path / "report")])
    assert any(SAID in line for line in json.loads((tmp_path / "report/report.json").read_text())["warnings"])
    assert SAID in (tmp_path / "report/report.html").read_text()


def test_strict_makes_an_error_of_a_warning(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(MODEL), str(data), "--strict"]) == USER_ERROR
    assert "1.tif" in capsys.readouterr().err
    assert main(["infer", str(MODEL), str(data / "test"), "--out", str(tmp_path / "out"), "--strict", "--no-pictures"]) == USER_ERROR
    counts = json.loads((tmp_path / "out/results.json").read_text())["counts"]
    assert counts["NOT_INSPECTED"] == 1


def test_references_that_are_the_same_everywhere_are_an_error_when_strict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "strips").mkdir()
    for index in range(3):
        strip = np.random.default_rng(index).integers(0, 255, (3, 64, 96)).astype(np.uint8)
        strip[2] = strip[1]
        tifffile.imwrite(tmp_path / "strips" / f"{index}.tif", strip, photometric="minisblack")
    call = ["infer", str(MODEL), str(tmp_path / "strips"), "--no-pictures", "--force", "--out", str(tmp_path / "out")]
    assert main(call) == 0
    assert "both references are the same" in capsys.readouterr().err
    assert main([*call, "--strict"]) == USER_ERROR


def test_a_lossy_strip_is_not_inspected_unless_that_is_allowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (64, 96, 3)).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "strip.jpg", quality=95)
    call = ["infer", str(MODEL), str(tmp_path / "strip.jpg"), "--no-pictures", "--force", "--out", str(tmp_path / "out")]
    assert main(call) == USER_ERROR
    assert "PNG or TIFF" in capsys.readouterr().err
    assert main([*call, "--allow-lossy"]) == 0
    assert "with loss" in capsys.readouterr().err


def test_what_is_allowed_is_allowed_to_the_processes_of_a_training_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    (tmp_path / "data/train/good").mkdir(parents=True)
    for index in range(2):
        picture = np.random.default_rng(index).integers(0, 255, (64, 96, 3)).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / f"data/train/good/{index}.jpg", quality=95)
    call = ["train", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--size", "64x96", "--tile", "64", "--epochs", "1"]
    call += ["--steps-per-epoch", "1", "--batch-size", "2", "--base-channels", "2", "--workers", "1"]
    assert main(call) == USER_ERROR
    assert main([*call, "--allow-lossy"]) == 0
    assert "with loss" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [command for command in app.registered_commands if command.callback], ids=lambda one: one.callback.__name__
)
def test_every_command_that_reads_strips_has_both_options(command: object, capsys: pytest.CaptureFixture[str]) -> None:
    import inspect

    callback = command.callback  # type: ignore[attr-defined]
    reads = set(READS_STRIPS).intersection(inspect.signature(callback).parameters)
    main([callback.__name__, "--help"])
    said = capsys.readouterr().out
    assert ("--strict" in said) is ("--allow-lossy" in said) is bool(reads)

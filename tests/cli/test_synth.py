"""`lineside synth` as a newcomer types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lineside import Dataset
from lineside.cli.main import main

QUICK = ["--size", "96x80", "--train", "2", "--valid", "1", "--test", "1"]


def test_the_table_names_every_folder_and_the_next_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synth", str(tmp_path / "data"), *QUICK]) == 0
    shown = capsys.readouterr().out
    for folder in ("train/good", "valid/good", "valid/spot", "test/good", "test/spot", "test/faint", "test/blob", "test/scratch"):
        assert folder in shown
    assert "lineside train" in shown
    assert len(Dataset.open(tmp_path / "data").train) == 2


def test_json_on_stdout_is_all_there_is_on_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synth", str(tmp_path / "data"), *QUICK, "--json", "-"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["counts"]["train/good"] == 2
    assert value["spec"]["height_px"] == 96
    assert value["dataset"] == str(tmp_path / "data")


def test_every_option_arrives(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90), np.uint8)).save(photo)
    options = ["--texture", str(photo), "--tile", "64", "--seed", "5", "--shift", "0.5", "--json", str(tmp_path / "made.json")]
    assert main(["synth", str(tmp_path / "data"), *QUICK, *options]) == 0
    said = json.loads((tmp_path / "data" / "dataset.json").read_text())
    assert (said["spec"]["tile_px"], said["seed"], said["shift_px"], said["texture"]["file"]) == (64, 5, 0.5, "photo.png")
    assert json.loads((tmp_path / "made.json").read_text())["counts"] == said["counts"]


def test_a_second_run_needs_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synth", str(tmp_path / "data"), *QUICK]) == 0
    assert main(["synth", str(tmp_path / "data"), *QUICK]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["synth", str(tmp_path / "data"), *QUICK, "--force"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "wide"], "HEIGHTxWIDTH"),
        (["--size", "strip", "--tile", "100"], "use --tile 96 or --tile 128"),
        (["--size", "40x40"], "use --size 64x64"),
        (["--train", "0"], "training needs one"),
        (["--train", "many"], "--train"),
        (["--shift", "5"], "0 to 4 px"),
        (["--seed", "-1"], "seed -1"),
        (["--texture", "none.png"], "no such file"),
        (["--texture", __file__], "not a picture"),
    ],
)
def test_a_mistake_is_explained_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["synth", str(tmp_path / "data"), *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []

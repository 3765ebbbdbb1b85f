"""`lineside evaluate`, through the program itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from lineside.cli.main import main
from lineside.dataset import DATASET_FILE
from lineside.spec import StripSpec

# heat = max(0, Target - max(Ref1, Ref2)), strips of 64 x 96 px, threshold 0.25: see make.py there
MODEL = Path(__file__).parents[1] / "engine" / "models" / "production.onnx"
SPEC = StripSpec(height_px=64, width_px=96, tile_px=32, rows=3, columns=4)

needs_onnxruntime = pytest.mark.usefixtures("onnxruntime")


@pytest.fixture
def onnxruntime() -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime runs the model")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two good strips; a spot that is found and one that is too faint for the threshold."""
    root = tmp_path / "data"
    for kind, name, grey in (("good", "g0", 0), ("good", "g1", 30), ("spot", "s0", 120), ("spot", "s1", 40)):
        strip = np.full((3, 64, 96), 100, np.uint8)
        strip[0, 20:23, 50:53] += grey
        path = root / "test" / kind / f"{name}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, strip, photometric="minisblack")
        if kind == "spot":
            mask = np.zeros((64, 96), np.uint8)
            mask[20:23, 50:53] = 255
            path = root / "ground_truth" / kind / f"{name}_mask.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(path)
    (root / DATASET_FILE).write_text(json.dumps({"schema": 1, "spec": SPEC.to_json()}))
    return root


@needs_onnxruntime
def test_the_numbers_of_an_onnx_file_are_shown_and_written_with_their_pictures(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib draws the curves")
    out = tmp_path / "evaluation"
    assert main(["evaluate", str(MODEL), str(dataset), "--out", str(out), "--json", str(tmp_path / "result.json")]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["curves.png", "metrics.json", "scores.png", "worst.png"]
    value = json.loads((out / "metrics.json").read_text())
    assert value == json.loads((tmp_path / "result.json").read_text())
    assert (value["threshold"], value["threshold_source"]) == (0.25, "model")
    assert (value["image_auroc"], value["recall"], value["good_called_ng"]) == (1.0, 0.5, 0)
    assert (value["model"], value["dataset"]) == (str(MODEL), str(dataset))
    assert value["threshold_rule"] == "not tuned"
    shown = capsys.readouterr()
    assert "0.25 (not tuned)" in shown.out
    assert "image AUROC" in shown.out
    assert "spot" in shown.out
    assert "worst.png" in "".join(shown.out.split("\n")[-4:])
    assert "evaluate" in shown.err


@needs_onnxruntime
def test_json_on_stdout_is_json_alone(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(MODEL), str(dataset), "--threshold", "0.1", "--json", "-"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["threshold"], value["threshold_source"]) == (0.1, "caller")
    assert (value["recall"], value["good_called_ng"]) == (1.0, 1)


@needs_onnxruntime
def test_a_folder_that_holds_something_is_refused_without_force(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib draws the curves")
    out = tmp_path / "evaluation"
    out.mkdir()
    (out / "mine.txt").write_text("precious")
    assert main(["evaluate", str(MODEL), str(dataset), "--out", str(out)]) == 2
    assert "already holds files" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    assert main(["evaluate", str(MODEL), str(dataset), "--out", str(out), "--force"]) == 0
    assert (out / "mine.txt").read_text() == "precious"


@needs_onnxruntime
def test_strips_of_another_size_are_refused(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite(dataset / "test" / "good" / "g1.tif", np.zeros((3, 64, 64), np.uint8), photometric="minisblack")
    assert main(["evaluate", str(MODEL), str(dataset), "--json", str(tmp_path / "result.json")]) == 2
    error = capsys.readouterr().err
    assert "g1.tif" in error
    assert "64 x 96 px" in error
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize("threshold", ["1.5", "-0.1", "nan"])
def test_a_threshold_outside_0_to_1_is_refused(dataset: Path, capsys: pytest.CaptureFixture[str], threshold: str) -> None:
    assert main(["evaluate", str(MODEL), str(dataset), "--threshold", threshold]) == 2
    assert "use a number from 0 to 1" in capsys.readouterr().err


def test_a_model_that_is_not_there_or_of_no_known_kind_is_refused(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(tmp_path / "missing.pt"), str(dataset)]) == 2
    assert "missing.pt: no such file" in capsys.readouterr().err
    (tmp_path / "model.h5").write_text("?")
    assert main(["evaluate", str(tmp_path / "model.h5"), str(dataset)]) == 2
    error = capsys.readouterr().err
    assert "unknown kind of model .h5" in error
    assert "(.pt) and ONNX files (.onnx)" in error


def test_providers_are_for_onnx_files_alone(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("best.pt", "strip.engine"):
        (tmp_path / name).write_text("?")
        assert main(["evaluate", str(tmp_path / name), str(dataset), "--provider", "cuda"]) == 2
        assert "for ONNX files" in capsys.readouterr().err


@needs_onnxruntime
def test_a_provider_that_is_not_there_is_refused(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(MODEL), str(dataset), "--provider", "rocket"]) == 2
    assert "'rocket' is not available" in capsys.readouterr().err
    assert main(["evaluate", str(MODEL), str(dataset), "--provider", "cpu"]) == 0


def test_the_folder_of_a_run_is_refused_with_the_checkpoint_in_it(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "best.pt").write_text("?")
    assert main(["evaluate", str(run), str(dataset)]) == 2
    assert str(run / "best.pt") in "".join(capsys.readouterr().err.split("\n"))

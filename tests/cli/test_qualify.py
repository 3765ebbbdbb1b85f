"""`lineside qualify` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from lineside.cli.main import main

pytest.importorskip("onnxruntime", reason="it runs both models")

MODELS = Path(__file__).parents[1] / "engine/models"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two good strips, and two with a heat of 0.4: NG for production.onnx, missed by dim.onnx, which halves it."""
    rng = np.random.default_rng(1)
    for kind in ("good", "spot"):
        for number in range(2):
            strip = np.repeat(rng.integers(90, 120, (1, 64, 96)), 3, axis=0).astype(np.uint8)
            mask = np.zeros((64, 96), np.uint8)
            if kind == "spot":
                strip[0, 30:33, 40 + number : 43 + number] = strip[1, 30:33, 40 + number : 43 + number] + 102
                mask[30:33, 40 + number : 43 + number] = 255
                (tmp_path / "data/ground_truth/spot").mkdir(parents=True, exist_ok=True)
                tifffile.imwrite(tmp_path / f"data/ground_truth/spot/s{number}.tif", mask)
            (tmp_path / f"data/test/{kind}").mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(tmp_path / f"data/test/{kind}/{kind[0]}{number}.tif", strip, photometric="minisblack")
    return tmp_path / "data"


def qualify(candidate: str, dataset: Path, report: Path, *more: str) -> int:
    given = {"--reference": MODELS / "production.onnx", "--dataset": dataset, "--report": report}
    options = [text for name, path in given.items() for text in (name, str(path))]
    return main(["qualify", str(MODELS / f"{candidate}.onnx"), *options, *more])


def test_a_model_that_keeps_the_verdicts_exits_with_0_and_leaves_a_report(dataset: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    assert qualify("raw_float", dataset, report) == 0
    value = json.loads((report / "report.json").read_text())
    assert (value["answer"], value["dataset"]["strips"]) == ("qualified", 4)
    assert "qualified</span>" in (report / "report.html").read_text()


def test_a_model_that_misses_defects_exits_with_3_and_says_why(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert qualify("dim", dataset, tmp_path / "report") == 3
    said = capsys.readouterr().out
    assert "not qualified" in said
    assert "2 of 4 verdicts flip" in " ".join(said.split())
    assert json.loads((tmp_path / "report/report.json").read_text())["answer"] == "not qualified"


def test_too_little_data_exits_with_3_and_says_so(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (dataset / "test/spot").iterdir():
        path.unlink()
    assert qualify("production", dataset, tmp_path / "report", "--json", "-") == 3
    value = json.loads(capsys.readouterr().out)
    assert value["answer"] == "not enough data"
    assert any("recall" in text for text in value["missing"])


def test_the_same_command_goes_on_and_another_pair_is_refused(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report"
    assert qualify("production", dataset, report) == 0
    assert qualify("production", dataset, report) == 0
    assert qualify("dim", dataset, report) == 2
    assert "another pair" in capsys.readouterr().err
    assert qualify("dim", dataset, report, "--force") == 3
    assert json.loads((report / "report.json").read_text())["answer"] == "not qualified"


@pytest.mark.parametrize(
    ("candidate", "message"), [("line", "976x176"), ("other", "another network"), ("nan", "the candidate"), ("nothing", "no such file")]
)
def test_a_candidate_that_cannot_be_compared_is_one_message(
    candidate: str, message: str, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert qualify(candidate, dataset, tmp_path / "report") == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "report/report.html").exists()
    assert candidate == "nan" or not (tmp_path / "report").exists()


def test_a_folder_with_other_files_is_refused_and_left_alone(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report/mine.txt").write_text("mine")
    assert qualify("production", dataset, tmp_path / "report") == 2
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["mine.txt"]


def test_strips_of_nobody_knows_what_are_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert qualify("production", tmp_path / "data", tmp_path / "report") == 2

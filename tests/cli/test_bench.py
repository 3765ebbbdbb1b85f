"""`lineside bench` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lineside.cli.main import main

pytest.importorskip("onnxruntime", reason="it runs the models")

MODELS = Path(__file__).parents[1] / "engine/models"
QUICK = ("--seconds", "0.2", "--threads", "1", "--no-cold-start")


def bench(*words: str) -> int:
    return main(["bench", *words, *QUICK])


def test_two_models_are_compared_in_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(str(MODELS / "production.onnx"), str(MODELS / "raw.onnx"), "--batch", "1,2") == 0
    said = capsys.readouterr().out
    for word in ("production.onnx, batch 1", "raw.onnx, batch 2", "p99 ms", "ratio"):
        assert word in said


def test_a_report_is_a_page_json_and_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report"
    assert bench(str(MODELS / "production.onnx"), "--report", str(report)) == 0
    assert sorted(path.name for path in report.iterdir()) == ["bench.csv", "bench.html", "bench.json"]
    assert json.loads((report / "bench.json").read_text())["rows"][0]["name"] == "production.onnx"
    assert str(report) in capsys.readouterr().out
    assert bench(str(MODELS / "production.onnx"), "--report", str(report)) == 2
    assert bench(str(MODELS / "production.onnx"), "--report", str(report), "--force") == 0


def test_json_on_stdout_is_json_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(str(MODELS / "production.onnx"), "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["schema"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing.onnx"], "no such file"),
        (["{old_schema}"], "schema"),
        (["{production}", "--batch", "0"], "--batch"),
        (["{production}", "--batch", "many"], "--batch"),
        (["{production}", "--shape", "input=1x3x8x8"], "--shape"),
        (["{production}", "--runner", "tvm"], "--runner"),
        (["{production}", "--runner", "onnxruntime", "--shape", "input=1x3x8x8"], "--shape"),
        (["{fixed}", "--batch", "1"], "batch of 1"),
        (["{production}", "--provider", "cuda"], "provider"),
        (["{production}", "--paced", "-1"], "-1"),
        (["{nan}"], "heat"),
    ],
)
def test_bad_input_is_one_message(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = {path.stem: str(path) for path in MODELS.glob("*.onnx")}
    assert bench(*(word.format(**paths) for word in words), "--report", str(tmp_path / "report")) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not list((tmp_path / "report").glob("*"))

"""`lineside bench` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from lineside.cli.main import main

pytest.importorskip("onnxruntime", reason="it runs the models")

MODELS = Path(__file__).parents[1] / "engine/models"
QUICK = ("--seconds", "0.2", "--threads", "1", "--loads", "2", "--no-cold-start")


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


def test_a_baseline_of_this_machine_is_compared_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    baseline = tmp_path / "baseline.json"
    assert bench(str(MODELS / "production.onnx"), "--json", str(baseline)) == 0
    assert bench(str(MODELS / "production.onnx"), "--against", str(baseline), "--allow", "900") == 0
    assert "the machine itself took" in capsys.readouterr().out


def test_slower_than_the_baseline_exits_with_3(tmp_path: Path) -> None:
    baseline = tmp_path / "baseline.json"
    assert bench(str(MODELS / "production.onnx"), "--json", str(baseline)) == 0
    value = json.loads(baseline.read_text())
    latency = value["rows"][0]["latency"]
    latency["samples_ms"] = [ms / 10 for ms in latency["samples_ms"]]
    baseline.write_text(json.dumps(value))
    report = tmp_path / "report"
    assert bench(str(MODELS / "production.onnx"), "--against", str(baseline), "--report", str(report)) == 3
    assert json.loads((report / "bench.json").read_text())["against"]["changes"][0]["answer"] == "slower"
    assert "slower" in (report / "bench.html").read_text()


def test_a_baseline_of_another_machine_is_refused_unless_forced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    baseline = tmp_path / "baseline.json"
    assert bench(str(MODELS / "production.onnx"), "--json", str(baseline)) == 0
    value = json.loads(baseline.read_text())
    value["rows"][0]["environment"]["cpu"]["model"] = "Abacus"
    baseline.write_text(json.dumps(value))
    assert bench(str(MODELS / "production.onnx"), "--against", str(baseline)) == 2
    assert "Abacus" in capsys.readouterr().err
    assert bench(str(MODELS / "production.onnx"), "--against", str(baseline), "--force-baseline", "--allow", "900") == 0
    assert "of another machine: Abacus" in capsys.readouterr().out


def test_a_soak_is_in_the_report(tmp_path: Path) -> None:
    report = tmp_path / "report"
    assert bench(str(MODELS / "production.onnx"), "--soak", "0.01", "--report", str(report)) == 0
    assert len(json.loads((report / "bench.json").read_text())["soak"]) == 1
    assert "Soak" in (report / "bench.html").read_text()


def test_strips_of_a_folder_are_read_as_a_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for index in range(8):
        tifffile.imwrite(tmp_path / f"{index}.tif", rng.random((4, 64, 96), np.float32), photometric="minisblack")
    assert bench(str(MODELS / "production.onnx"), "--strips", str(tmp_path), "--json", str(tmp_path / "bench.json")) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("read", "convert", "inference", "post", "caller sees"))
    row = json.loads((tmp_path / "bench.json").read_text())["rows"][0]
    assert row["latency"]["stages_ms"]["read"]["p50"] > 0


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
        (["{production}", "--against", "nothing.json"], "nothing.json"),
        (["{production}", "--against", "{production}"], "not a measurement"),
        (["{production}", "--soak", "0"], "soak"),
        (["{production}", "--strips", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_message(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = {path.stem: str(path) for path in MODELS.glob("*.onnx")}
    assert bench(*(word.format(**paths) for word in words), "--report", str(tmp_path / "report")) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not list((tmp_path / "report").glob("*"))

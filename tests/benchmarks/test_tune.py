"""The fastest that keeps the verdicts, of a network set by hand to find what is in Target alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import lineside.benchmarks.tune as tuning
from lineside.benchmarks.measure.latency import Row
from lineside.benchmarks.measure.stats import Percentiles
from lineside.cli.main import main
from lineside.engine.files.tuned import Tuned, tuned_path
from lineside.engine.inspector import Inspector
from lineside.manifest import ModelManifest
from lineside.spec import StripSpec

onnx = pytest.importorskip("onnx", reason="models are ONNX files")
pytest.importorskip("onnxruntime", reason="it runs them")
SPEC = StripSpec.of_size(100, 70, tile_px=64)
SLOW_MS = 100.0


@pytest.fixture
def model(detector: Any, tmp_path: Path) -> Path:
    from lineside.export.graph import ExportOptions, onnx_model

    manifest = ModelManifest(
        spec=SPEC, tiling="batched", io="production", base_channels=2, weights_sha256="0" * 64, checkpoint_sha256="1" * 64
    )
    path = tmp_path / "strip.onnx"
    onnx.save(onnx_model(detector, manifest, ExportOptions()), str(path))
    return path


@pytest.fixture
def known_times(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Milliseconds by the name of a candidate, in place of a clock; what is not in it is slow."""
    times: dict[str, float] = {}

    def measure(subjects: Any, options: Any) -> tuple[Row, ...]:
        rows = []
        rounds = 10 * len(subjects)  # two runs never have as many rounds
        for subject in subjects:
            samples = tuple(times.get(subject.name, SLOW_MS) * (1 + index / 1000) for index in range(rounds))
            row = Row(name=subject.name, total_ms=Percentiles.of(samples), stages_ms={}, samples_ms=samples, warm_up_calls=1, settled=True)
            rows.append(row)
        return tuple(rows)

    monkeypatch.setattr(tuning, "measure", measure)
    monkeypatch.setattr(tuning, "physical_cores", lambda: 2)
    return times


def test_the_fastest_that_qualifies_is_chosen(
    model: Path, labelled: Path, tmp_path: Path, known_times: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    known_times |= {
        "batched, int8, first and last too, 2 threads": 10.0,
        "batched, int8, 2 threads": 20.0,
        "batched, fp32, 2 threads": 60.0,
    }
    asked: list[str] = []
    real = tuning._ask

    def ask(one: tuning.Candidate, base: Any, *more: Any) -> Any:
        asked.append(one.name)
        return real(base if one.precision == "int8" else one, base, *more) if "first" not in one.name else refusal(real(base, base, *more))

    def refusal(found: Any) -> Any:
        return type("Refused", (), {"answer": "not qualified", "failures": ("a verdict flips",), "missing": ()})()

    monkeypatch.setattr(tuning, "_ask", ask)
    found = tuning.tune(model, labelled, tmp_path)
    assert asked == ["batched, int8, first and last too, 2 threads", "batched, int8, 2 threads"]
    assert found.chosen is not None
    assert found.chosen.candidate.name == "batched, int8, 2 threads"
    assert found.chosen.timed.times_faster.value == pytest.approx(3.0)
    assert found.to_json()["candidates"][1]["times_faster"]["value"] == pytest.approx(3.0)
    answers = [one.answer for one in found.tried]
    assert answers[:3] == ["not qualified", "qualified", "not asked"]


def test_fewer_threads_are_tried_for_the_fastest(model: Path, labelled: Path, tmp_path: Path, known_times: dict[str, float]) -> None:
    known_times |= {"batched, fp32, 2 threads": 20.0, "batched, fp32, 1 thread": 15.0}
    found = tuning.tune(model, labelled, tmp_path)
    assert found.chosen is not None
    assert (found.chosen.candidate.threads, found.chosen.answer) == (1, "qualified")


def test_the_choice_lies_beside_the_model_and_is_used(
    model: Path, labelled: Path, tmp_path: Path, known_times: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    known_times |= {"batched, fp32, 2 threads": 20.0, "batched, fp32, 1 thread": 15.0}
    assert main(["tune", str(model), str(labelled), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["chosen"] == "batched, fp32, 1 thread"
    out = tmp_path / "strip.tuned.onnx"
    assert tuned_path(out) == tmp_path / "strip.tuned.json"
    with Inspector.load(out) as inspector:
        assert inspector.describe()["threads"] == 1
    with Inspector.load(out, threads=2) as inspector:
        assert inspector.describe()["threads"] == 2
    assert main(["tune", str(model), str(labelled)]) == 2  # the choice is there
    assert "already exists" in capsys.readouterr().err


def test_another_machine_passes_the_choice_over(
    model: Path, labelled: Path, tmp_path: Path, known_times: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    tuning.write_choice(tuning.tune(model, labelled, tmp_path), tmp_path / "chosen.onnx")
    tuned = Tuned.beside(tmp_path / "chosen.onnx")
    assert tuned is not None
    assert tuned.counts_for(tuned.sha256)
    assert not tuned.counts_for("0" * 64)
    monkeypatch.setattr("lineside.engine.files.tuned.this_machine", lambda: "another one")
    assert not tuned.counts_for(tuned.sha256)


def test_a_damaged_choice_is_one_message(model: Path, labelled: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    tuned_path(model).write_text('{"schema": 99}')
    assert main(["infer", str(model), str(labelled / "test"), "--out", str(tmp_path / "out")]) == 2
    assert "lineside tune" in capsys.readouterr().err


def test_without_labels_there_is_nothing_to_keep(model: Path, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train").symlink_to(labelled / "train")
    assert main(["tune", str(model), str(tmp_path / "data")]) == 2
    assert "no test folder" in capsys.readouterr().err

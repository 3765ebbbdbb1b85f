"""Loading is measured in a process of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lineside.benchmarks.bench.cold_start import cold_start
from lineside.benchmarks.subjects.cases import Case
from lineside.errors import ModelError

pytest.importorskip("onnxruntime", reason="it runs the model")

MODELS = Path(__file__).parents[2] / "engine" / "models"


def test_a_cold_start_is_measured_in_a_fresh_process() -> None:
    start = cold_start(Case.inspected(MODELS / "line.onnx"))
    assert min(start.startup_ms, start.import_ms, start.load_ms, start.first_ms) > 0
    assert start.total_ms == pytest.approx(start.startup_ms + start.import_ms + start.load_ms + start.first_ms)
    assert 0 < start.peak_mib < start.process_mib, "the interpreter and its packages are not the model's"
    assert start.process_mib < 1000


def test_a_path_may_hold_quotes_and_braces(tmp_path: Path) -> None:
    path = tmp_path / "a 'quoted' {name}\\n.onnx"
    shutil.copy(MODELS / "production.onnx", path)
    assert cold_start(Case.inspected(path)).load_ms > 0


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="gone") as caught:
        cold_start(Case.inspected(tmp_path / "gone.onnx"))
    assert caught.value.why

"""Model files are compared in one measurement, and what is not comparable is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lineside.benchmarks.measure.latency import LatencyOptions
from lineside.benchmarks.studies.tilings import measure_models
from lineside.errors import ConfigError

MODELS = Path(__file__).parents[2] / "engine" / "models"


def test_models_run_in_the_same_rounds(tmp_path: Path) -> None:
    copy = Path(shutil.copy(MODELS / "line.onnx", tmp_path / "copy.onnx"))
    rows = measure_models([MODELS / "line.onnx", copy], LatencyOptions(seconds=None, rounds=5, warm_up_seconds=0))
    assert [row.name for row in rows] == ["line", "copy"]
    assert [row.total_ms.n for row in rows] == [5, 5]


def test_models_for_other_strips_are_not_compared() -> None:
    with pytest.raises(ConfigError, match="one size"):
        measure_models([MODELS / "line.onnx", MODELS / "production.onnx"], LatencyOptions(rounds=1))

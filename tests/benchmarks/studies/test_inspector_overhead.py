from __future__ import annotations

from pathlib import Path

import pytest

from lineside.benchmarks.measure.latency import LatencyOptions
from lineside.benchmarks.studies.inspector_overhead import measure_overhead, overhead_table

MODELS = Path(__file__).parents[2] / "engine" / "models"


@pytest.mark.parametrize("model", ["line", "raw", "raw_float", "fixed"])
def test_the_wrapper_is_measured_against_the_bare_session(model: str) -> None:
    found = measure_overhead(MODELS / f"{model}.onnx", threads=1, options=LatencyOptions(seconds=None, rounds=20, warm_up_seconds=0.1))
    assert (found.bare.name, found.wrapped.name) == ("session.run", "Inspector.inspect")
    stages = found.wrapped.stages_ms
    assert set(stages) == {"convert", "inference", "post"}
    assert sum(stage.p50 for stage in stages.values()) <= found.wrapped.total_ms.max
    ratios = sorted(above / below for above, below in zip(found.wrapped.samples_ms, found.bare.samples_ms, strict=True))
    assert ratios[0] <= found.ratio.value <= ratios[-1]
    assert overhead_table([found]).row_count == 1

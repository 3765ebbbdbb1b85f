"""The steps `latency ...`: engines beside each other in one interleaved measurement.

For every engine, batch and graph on or off there is one backend of the measuring core (`latency`): `Inspector` as its caller sees it, with
its stages on the host's clock. Beside it stands the same engine's `OnGpu`, whose stages are the GPU's times by CUDA events. The two clocks
are never added up: each row says which one its stages are of.
An engine that no earlier step built is left out, and named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineside.benchmarks.measure.engine_stages import COMPUTE, OnGpu, open_on_gpu
from lineside.benchmarks.measure.inputs import InTurn
from lineside.benchmarks.measure.latency import Backend, LatencyOptions, Row, measure
from lineside.benchmarks.measure.nvml import read_gpus
from lineside.benchmarks.subjects.inspector_subject import INFERENCE, Inspected
from lineside.engine.inspector import Inspector
from lineside.engine.run.backend import LoadOptions
from lineside.engine.run.runner import RunOptions
from lineside.engine.run.tensorrt_backend import TensorRtBackend
from lineside.errors import ModelError
from lineside.judge.threshold import DEFAULT_THRESHOLD

from .limits import floor_ms
from .steps import FIRST, Bench, check

HOST, GPU = "host", "GPU"
WARM_UP_S = 1.0
RESERVED_S = 15.0
"""Of a step's time, for loading."""
FLOOR = 2.0
"""FP16 batched at base 64 within so many times of its floor,"""
INT8_FASTER = 1.4
"""INT8 so many times as fast as FP16,"""
HOST_OVER_GPU = 1.15
"""and a strip as its caller sees it within 15 % of copies and compute: what is aimed at."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a backend is of; `clock` is that of its stages."""

    model: str
    rows: int
    clock: str
    graph: bool
    backend: Backend


def latency(bench: Bench, *, models: Sequence[str], batch: str = "1", graphs: Sequence[bool] = (True, False)) -> dict[str, Any]:
    """Measure those of `models` that have an engine, with every batch that it was built for."""
    strips = list(bench.bundle.strips())
    there = [model for model in models if bench.engine(model, batch).is_file()]
    if not there:
        raise ModelError(f"no engine of {', '.join(models)}", why="the steps before built none", fix="see their results")
    with ExitStack() as stack:
        entries = [entry for model in there for entry in _entries(stack, bench.engine(model, batch), model, strips, graphs)]
        options = LatencyOptions(seconds=max(2.0, bench.limit_s - RESERVED_S - WARM_UP_S * len(entries)), warm_up_seconds=WARM_UP_S)
        before = read_gpus()
        rows = measure([entry.backend for entry in entries], options)
        after = read_gpus()
    found = {
        "not_built": [model for model in models if model not in there],
        "gpus_before": before,
        "gpus_after": after,
        "rows": [described(bench, entry, row) for entry, row in zip(entries, rows, strict=True)],
    }
    found["checks"] = _checks(bench, dict(zip([_key(entry) for entry in entries], rows, strict=True)))
    return found


def _entries(stack: ExitStack, engine: Path, model: str, strips: Sequence[NDArray[np.uint8]], graphs: Sequence[bool]) -> list[Entry]:
    """The backends of one engine."""
    entries = []
    for graph in graphs:
        backend = TensorRtBackend.load(engine, LoadOptions(run=RunOptions(graph=graph)))
        inspector = stack.enter_context(Inspector(backend, threshold=DEFAULT_THRESHOLD))
        for rows in sorted({profile.opt for profile in backend.model.profiles.profiles}):
            if len(backend.model.profiles.profiles) > 1:  # a batch of its own context: changing the batch drops the graph
                inspector = stack.enter_context(inspector.clone())
            name = f"{model} batch {rows} {'graph' if graph else 'enqueue'}"
            entries.append(
                Entry(
                    model=model,
                    rows=rows,
                    clock=HOST,
                    graph=graph,
                    backend=Inspected(name=name, inspector=inspector, strips=InTurn(strips), rows=rows),
                )
            )
    for rows in sorted({entry.rows for entry in entries}):
        on_gpu = stack.enter_context(open_on_gpu(engine, rows, name=f"{model} batch {rows} stages"))
        entries.append(Entry(model=model, rows=rows, clock=GPU, graph=False, backend=on_gpu))
    return entries


def described(bench: Bench, entry: Entry, row: Row) -> dict[str, Any]:
    """A row with what it is of, the engine's memory, and how near it comes to its floor."""
    value = {**row.to_json(), "model": entry.model, "rows": entry.rows, "clock_of_stages": entry.clock, "graph": entry.graph}
    if isinstance(entry.backend, OnGpu):
        value["memory"] = entry.backend.memory.to_json()
    floor = floor_ms(bench, entry.model, entry.rows)
    if entry.clock == GPU and floor is not None:
        value |= {"floor_ms": floor, "times_the_floor": row.stages_ms[COMPUTE].p50 / floor}
    return value


def _key(entry: Entry) -> tuple[str, int, str, bool]:
    return entry.model, entry.rows, entry.clock, entry.graph


def _checks(bench: Bench, rows: Mapping[tuple[str, int, str, bool], Row]) -> list[dict[str, Any]]:
    """What is aimed at, for one strip, as far as it was measured."""
    found = []
    first_gpu, int8_gpu = (rows.get((model, 1, GPU, False)) for model in (FIRST, "batched.int8.production"))
    first_host = rows.get((FIRST, 1, HOST, True))
    floor = floor_ms(bench, FIRST, 1)
    if first_gpu is not None and floor is not None:
        times = first_gpu.stages_ms[COMPUTE].p50 / floor
        found.append(check("FP16 batched over its floor", times, times <= FLOOR, f"at most {FLOOR:g}"))
    if first_gpu is not None and int8_gpu is not None:
        faster = first_gpu.stages_ms[COMPUTE].p50 / int8_gpu.stages_ms[COMPUTE].p50
        found.append(check("INT8 faster than FP16, times", faster, faster >= INT8_FASTER, f"at least {INT8_FASTER:g}"))
    if first_gpu is not None and first_host is not None:
        gpu_ms = sum(stage.p50 for stage in first_gpu.stages_ms.values())
        ratio = first_host.stages_ms[INFERENCE].p50 / gpu_ms
        found.append(check("host-visible run over copies and compute", ratio, ratio <= HOST_OVER_GPU, f"at most {HOST_OVER_GPU:g}"))
    return found

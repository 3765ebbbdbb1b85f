"""What `Inspector.inspect` costs over a bare `session.run` on the same array.

    python -m lineside.benchmarks.studies.inspector_overhead strip.onnx --seconds 60

In:   ONNX files of `lineside export`.
Out:  a table, and with --json the samples and the environment.
Both run the same session in one interleaved measurement: the bare one on an array that is ready for it, the Inspector on a float32 strip as
it comes from a file, so that the whole of checking, converting and judging counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from numpy.typing import NDArray
from rich.table import Table

from lineside.benchmarks.measure.console import console, table_with
from lineside.benchmarks.measure.environment import environment
from lineside.benchmarks.measure.inputs import ARRAYS, strips
from lineside.benchmarks.measure.latency import LatencyOptions, Row, measure
from lineside.benchmarks.subjects.inspector_subject import CONVERT, POST, Inspected
from lineside.engine.files.io_forms import CONTRACTS
from lineside.engine.inspector import Inspector
from lineside.engine.run.backend import LoadOptions
from lineside.engine.run.onnxruntime_backend import OnnxRuntimeBackend
from lineside.files import refuse_existing, write_json
from lineside.judge.bootstrap import Interval
from lineside.judge.threshold import DEFAULT_THRESHOLD


@dataclass(frozen=True, kw_only=True)
class Bare:
    """`session.run` on arrays that the model takes as they are."""

    name: str
    session: Any
    outputs: Sequence[str]
    feeds: Sequence[Mapping[str, NDArray[Any]]]

    def run(self, index: int) -> None:
        """One strip."""
        self.session.run(self.outputs, self.feeds[index % len(self.feeds)])


@dataclass(frozen=True, kw_only=True)
class Overhead:
    """The cost of the wrapper around one model: `ratio` is wrapped over bare."""

    path: Path
    bare: Row
    wrapped: Row
    ratio: Interval


def measure_overhead(path: Path, *, threads: int | None = None, options: LatencyOptions = LatencyOptions()) -> Overhead:
    """Measure one model. Raises: ModelError, DeviceError."""
    backend = OnnxRuntimeBackend.load(path, LoadOptions(threads=threads))
    model, contract = backend.model, CONTRACTS[backend.model.io]
    rotation = strips(model.spec, channels=contract.input_channels, dtype=model.input_dtype)
    with Inspector(backend, threshold=DEFAULT_THRESHOLD) as inspector:
        feeds = []
        for index in range(ARRAYS):
            inspector.inspect(rotation.take(index))
            feeds.append({contract.input: backend.input.copy()})
        bare = Bare(name="session.run", session=backend.session, outputs=contract.outputs, feeds=feeds)
        rows = measure([bare, Inspected(name="Inspector.inspect", inspector=inspector, strips=rotation)], options)
    return Overhead(path=path, bare=rows[0], wrapped=rows[1], ratio=rows[1].over(rows[0]))


def main(
    models: Annotated[list[Path], typer.Argument(help="ONNX files.")],
    seconds: Annotated[float, typer.Option(help="For each model.")] = 30.0,
    threads: Annotated[int | None, typer.Option(help="Threads of one run; every physical core unless said.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write samples and environment.")] = None,
) -> None:
    """Measure what `Inspector.inspect` costs over a bare `session.run`."""
    if json is not None:
        refuse_existing(json, force=False)
    found = [measure_overhead(path, threads=threads, options=LatencyOptions(seconds=seconds)) for path in models]
    console().print(overhead_table(found))
    if json is not None:
        rows = {one.path.name: [one.bare.to_json(), one.wrapped.to_json()] for one in found}
        write_json(json, {"environment": environment(), "rows": rows})


def overhead_table(found: Sequence[Overhead]) -> Table:
    """One line per model."""
    table = table_with(
        "Inspector.inspect over session.run, medians in ms", "model", numbers=("n", "run", "inspect", CONVERT, POST, "overhead", "95 %")
    )
    for one in found:
        stages = one.wrapped.stages_ms
        medians = (one.bare.total_ms.p50, one.wrapped.total_ms.p50, stages[CONVERT].p50, stages[POST].p50)
        ratio = one.ratio
        table.add_row(
            one.path.stem,
            str(one.bare.total_ms.n),
            *(f"{median:.2f}" for median in medians),
            f"{ratio.value - 1:+.2%}",
            f"{ratio.low - 1:+.1%} .. {ratio.high - 1:+.1%}",
        )
    return table


if __name__ == "__main__":
    typer.run(main)

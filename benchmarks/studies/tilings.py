"""Load time, peak memory and latency of several model files in one measurement, such as the three tilings of one network.

    python -m lineside.benchmarks.studies.tilings batched.onnx unrolled.onnx full.onnx --seconds 120 --json tilings.json

In:   ONNX files of `lineside export` for strips of one size.
Out:  a table, and with --json the samples and the environment.
Latency is interleaved round robin over `Inspector`s in this process. Load time and memory come from a fresh process per file, which
loads the model and inspects one strip: its peak resident memory, less what the same process holds before it loads.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lineside.benchmarks.bench.cold_start import cold_start
from lineside.benchmarks.measure.console import console, table_with
from lineside.benchmarks.measure.environment import environment
from lineside.benchmarks.measure.inputs import strips
from lineside.benchmarks.measure.latency import LatencyOptions, Row, measure
from lineside.benchmarks.subjects.cases import Case
from lineside.benchmarks.subjects.inspector_subject import Inspected
from lineside.engine.inspector import Inspector
from lineside.errors import ConfigError
from lineside.files import refuse_existing, write_json


def measure_models(paths: Sequence[Path], options: LatencyOptions, *, threads: int | None = None) -> tuple[Row, ...]:
    """Interleaved latency of `paths`, on the same random strips.

    Raises:
        ConfigError: The models inspect strips of different sizes.
        ModelError: A file cannot be used.
    """
    with ExitStack() as stack:
        inspectors = [stack.enter_context(Inspector.load(path, threads=threads)) for path in paths]
        sizes = {inspector.spec.size for inspector in inspectors}
        if len(sizes) > 1:
            raise ConfigError(
                f"models for strips of {', '.join(sorted(sizes))}",
                why="they are compared on the same strips",
                fix="name models of one size",
            )
        rotation = strips(inspectors[0].spec)
        return measure(
            [Inspected(name=path.stem, inspector=one, strips=rotation) for path, one in zip(paths, inspectors, strict=True)], options
        )


def main(
    models: Annotated[list[Path], typer.Argument(help="ONNX files; the first is what the others are compared with.")],
    seconds: Annotated[float, typer.Option(help="For all of them together.")] = 60.0,
    threads: Annotated[int | None, typer.Option(help="Threads of one run; every physical core unless said.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write samples and environment.")] = None,
) -> None:
    """Measure load time, peak memory and latency of model files against each other."""
    if json is not None:
        refuse_existing(json, force=False)
    starts = [cold_start(Case.inspected(path)) for path in models]
    rows = measure_models(models, LatencyOptions(seconds=seconds), threads=threads)
    table = table_with(
        "One interleaved run; median ratio to the first",
        "model",
        numbers=("size MiB", "load ms", "peak MiB", "n", "p50 ms", "p99 ms", "ratio", "95 %"),
    )
    for path, start, row in zip(models, starts, rows, strict=True):
        ratio = row.over(rows[0])
        table.add_row(
            path.stem,
            f"{path.stat().st_size / 2**20:.1f}",
            f"{start.load_ms:.0f}",
            f"{start.peak_mib:.0f}",
            str(row.total_ms.n),
            f"{row.total_ms.p50:.1f}",
            f"{row.total_ms.p99:.1f}",
            f"{ratio.value:.3f}",
            f"{ratio.low:.3f} .. {ratio.high:.3f}",
        )
    console().print(table)
    if json is not None:
        measured = [{**row.to_json(), "cold_start": asdict(start)} for row, start in zip(rows, starts, strict=True)]
        write_json(json, {"schema": 1, "environment": environment(), "rows": measured})


if __name__ == "__main__":
    typer.run(main)

"""`lineside bench`: how fast are these models on this machine?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from lineside.errors import ANSWER_IS_NO
from lineside.files import json_text, make_output_folder, write_text

from ._console import STDOUT, ForceOption, JsonOption, ProviderOption, bar, check_json, emit, err

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lineside.benchmarks.bench.baseline import Against
    from lineside.benchmarks.bench.measurement import Measurement
    from lineside.benchmarks.subjects.cases import Case


def bench(
    models: Annotated[
        list[Path], typer.Argument(help="Checkpoints, ONNX files (ours or any other) and engines; the first is compared with.")
    ],
    batch: Annotated[str | None, typer.Option(help="Strips, or rows, of one call: 1,4,16.")] = None,
    threads: Annotated[str | None, typer.Option(help="Threads of one run on the CPU: 1,2. Every physical core unless said.")] = None,
    shape: Annotated[list[str] | None, typer.Option(help="Of an input of another ONNX file: input=1x3x224x224; again for more.")] = None,
    runner: Annotated[
        str | None, typer.Option(help="Who runs: inspector, onnxruntime, openvino; for .pt2 pytorch, compiled. Ours: inspector.")
    ] = None,
    graph: Annotated[str | None, typer.Option(help="CUDA graph of engines: on,off.")] = None,
    provider: ProviderOption = None,
    seconds: Annotated[float, typer.Option(help="Of the interleaved measurement, for all together.")] = 30.0,
    paced: Annotated[
        float | None, typer.Option(metavar="MS", help="Also measure one call every so many milliseconds, idle between.")
    ] = None,
    soak: Annotated[float | None, typer.Option(metavar="MINUTES", help="Measure on, minute by minute; at the pace of --paced.")] = None,
    loads: Annotated[int, typer.Option(help="Load every model anew so often: one load of a file is faster than the next.")] = 5,
    cold_start: Annotated[bool, typer.Option(help="Load time and memory, each in a process of its own.")] = True,
    strips: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Read strips of this folder inside every call, as a stage of its own.")
    ] = None,
    roofline: Annotated[
        bool, typer.Option("--roofline", help="Measure this machine's peak too, seconds more, and how near to it ONNX files come.")
    ] = False,
    report: Annotated[Path | None, typer.Option(metavar="DIR", help="A folder for bench.html, bench.json and bench.csv.")] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="BASELINE.json", help="An earlier bench.json of this machine: exit with 3 when slower.")
    ] = None,
    allow: Annotated[float, typer.Option(metavar="PERCENT", help="Slower than the baseline by so much is no regression.")] = 10.0,
    force_baseline: Annotated[bool, typer.Option("--force-baseline", help="Compare with one of another machine, and say so.")] = False,
    json: JsonOption = None,
    force: ForceOption = False,
) -> None:
    """Measure models against each other, in one interleaved run.

    Latency, throughput, cold start and memory.

    With --against exits with 3 when the whole 95 % interval of a row's ratio to the baseline lies above the allowance.

    Example: lineside bench strip.onnx strip.int8.onnx --seconds 60 --report REPORT

    Example: lineside bench strip.onnx --strips DATASET/train/good --roofline --report REPORT

    Example: lineside bench resnet18.onnx --shape input=1x3x224x224 --batch 1,16 --runner onnxruntime,openvino
    """
    from lineside.benchmarks.bench.baseline import Baseline
    from lineside.benchmarks.bench.bench import bench as measure
    from lineside.benchmarks.bench.bench_options import BenchOptions
    from lineside.benchmarks.measure.console import console
    from lineside.benchmarks.subjects.cases import Axes

    check_json(json, force=force)
    axes = Axes.parse(batch=batch, threads=threads, providers=provider, shapes=shape or (), runners=runner, graph=graph)
    options = BenchOptions(
        seconds=seconds, paced_ms=paced, soak_minutes=soak, loads=loads, cold=cold_start, strips=strips, roofline=roofline
    )
    baseline = Baseline.of_this_machine(against, allowed=allow / 100, force=force_baseline) if against is not None else None
    if report is not None:
        make_output_folder(report, force=force)

    def check(cases: Sequence[Case]) -> None:
        if baseline is not None:
            baseline.refuse_other_cases(cases)
        took = f"{seconds * len(options.modes):g} s, warm-up at most as long again"
        err.print(f"{len(cases)} cases in one interleaved measurement of {took}; no bar then: it would be in the numbers")

    found = measure(models, axes, options, check=check, progress=bar)
    since = baseline.compare(found) if baseline is not None else None
    value = {**found.to_json(), "against": since.to_json() if since else None}
    if report is not None:
        _write(report, found, since, value)
    emit(value, json=json)
    if json != STDOUT:
        console().print(*_said(found, since), sep="\n")
        if report is not None:
            console().print(Text(f"{report}: bench.html, bench.json, bench.csv"))
    if since is not None and since.slower:
        raise typer.Exit(ANSWER_IS_NO)


def _write(report: Path, found: Measurement, since: Against | None, value: Mapping[str, Any]) -> None:
    from lineside.benchmarks.bench.bench_page import page_of
    from lineside.benchmarks.bench.report import csv_of

    write_text(report / "bench.json", json_text(value))
    write_text(report / "bench.csv", csv_of(found))
    write_text(report / "bench.html", page_of(found, since))


def _said(found: Measurement, since: Against | None) -> Iterator[RenderableType]:
    """What the terminal shows."""
    from lineside.benchmarks.bench.report import (
        CELLS,
        CHANGE_CELLS,
        cells_of,
        change_cells_of,
        gpu_memory_cells,
        peaks_in_words,
        remarks_of,
        roofline_cells,
        stage_cells,
    )

    yield _table([CELLS, *map(cells_of, found.rows)], title="One interleaved run; ratio per strip to the first model")
    for cells in (stage_cells(found), gpu_memory_cells(found), roofline_cells(found)):
        if cells:
            yield _table(cells)
    yield from map(Text, peaks_in_words(found))
    yield from (Text(text, style="yellow") for text in remarks_of(found))
    if since is not None:
        yield _table([CHANGE_CELLS, *map(change_cells_of, since.changes)], title=f"Against {since.path} of {since.when}")
        yield from (Text(text, style="yellow") for text in since.remarks)


def _table(cells: Sequence[Sequence[str]], *, title: str | None = None) -> Table:
    """The first line is the head."""
    told = Text(title) if title is not None else None
    table = Table(title=told, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    (first, *columns), *rows = cells
    table.add_column(first, style="cyan", overflow="fold", min_width=10)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for name, *numbers in rows:
        table.add_row(Text(name), *numbers)
    return table

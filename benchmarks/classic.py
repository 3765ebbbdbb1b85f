"""The classic table of deployment: every network, by everything that runs it, in every precision: how fast, and how near to PyTorch.

    python -m lineside.benchmarks.classic --size 224 --batch 1,16 --seconds 300 --report REPORT

In:   names of networks (`zoo`), a size, batches; the files are made, or taken from a folder that `zoo` wrote.
Out:  a table, and in a folder the rows of `lineside bench` as page, JSON and CSV, and classic.json with the differences to PyTorch.
Everything of one network and size runs in one interleaved measurement. A runner that is not installed is left out, and said.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from lineside.files import make_output_folder, write_json, write_text
from lineside.manifest import versions

from .axes import Axes, Case
from .bench import bench
from .bench_options import BenchOptions
from .bench_page import page_of
from .console import console
from .measurement import BenchRow, Measurement
from .report import csv_of, number, remarks_of
from .zoo import ZooOptions, write_zoo
from .zoo_difference import Difference, differences
from .zoo_files import IN_PYTORCH, VARIANTS, files_of
from .zoo_networks import NETWORKS


def measure_network(folder: Path, name: str, axes: Axes, options: BenchOptions) -> tuple[Measurement, dict[str, Difference]]:
    """Measure the files of one network that `zoo` wrote; differences by file and runner."""
    network = NETWORKS[name]
    found = bench(files_of(folder, name), axes, options)
    singles = {_key(row.case): row.case for row in found.rows if row.case.batch == min(axes.batch or (1,))}
    cases = list(singles.values())
    apart = differences(cases[0], cases, inputs=network.compared_on, decide=network.decide)
    return found, dict(zip(singles, apart, strict=True))


def _key(case: Case) -> str:
    return f"{case.path.name} {case.runner}"


def classic_table(rows: Sequence[tuple[BenchRow, Difference]]) -> Table:
    """One line per row."""
    table = Table(title="Random weights; ratio per input to PyTorch eager with that batch", title_justify="left", title_style="bold")
    for column in ("network", "runner", "graph", "precision"):
        table.add_column(column)
    for column in ("input", "batch", "p50 ms", "p99 ms", "per second", "ratio", "95 %", "max diff", "mean diff", "top-1"):
        table.add_column(column, justify="right", no_wrap=True)
    for row, apart in rows:
        graph, precision = told(row.case)
        shape = next(iter((row.case.shapes or {}).values()), ())
        ratio = (f"{row.ratio.value:.3f}", f"{row.ratio.low:.3f} .. {row.ratio.high:.3f}") if row.ratio else ("-", "-")
        table.add_row(
            row.case.path.name.split(".")[0],
            row.case.runner,
            graph,
            precision,
            "x".join(map(str, shape[1:])),
            str(row.case.batch),
            *(number(value) for value in (row.row.total_ms.p50, row.row.total_ms.p99, row.items_per_second)),
            *ratio,
            *(f"{value / apart.scale:.1e}" for value in (apart.max, apart.mean)),
            "-" if apart.top1 is None else f"{apart.top1:.1%}",
        )
    table.caption = "differences to PyTorch eager in standard deviations of its first output; top-1 by picture or by pixel"
    return table


def told(case: Case) -> tuple[str, str]:
    """Graph and precision of a file of the zoo."""
    suffix = case.path.name[len(case.path.name.split(".")[0]) :]
    variant = VARIANTS.get(suffix, IN_PYTORCH)
    return variant.graph, variant.precision


def main(
    network: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(NETWORKS)}; again for more. All unless said.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the input in pixels; the one that each is known for unless said.")] = None,
    batch: Annotated[str, typer.Option(help="Such as 1,16.")] = "1",
    runner: Annotated[str | None, typer.Option(help="Such as pytorch,onnxruntime. All that are installed unless said.")] = None,
    threads: Annotated[str | None, typer.Option(help="Of one run; every physical core unless said.")] = None,
    seconds: Annotated[float, typer.Option(help="For each network.")] = 60.0,
    loads: Annotated[int, typer.Option(help="Load every model anew so often.")] = 3,
    cold_start: Annotated[bool, typer.Option(help="Load time and memory, each in a process of its own.")] = False,
    zoo: Annotated[Path | None, typer.Option(help="A folder that benchmarks.zoo wrote for this size.")] = None,
    report: Annotated[Path | None, typer.Option(help="A folder for pages, JSON and CSV.")] = None,
) -> None:
    """Measure known networks by everything that runs them here."""
    names = tuple(network or NETWORKS)
    made = ZooOptions(names=names, size_px=size)
    axes = Axes.parse(batch=batch, threads=threads, runners=runner or ",".join(installed()))
    options = BenchOptions(seconds=seconds, loads=loads, cold=cold_start)
    if report is not None:
        make_output_folder(report, force=False)
    rows: list[tuple[BenchRow, Difference]] = []
    with ExitStack() as stack:
        folder = zoo or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if zoo is None:
            write_zoo(folder, made)
        for name in names:
            found, apart = measure_network(folder, name, axes, options)
            rows += [(row, apart[_key(row.case)]) for row in found.rows]
            for text in remarks_of(found):
                console().print(text)
            if report is not None:
                _write(report / f"{name}.{made.side_px(name)}", found, apart)
    console().print(classic_table(rows))


def installed() -> list[str]:
    """The runners of this machine."""
    there = versions(("onnxruntime", "openvino"))
    return ["pytorch", "compiled", *there]


def _write(stem: Path, found: Measurement, apart: Mapping[str, Difference]) -> None:
    value: dict[str, Any] = {**found.to_json(), "differences": {name: asdict(one) for name, one in apart.items()}}
    write_json(stem.with_name(f"{stem.name}.json"), value)
    write_text(stem.with_name(f"{stem.name}.csv"), csv_of(found))
    write_text(stem.with_name(f"{stem.name}.html"), page_of(found))


if __name__ == "__main__":
    typer.run(main)

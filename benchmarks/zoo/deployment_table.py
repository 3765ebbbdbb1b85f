"""The classic table of deployment: every network, by everything that runs it, in every precision: how fast, and how near to PyTorch.

    python -m lineside.benchmarks.zoo.deployment_table --network resnet18 --batch 1,16 --seconds 300 --report REPORT

In:   names of networks (`zoo`), a size, batches; the files are made, or taken from a folder that `zoo` wrote.
Out:  a table, and in a folder the rows of `lineside bench` as page, JSON and CSV, with the differences to PyTorch in the JSON.
Everything of one network and size runs in one interleaved measurement. A runner that is not installed, or cannot run every file of a
network, is left out, and said.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from lineside.benchmarks.bench.bench import bench
from lineside.benchmarks.bench.bench_options import BenchOptions
from lineside.benchmarks.bench.bench_page import page_of
from lineside.benchmarks.bench.measurement import BenchRow, Measurement
from lineside.benchmarks.bench.report import csv_of, number, remarks_of
from lineside.benchmarks.measure.console import console, table_with
from lineside.benchmarks.subjects.cases import Axes, Case, Runner, cases_of
from lineside.benchmarks.subjects.subjects import open_subject, possible_of
from lineside.errors import ModelError
from lineside.files import make_output_folder, write_json, write_text
from lineside.manifest import versions

from .__main__ import ZooOptions, write_zoo
from .difference import Difference, differences
from .files import IN_PYTORCH, VARIANTS, files_of
from .networks import NETWORKS

_OPTIONAL = ("onnxruntime", "openvino")
"""Runners that are packages of their own."""


def measure_network(folder: Path, name: str, axes: Axes, options: BenchOptions) -> tuple[Measurement, dict[str, Difference]]:
    """Measure the files of one network that `zoo` wrote; differences by file and runner.

    Raises:
        ModelError: No runner can run them all.
    """
    network, files = NETWORKS[name], files_of(folder, name)
    able, left_out = able_runners(files, axes)
    found = bench(files, able, options)
    singles = {_key(row.case): row.case for row in found.rows if row.case.batch == min(axes.batch or (1,))}
    cases = list(singles.values())
    apart = differences(cases[0], cases, inputs=network.compared_on, decide=network.decide)
    return replace(found, left_out=(*found.left_out, *left_out)), dict(zip(singles, apart, strict=True))


def able_runners(files: Sequence[Path], axes: Axes) -> tuple[Axes, list[str]]:
    """The axes with the runners that can open every file that is theirs, and why the others cannot. Raises: ModelError."""
    failed: dict[Runner, ModelError] = {}
    cases = cases_of([possible_of(path, axes) for path in files], axes)[0]
    for case in {(case.path, case.runner): case for case in cases}.values():
        if case.runner not in failed:
            try:
                with open_subject(case):
                    pass
            except ModelError as exc:
                failed[case.runner] = exc
    able = tuple(runner for runner in axes.runners if runner not in failed)
    if failed and not able:
        raise next(iter(failed.values()))
    return replace(axes, runners=able), [f"{runner}: {exc.what}: {exc.why}" for runner, exc in failed.items()]


def _key(case: Case) -> str:
    return f"{case.path.name} {case.runner}"


def classic_table(rows: Sequence[tuple[BenchRow, Difference]]) -> Table:
    """One line per row."""
    table = table_with(
        "Random weights; ratio per input to PyTorch eager with that batch",
        "network",
        "runner",
        "graph",
        "precision",
        numbers=("input", "batch", "p50 ms", "p99 ms", "per second", "ratio", "95 %", "max diff", "mean diff", "top-1"),
    )
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
    there, lacking = installed()
    axes = Axes.parse(batch=batch, threads=threads, runners=runner or ",".join(there))
    options = BenchOptions(seconds=seconds, loads=loads, cold=cold_start)
    if report is not None:
        make_output_folder(report, force=False)
    for absent in () if runner else lacking:
        console().print(f"left out: {absent} is not installed")
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


def installed() -> tuple[list[str], list[str]]:
    """The runners of this machine, and those that it lacks."""
    there = versions(_OPTIONAL)
    return ["pytorch", "compiled", *there], [runner for runner in _OPTIONAL if runner not in there]


def _write(stem: Path, found: Measurement, apart: Mapping[str, Difference]) -> None:
    value: dict[str, Any] = {**found.to_json(), "differences": {name: asdict(one) for name, one in apart.items()}}
    write_json(stem.with_name(f"{stem.name}.json"), value)
    write_text(stem.with_name(f"{stem.name}.csv"), csv_of(found))
    write_text(stem.with_name(f"{stem.name}.html"), page_of(found))


if __name__ == "__main__":
    typer.run(main)

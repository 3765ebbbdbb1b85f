"""The classic table of deployment: every network, by everything that runs it, in every precision: how fast, and how near to PyTorch.

    python -m lineside.benchmarks.classic --size 224 --batch 1,16 --seconds 300 --report REPORT

In:   names of networks (`zoo`), sizes, batches; the files are made, or taken from a folder that `zoo` wrote.
Out:  a table, and in a folder the rows of `lineside bench` as page, JSON and CSV, and classic.json with the differences to PyTorch.
Everything of one network and size runs in one interleaved measurement. A runner that is not installed is left out, and said.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
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
from .subjects import open_subject
from .zoo import NETWORKS, VARIANTS, ZooOptions, write_zoo

COMPARED_ON = 32
"""Random inputs."""
_GRAPHS = {
    ".onnx": ("dynamic", "fp32"),
    ".static.onnx": ("static", "fp32"),
    ".simplified.onnx": ("simplified", "fp32"),
    ".fp16.onnx": ("dynamic", "fp16"),
    ".int8.onnx": ("dynamic", "int8"),
}


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How near answers are to PyTorch's on the same random inputs.

    Attributes:
        max, mean: Of the absolute differences of the logits.
        scale: Standard deviation of PyTorch's logits, to see the differences against.
        top1: Share of the inputs with the same largest logit.
        inputs: How many.
    """

    max: float
    mean: float
    scale: float
    top1: float
    inputs: int


def difference(reference: Case, candidate: Case, *, inputs: int = COMPARED_ON) -> Difference:
    """Ask two files that take the same inputs. Raises: ModelError."""
    with open_subject(reference) as one, open_subject(candidate) as other:
        pairs = [(one.answer(index).copy(), other.answer(index).copy()) for index in range(inputs)]
    old, new = (np.stack([pair[side] for pair in pairs]).astype(np.float64) for side in range(2))
    apart = np.abs(old - new)
    same = old.argmax(axis=1) == new.argmax(axis=1)
    return Difference(max=float(apart.max()), mean=float(apart.mean()), scale=float(old.std()), top1=float(same.mean()), inputs=inputs)


def measure_network(folder: Path, name: str, axes: Axes, options: BenchOptions) -> tuple[Measurement, dict[str, Difference]]:
    """Measure the files of one network that `zoo` wrote; differences by file and runner."""
    found = bench([folder / f"{name}.pt2", *(folder / f"{name}{variant}" for variant in VARIANTS)], axes, options)
    singles = {(row.case.path, row.case.runner): row.case for row in found.rows if row.case.batch == min(axes.batch or (1,))}
    reference = next(iter(singles.values()))
    return found, {f"{path.name} {runner}": difference(reference, case) for (path, runner), case in singles.items()}


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
            f"{apart.top1:.0%}",
        )
    table.caption = "differences to PyTorch eager in standard deviations of its logits"
    return table


def told(case: Case) -> tuple[str, str]:
    """Graph and precision of a file of the zoo."""
    suffix = case.path.name[len(case.path.name.split(".")[0]) :]
    return _GRAPHS.get(suffix, ("-", "fp32"))


def main(
    network: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(NETWORKS)}; again for more. All unless said.")] = None,
    size: Annotated[int, typer.Option(help="Side of the input in pixels.")] = 224,
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
            rows += [(row, apart[f"{row.case.path.name} {row.case.runner}"]) for row in found.rows]
            for text in remarks_of(found):
                console().print(text)
            if report is not None:
                _write(report / f"{name}.{size}", found, apart)
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

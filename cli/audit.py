"""`lineside audit`: is this calibration fit for this data?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from lineside.dataset import Dataset
from lineside.files import refuse_existing, write_text

from ._console import ForceOption, JsonOption, bar, check_json, emit, facts

if TYPE_CHECKING:
    from lineside.calibration.judge.audit_answer import Audit

UNFIT = 3
"""Exit code: the answer is no."""
_WORST = 8
"""Tensors that the terminal shows; the page and the JSON have all of them."""


def audit(
    ranges: Annotated[Path, typer.Argument(help="The table of `lineside calibrate`.")],
    dataset: Annotated[Path, typer.Argument(help="A data set with good strips that calibration did not see.")],
    model: Annotated[
        Path | None, typer.Option(help="The float ONNX file; unless said, the one that the table names, beside it or in this folder.")
    ] = None,
    tiles: Annotated[int, typer.Option(help="How many tiles of each kind to look at.")] = 64,
    out: Annotated[Path | None, typer.Option(help="An HTML page with plots, in one file.")] = None,
    json: JsonOption = None,
    force: ForceOption = False,
) -> None:
    """Judge a table of ranges on strips it was not measured on.

    On good and defective ones. Exits with 3 when it is unfit.

    Example: lineside audit strip.ranges.json DATASET --out audit.html
    """
    from lineside.calibration.judge.audit import AuditOptions, find_model
    from lineside.calibration.judge.audit import audit as audit_table
    from lineside.calibration.judge.audit_page import page_of
    from lineside.calibration.ranges.table import RangesTable

    check_json(json, force=force)
    if out is not None:
        refuse_existing(out, force=force)
    options = AuditOptions(tiles=tiles)
    table = RangesTable.read(ranges)
    opened = find_model(ranges, table, model)
    answer = audit_table(table, opened, Dataset.open(dataset, spec=table.spec), options, progress=bar)
    if out is not None:
        write_text(out, page_of(answer, ranges))
    emit({"ranges": str(ranges), **answer.to_json()}, _summary(ranges, answer), _tensors(answer), *_faults(answer), json=json)
    if not answer.fit:
        raise typer.Exit(UNFIT)


def _summary(ranges: Path, answer: Audit) -> Table:
    table, scores = answer.table, answer.scores
    return facts(
        f"{ranges} on {answer.dataset}",
        [
            ("verdict", "fit" if answer.fit else "unfit"),
            ("model", answer.model),
            ("table", f"{table.method}, {len(table.patches)} patches, {table.with_defects} of them with defects"),
            ("images", "those of this data set" if answer.same_images else "of another data set: all strips here are new to the table"),
            ("looked at", ", ".join(f"{count} {kind}" for kind, count in answer.tiles.items()) + " tiles"),
            (
                "scores",
                f"clipping alone flips {scores.flipped} of {scores.tiles} tiles and moves a score by {scores.max_change:.4f} at most",
            ),
            ("dead channels", f"{sum(tensor.dead_channels for tensor in answer.tensors.values())}"),
            *(("remark", remark) for remark in answer.remarks),
        ],
    )


def _tensors(answer: Audit) -> Table:
    table = Table(title=f"The {_WORST} tensors that lose most of the response to defects", title_justify="left", title_style="bold")
    table.add_column("tensor", style="cyan", no_wrap=True)
    for column in ("lost", "outside on good", "peak of defects", "other seed"):
        table.add_column(column, justify="right")
    for name, tensor in sorted(answer.tensors.items(), key=lambda item: -item[1].lost)[:_WORST]:
        peak = max(reach.peak for reach in (tensor.injected, tensor.defective) if reach is not None)
        table.add_row(name, f"{tensor.lost:.2%}", f"{tensor.good.outside:.2g}", f"x {peak:.2f}", f"x {tensor.moved:.2f}")
    return table


def _faults(answer: Audit) -> list[Table]:
    if answer.fit:
        return []
    rows = [(f"fault {number}", "\n  ".join([fault.what, *fault.tensors])) for number, fault in enumerate(answer.faults, 1)]
    return [facts("Unfit", [*rows, ("fix", answer.fix)])]

"""`lineside qualify`: may this model go on the line?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from lineside.dataset import Dataset
from lineside.errors import ANSWER_IS_NO
from lineside.files import write_json, write_text
from lineside.judge.gate import MARGIN

from ._console import ForceOption, JsonOption, bar, check_json, emit, facts
from .tables.gate import criteria_table, flips_table
from .tables.models import open_model

if TYPE_CHECKING:
    from lineside.engine.qualify.qualification import Qualification


def qualify(
    candidate: Annotated[Path, typer.Argument(help="The model that is to go on the line: a checkpoint, an ONNX file or an engine.")],
    reference: Annotated[Path, typer.Option(help="The model that is trusted, such as the float32 ONNX file.")],
    dataset: Annotated[Path, typer.Option(help="Labelled strips in test/good and test/DEFECT, with ground_truth/DEFECT.")],
    report: Annotated[Path, typer.Option(help="A folder for report.html, report.json and the results of every strip.")],
    threshold: Annotated[float | None, typer.Option(help="NG from this score on, for both; the reference's own unless said.")] = None,
    margin: Annotated[float, typer.Option(help="Strips whose score is nearer to the threshold are listed.")] = MARGIN,
    other_network: Annotated[
        bool, typer.Option("--other-network", help="Compare a network with another one, such as one that was trained anew.")
    ] = False,
    json: JsonOption = None,
    force: ForceOption = False,
) -> None:
    """Find out whether a model may take another one's place.

    By its verdicts, its numbers, and the faults that give no error.

    Exits with 0 when it qualifies, with 3 when it does not or when the strips are too few to tell. An interrupted run goes on where it
    was when the same command is given again.

    Example: lineside qualify strip.int8.onnx --reference strip.onnx --dataset DATASET --report REPORT
    """
    from lineside.engine.files.qualification_mark import mark
    from lineside.engine.qualify.qualification import Strips, Subject
    from lineside.engine.qualify.qualification import qualify as qualify_model
    from lineside.engine.qualify.qualification_page import page_of

    check_json(json, force=force)
    with open_model(reference) as trusted, open_model(candidate) as opened:
        strips = Strips.of(Dataset.open(dataset, spec=trusted.spec))
        found = qualify_model(
            Subject.of(trusted, reference),
            Subject.of(opened, candidate),
            strips,
            folder=report,
            threshold=threshold,
            margin=margin,
            other_network=other_network,
            force=force,
            progress=bar,
        )
        text = page_of(found)
    value = found.to_json()
    write_json(report / "report.json", value)
    write_text(report / "report.html", text)
    mark(candidate, found.mark(report / "report.json"))
    flips = [flips_table(found.decision)] if found.decision.flips else []
    where = Text(f"{report}: report.html, report.json")
    emit(
        value,
        criteria_table(found.decision, title=f"{candidate} against {reference}"),
        *flips,
        _checks(found),
        _answer(found),
        where,
        json=json,
    )
    if found.answer != "qualified":
        raise typer.Exit(ANSWER_IS_NO)


def _checks(found: Qualification) -> Table:
    table = Table(title="Wrong answers without an error", title_justify="left", title_style="bold")
    for column in ("check", "", "seen"):
        table.add_column(column, overflow="fold")
    words = {True: "ok", False: "FAILED", None: "not checked"}
    for check in found.checks:
        table.add_row(Text(check.name), words[check.passed], Text(check.detail))
    return table


def _answer(found: Qualification) -> Table:
    rows: list[tuple[str, str]] = [("answer", found.answer)]
    rows += [("against it", text) for text in found.failures]
    rows += [("not known", text) for text in found.missing]
    rows += [("difference", f"{found.max_difference:.4g} at most, {found.mean_difference:.3g} on average")]
    return facts("May it go on the line?", rows)

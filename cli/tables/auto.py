"""The path of `lineside quantize --auto`, as tables of the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from lineside.cli._console import facts

from .gate import criteria_table, more_strips

if TYPE_CHECKING:
    from lineside.calibration.judge.auto import AutoResult


def auto_tables(result: AutoResult, source: Path, report: Path) -> tuple[Table, ...]:
    """The candidates, the gate's numbers of the last one that counts, and the answer."""
    shown = result.chosen or result.steps[0]
    answer = [("answer", _answer(result, source)), ("path", report)]
    if result.question is not None:
        answer.append(("threshold", result.question))
    if missing := more_strips(shown.decision):
        answer.append(("to be sure", missing))
    return _path(result), criteria_table(shown.decision, title=f"{shown.what} against float32"), facts("What to ship", answer)


def _path(result: AutoResult) -> Table:
    table = Table(title="Candidates", title_justify="left", title_style="bold")
    table.add_column("candidate", style="cyan")
    table.add_column("INT8", justify="right")
    table.add_column("gate", overflow="fold")
    for step in result.steps:
        reasons = "\n".join(step.decision.reasons)
        table.add_row(step.what, f"{step.int8_share:.1%}", Text(reasons or "passed"))
    return table


def _answer(result: AutoResult, source: Path) -> str:
    if result.answer == "int8" and result.chosen:
        returned = ", ".join(result.chosen.returned)
        return f"INT8; returned: {returned}" if returned else "INT8: every layer that may be"
    if result.answer == "fp16":
        return f"ship FP16: lineside quantize {source} --precision fp16 --out {source.with_suffix('.fp16.onnx')}"
    return "ship float32: neither INT8 nor FP16 keeps the verdicts on these strips"

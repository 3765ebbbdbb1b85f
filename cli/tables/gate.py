"""What the gate decided, as tables of the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from lineside.judge.gate import GateDecision

LISTED = 20
"""Strips of one list that are shown; the JSON has all."""


def criteria_table(decision: GateDecision, *, title: str) -> Table:
    """A line per criterion: both values, the fall, how far it may reach with 95 %, and the limit."""
    table = Table(title=Text(f"{title}, threshold {decision.threshold:.6g}"), title_justify="left", title_style="bold")
    table.add_column("criterion", style="cyan", overflow="fold")
    for column in ("before", "after", "down", "up to", "limit", ""):
        table.add_column(column, justify="right")
    table.add_row("verdict flips", "", "", str(len(decision.flips)), f"{decision.flip_rate.high:.1%}", "0", _word(not decision.flips))
    for one in decision.criteria:
        values = (f"{one.reference:.4f}", f"{one.candidate:.4f}", f"{one.down.value:+.4f}", f"{one.down.high:+.4f}", f"{one.limit:g}")
        table.add_row(Text(one.name), *values, _word(one.passed) + ("" if one.more_strips == 0 else ", unsure"))
    for text in decision.undefined:
        name, _, reason = text.partition(": ")
        table.add_row(Text(name), "-", "-", "-", "-", "", Text(reason))
    return table


def flips_table(decision: GateDecision) -> Table:
    """The strips whose verdict changed."""
    table = Table(title="Verdicts that flip", title_justify="left", title_style="bold")
    table.add_column("strip", style="cyan", overflow="fold")
    for column in ("reference", "candidate"):
        table.add_column(column, justify="right")
    for pair in decision.flips[:LISTED]:
        table.add_row(Text(pair.name), f"{pair.reference:.4f}", f"{pair.candidate:.4f}")
    if len(decision.flips) > LISTED:
        table.add_row(f"and {len(decision.flips) - LISTED} more", "", "")
    return table


def more_strips(decision: GateDecision) -> str:
    """How many strips it would take to be sure, in words; empty when there are enough."""
    missing = [
        f"{one.name} {'cannot be told: its fall is the limit' if one.more_strips is None else f'needs some {one.more_strips} more'}"
        for one in decision.criteria
        if one.more_strips != 0
    ]
    return "; ".join(missing)


def _word(passed: bool) -> str:
    return "ok" if passed else "FAILED"

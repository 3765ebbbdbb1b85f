"""What benchmarks print: tables on stdout, in a pipe or a file as wide as they are."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

UNBOUNDED = 240
"""Columns where there is no window: wider than any table."""


def console() -> Console:
    """A console on stdout."""
    return Console(width=None if sys.stdout.isatty() else UNBOUNDED)


def table_with(title: str, *texts: str, numbers: Iterable[str]) -> Table:
    """An empty table: columns of text, which fold where the window is narrow, then columns of numbers, which never do."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in texts:
        table.add_column(column, overflow="fold")
    for column in numbers:
        table.add_column(column, justify="right", no_wrap=True)
    return table

"""Where a command's words go: results to stdout, progress and log to stderr.

`emit` prints a command's result as a table, or writes it as JSON (`--json FILE`, `-` for stdout, then without the table).
`bar` is the `Progress` of the command line.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from lineside.files import json_text, refuse_existing, write_text
from lineside.notices import lines_so_far

T = TypeVar("T")

out = Console(soft_wrap=False)
err = Console(stderr=True)

JsonOption = Annotated[
    str | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON; - writes it to stdout instead of the table.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite what exists.")]
ProviderOption = Annotated[
    list[str] | None,
    typer.Option(help="Of ONNX Runtime, for an ONNX file: cpu, cuda or tensorrt; several in order of precedence. Default: cpu."),
]

STDOUT = "-"


def check_json(json: str | None, *, force: bool) -> None:
    """Refuse an existing --json file before the work begins. Raises: OutputError."""
    if json not in (None, STDOUT):
        refuse_existing(Path(str(json)), force=force)


def emit(value: Any, *tables: RenderableType, json: str | None) -> None:
    """Show the result: JSON where it was asked for, first where it is a file, and tables. Warnings about strips are part of it."""
    if (lines := lines_so_far()) and isinstance(value, dict):
        value = {"warnings": list(lines), **value}
        tables = (facts("Warnings", [(f"{number}", line) for number, line in enumerate(lines, 1)]), *tables)
    if json == STDOUT:
        sys.stdout.write(json_text(value))
        return
    if json is not None:
        write_text(Path(json), json_text(value))
    for table in tables:
        out.print(table)


def facts(title: str, rows: Iterable[tuple[str, object]]) -> Table:
    """A table of names and values."""
    table = Table(title=Text(title), show_header=False, title_justify="left", title_style="bold")  # Text: a path may hold [brackets]
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(str(value)))
    return table


def bar(items: Iterable[T], *, total: int, what: str) -> Iterable[T]:
    """A progress bar on stderr: what, how many of how many, time so far, time left. None for nothing."""
    if not total:
        yield from items
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err) as progress:
        yield from progress.track(items, total=total, description=what)

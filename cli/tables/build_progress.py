"""A build as it goes on: a bar on a terminal, lines everywhere else (a pipe, a log)."""

from __future__ import annotations

import time
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from lineside.cli._console import err
from lineside.engine.builder.build_progress import Listener

_LINE_EVERY_S = 5.0
"""Without a terminal: how often a phase that goes on says so."""


class BuildProgress(Listener):
    """Shows stages and TensorRT's phases with their steps, until the `with` block ends."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=err,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._steps: dict[str, int] = {}
        self._started = self._said = time.monotonic()

    def __enter__(self) -> BuildProgress:
        if err.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if err.is_terminal:  # where it was not started, stopping it prints an empty line
            self._bar.stop()

    def stage(self, what: str) -> None:
        """Say what begins."""
        self._line(what)

    def phase(self, name: str, *, steps: int, parent: str | None) -> None:
        """Begin a phase, indented below its parent."""
        self._steps[name] = steps
        if err.is_terminal:
            self._tasks[name] = self._bar.add_task(f"  {name}" if parent else name, total=steps)
        else:
            self._line(f"{name}: {steps} steps")

    def step(self, name: str, *, done: int) -> None:
        """Go on with a phase."""
        if err.is_terminal:
            if name in self._tasks:
                self._bar.update(self._tasks[name], completed=done)
        elif time.monotonic() - self._said >= _LINE_EVERY_S:
            self._line(f"{name}: {done} of {self._steps.get(name, '?')}")

    def end(self, name: str) -> None:
        """End a phase."""
        if name in self._tasks:
            self._bar.remove_task(self._tasks.pop(name))

    def warning(self, text: str) -> None:
        """Say a warning."""
        err.print(Text(f"warning: {text}", style="yellow"), soft_wrap=True)

    def _line(self, text: str) -> None:
        self._said = time.monotonic()
        err.print(Text(f"[{self._said - self._started:6.1f} s] {text}"), soft_wrap=True)

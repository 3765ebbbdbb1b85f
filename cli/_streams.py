"""Standard output and error that cannot end a command half-way.

`| head` has read enough and goes: nobody reads what follows, and the command goes on to its end. A log on a full disk loses lines, not
strips. Only results that were wanted on standard output and cannot be written there are an error, after all files are written.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from lineside.errors import OutputError


class _Steady:
    """A text stream. What cannot be written is dropped, or is an OutputError where `results` go there and somebody still wants them."""

    def __init__(self, stream: Any, *, results: bool) -> None:
        self._stream = stream
        self._results = results

    def write(self, text: str) -> int:
        """Write `text`. Raises: OutputError."""
        with self._failing():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Raises: OutputError."""
        with self._failing():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            _send_to_nowhere(self._stream)
            if self._results and not isinstance(exc, BrokenPipeError):
                raise OutputError(
                    "cannot write to standard output", why=str(exc.strerror).lower(), fix="send it elsewhere, or write a file: --json FILE"
                ) from exc


def make_steady() -> None:
    """Put steady streams in the place of this process's own, for as long as it lives; a closed one becomes one that leads nowhere."""
    for name, results in (("stdout", True), ("stderr", False)):
        stream = getattr(sys, name) or open(os.devnull, "w")  # noqa: SIM115, PTH123  # lives as long as the process
        setattr(sys, name, _Steady(stream, results=results))


def _send_to_nowhere(stream: Any) -> None:
    """Let what the stream still holds, and what follows, go to /dev/null: Python writes it once more when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)

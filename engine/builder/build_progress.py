"""How a build tells that it goes on.

The child writes one JSON object per line; `relay` turns it into a call of the `Listener` that the parent's caller has given. The command
line shows a bar or, without a terminal, lines; a library caller hears nothing unless it asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Listener:
    """Hears what a build does; this one does nothing. All calls come from one thread."""

    def stage(self, what: str) -> None:
        """The build has come to a part of its work, such as "parsing"."""

    def phase(self, name: str, *, steps: int, parent: str | None) -> None:
        """TensorRT has begun a phase of that many steps, within another phase or by itself."""

    def step(self, name: str, *, done: int) -> None:
        """So many steps of a phase are done."""

    def end(self, name: str) -> None:
        """A phase is over, perhaps before all of its steps were done."""

    def warning(self, text: str) -> None:
        """TensorRT or lineside warns."""


SILENT = Listener()


def relay(event: Mapping[str, Any], listener: Listener) -> bool:
    """Tell `listener` of an event; False when it is none of progress, but a result."""
    kind = event["event"]
    if kind == "stage":
        listener.stage(event["what"])
    elif kind == "phase":
        listener.phase(event["name"], steps=event["steps"], parent=event["parent"])
    elif kind == "step":
        listener.step(event["name"], done=event["done"])
    elif kind == "end":
        listener.end(event["name"])
    elif kind == "warning":
        listener.warning(event["text"])
    else:
        return False
    return True

"""How long work tells that it goes on, without knowing about terminals.

A function that may take longer than a few seconds has a parameter `progress: Progress = silent` and loops over
`progress(items, total=..., what="...")`. The command line passes a bar; a library caller hears nothing unless it asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Passes `items` through, one by one, and shows how far it has come."""

    def __call__(self, items: Iterable[T], *, total: int, what: str) -> Iterable[T]: ...


def silent(items: Iterable[T], *, total: int, what: str) -> Iterable[T]:
    """Show nothing."""
    return items

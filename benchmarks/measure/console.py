"""Where the tables of benchmarks go: to stdout, in a pipe or a file as wide as they are."""

from __future__ import annotations

import sys

from rich.console import Console

UNBOUNDED = 240
"""Columns where there is no window: wider than any table."""


def console() -> Console:
    """A console on stdout."""
    return Console(width=None if sys.stdout.isatty() else UNBOUNDED)

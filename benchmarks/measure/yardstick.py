"""A piece of work that is always the same: how fast the machine is at this moment.

It runs in every round of a measurement beside the models. A run of today and one of last week are compared in its unit, so that a machine
that is busier, or clocked lower, than last week does not look like a slower model. One thread, and nothing of the packages that may change
between the two runs: a hash of a mebibyte, by Python's own library, and a copy of eight.
"""

from __future__ import annotations

import hashlib

HASHED_BYTES, COPIED_BYTES = 1 << 20, 8 << 20
NAME = "(yardstick)"


class Yardstick:
    """A backend of `measure`."""

    name = NAME

    def __init__(self) -> None:
        self._text = bytes(range(256)) * (HASHED_BYTES // 256)
        self._source, self._target = bytearray(COPIED_BYTES), memoryview(bytearray(COPIED_BYTES))

    def run(self, index: int) -> None:
        """Once, whatever the index."""
        hashlib.sha256(self._text).digest()
        self._target[:] = self._source

"""Strips that stay in memory, counted in bytes; the one used longest ago goes first.

In:   a budget in bytes, and a function that loads the strip of a path.
Out:  `get` gives the strip, loaded or kept. A strip larger than the whole budget is handed on and not kept.
Not shared between processes: every data worker has its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Load = Callable[[Path], NDArray[Any]]


class StripCache:
    """A cache of at most `budget_bytes` of pixels. Not thread-safe."""

    def __init__(self, load: Load, budget_bytes: int) -> None:
        self._load = load
        self._budget_bytes = budget_bytes
        self._strips: OrderedDict[Path, NDArray[Any]] = OrderedDict()
        self.used_bytes = 0

    def get(self, path: Path) -> NDArray[Any]:
        """The strip of `path`; do not write into it."""
        if path in self._strips:
            self._strips.move_to_end(path)
            return self._strips[path]
        strip = self._load(path)
        if strip.nbytes > self._budget_bytes:
            return strip
        while self.used_bytes + strip.nbytes > self._budget_bytes:
            self.used_bytes -= self._strips.popitem(last=False)[1].nbytes
        self._strips[path] = np.ascontiguousarray(strip)  # a copy of a memory-mapped file: the file is let go
        self.used_bytes += strip.nbytes
        return self._strips[path]

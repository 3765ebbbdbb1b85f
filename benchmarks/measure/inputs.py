"""Inputs that no backend has seen before.

In:   shapes and types; the number of a call, which grows without end.
Out:  `Rotation`: random arrays, a few of them in turn, and every time that one comes round again a line of it is new.
A backend that keeps answers, by the address of its input or by what is in it, has none for the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lineside.spec import StripSpec

ARRAYS = 8
"""In turn, unless they are large."""
MOST_BYTES = 256 << 20
"""Of one rotation."""
LINES = 61
"""Of noise to write into arrays that come round again: a prime, so that line and place do not come round together."""
SEED = 0

_Make = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.generic]]


class Strips(Protocol):
    """Strips in turn."""

    @property
    def read_ns(self) -> int:
        """Nanoseconds spent on reading files so far; 0 for strips that lie in memory."""
        ...

    def take(self, index: int) -> NDArray[Any]:
        """Strip number `index`, which grows without end."""
        ...


@dataclass(frozen=True)
class InTurn:
    """Strips (C, H, W) that are there, one after the other."""

    strips: Sequence[NDArray[Any]]
    read_ns = 0

    def take(self, index: int) -> NDArray[Any]:
        """Strip number `index`; they come round again."""
        return self.strips[index % len(self.strips)]


class Rotation:
    """Random arrays of one shape. Not for two threads at once: what `take` gave is written to when it comes round again."""

    read_ns = 0

    def __init__(self, shape: tuple[int, ...], make: _Make, *, seed: int = SEED) -> None:
        rng = np.random.default_rng(seed)
        first = np.asarray(make(rng, shape), order="C")
        count = max(2, min(ARRAYS, MOST_BYTES // max(1, first.nbytes)))
        self._arrays = [first, *(np.asarray(make(rng, shape), order="C") for _ in range(count - 1))]
        self._line = shape[-1] if shape else 1
        self._noise = make(rng, (LINES, self._line))

    def take(self, index: int) -> NDArray[np.generic]:
        """Array number `index`, C-contiguous; the same for the same index, until the next round trip."""
        lap, which = divmod(index, len(self._arrays))
        array = self._arrays[which]
        if lap:
            flat, line = array.reshape(-1), self._noise[index % LINES]  # by the index: after many laps two arrays would be alike
            start = lap * self._line % flat.size
            flat[start : start + self._line] = line  # somewhere else in every lap,
            flat[: self._line] = line  # and where every model looks: a strip's last channel is a mask that nobody reads
        return array


def strips(spec: StripSpec, *, channels: int = 4, dtype: str = "float32", seed: int = SEED) -> Rotation:
    """Strips (C, H, W) as a camera gives them: 0..255."""
    return Rotation((channels, spec.height_px, spec.width_px), lambda rng, shape: rng.integers(0, 256, shape).astype(dtype), seed=seed)


def tensors(shape: tuple[int, ...], dtype: str, *, seed: int = SEED) -> Rotation:
    """What a graph of somebody else takes: standard normal numbers; bytes over their whole range; 0 and 1 as index or truth."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return Rotation(shape, lambda rng, size: np.asarray(rng.standard_normal(size), kind), seed=seed)
    low, high = (np.iinfo(kind).min, np.iinfo(kind).max + 1) if kind.itemsize == 1 and kind.kind in "iu" else (0, 2)
    return Rotation(shape, lambda rng, size: np.asarray(rng.integers(low, high, size), kind), seed=seed)

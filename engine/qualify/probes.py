"""Strips that make a broken backend show itself: a good strip with planted defects.

In:   a good strip (C, H, W) in 0..255.
Out:  `Probes`: the strip as it is, another one, and the strip with target-only defects and distractors planted all over it, in a regular
      grid, so that every part of every keep window has something to answer. Values are whole, so that any model can take them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineside.synth.defects import KERNELS, REF1, REF2, TARGET, add_kernel

PITCH_PX = 16
"""From one planted defect to the next: eight across a tile of the presets."""
AMPLITUDE = 80.0
"""Of the strongest defects of the design; `add_kernel` turns the sign where that would be clipped."""
_CYCLE = ((TARGET,), (REF1,), (TARGET,), (REF2,), (TARGET,), (REF1, REF2))
"""What is planted, one after the other: every second one is to be found, the others are distractors."""


@dataclass(frozen=True, kw_only=True)
class Probes:
    """Strips (C, H, W) of one dtype.

    Attributes:
        clean: A good strip.
        planted: The same with defects.
        other: The defects of `planted` in other places.
    """

    clean: NDArray[Any]
    planted: NDArray[Any]
    other: NDArray[Any]

    @classmethod
    def of(cls, strip: NDArray[Any]) -> Probes:
        """The probes that a good strip gives; `strip` is not changed."""
        clean = np.rint(strip).astype(strip.dtype)
        return cls(clean=clean, planted=_planted(clean, first=0), other=_planted(clean, first=1))


def _planted(clean: NDArray[Any], *, first: int) -> NDArray[Any]:
    """Defects in a grid of `PITCH_PX`; `first` chooses where the cycle begins."""
    kernel = KERNELS[0]
    planted = clean.astype(np.float32)
    height, width = planted.shape[1:]
    half = kernel.shape[0] // 2
    rows, columns = (np.arange(PITCH_PX // 2, side - half, PITCH_PX) for side in (height, width))
    for number, (row, column) in enumerate((int(row), int(column)) for row in rows for column in columns):
        add_kernel(planted, kernel, (row - half, column - half), AMPLITUDE, _CYCLE[(number + first) % len(_CYCLE)])
    return np.rint(planted).astype(clean.dtype)

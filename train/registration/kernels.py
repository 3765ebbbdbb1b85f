"""How a value between pixels is made from its neighbours.

In:   displacements in pixels, and where the taps lie.
Out:  the weight of every tap. Sums, products and a sine alone: every runtime has them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

_NEAR_PX = 1e-3
"""Nearer to a tap than this Lanczos' kernel is 1 but for 1e-5; at the tap itself its formula divides by zero."""


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """How one value is made from its neighbours: `weight` is that of a tap at a distance in pixels, zero from `half` on."""

    half: int
    weight: Callable[[Tensor], Tensor]


def _keys(distance: Tensor) -> Tensor:
    near, far = F.relu(1 - distance.abs()), F.relu(2 - distance.abs())
    return 0.5 * far * far * (far - 1) + near * near * (1 - 2 * near)


def _lanczos(distance: Tensor) -> Tensor:
    taps = 4
    angle = math.pi * distance.abs().clamp(_NEAR_PX, taps)  # at 4 it is zero
    return taps * torch.sin(angle) * torch.sin(angle / taps) / (angle * angle)


KEYS = Kernel(half=2, weight=_keys)
"""Keys, "Cubic convolution interpolation" (IEEE TASSP 29, 1981), a = -1/2."""
LANCZOS = Kernel(half=4, weight=_lanczos)
"""Lanczos' kernel of 8 taps."""


def weights(kernel: Kernel, displacement: Tensor, places: Tensor) -> Tensor:
    """Of every tap, with the sum 1: (..., rows, taps).

    Args:
        kernel: Which.
        displacement: (..., rows, 1), pixels.
        places: Where the taps lie, seen from the pixel: (taps,) or (rows, taps).
    """
    values = kernel.weight(displacement - places)
    return values / values.sum(dim=-1, keepdim=True)

"""The motion of a reference against Target, as numbers.

A line camera sees a strip row by row, so a displacement changes slowly along the rows: dy and dx are piecewise linear, with knots that lie
evenly from the first row to the last. A motion is (2 K + 3, 1) float32: K knots of dy and K of dx, in pixels of the strip; turn, in pixels
over the width; gain; offset, as a share of white.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

KNOT_PX = 32
"""Rows between two knots. 64 do not follow half a pixel of jitter, with 24 rows that have little pattern go astray."""
REACH_PX = 4
"""The longest displacement of a reference against Target: 2 px of each picture."""
BEND_PX = 0.1
"""Expected second difference of three knots. More lets rows without a pattern go astray."""
TURN_PX = 0.5
"""Expected turn: from the left edge to the right one."""
BRIGHTNESS = 0.2
"""Expected gain, and expected offset as a share of white."""
SHARED = 3
"""What all rows have in common: turn, gain, offset."""


def knots_of(height_px: int, scale: int) -> int:
    """How many knots a level of this scale has."""
    return max(3, math.ceil(height_px / (KNOT_PX * scale)) + 1)


def hat_functions(places: Tensor, height_px: int, knots: int) -> Tensor:
    """(places, knots) float32: the share of each knot at each place; places are rows of the strip."""
    return F.relu(1 - (places[:, None] * ((knots - 1) / (height_px - 1)) - torch.arange(knots)).abs())


def refined(height_px: int, before: int, knots: int) -> Tensor:
    """(2 K + 3, 2 K' + 3): the motion with K knots that a motion with K' is."""
    of_knots = hat_functions(torch.linspace(0, height_px - 1, knots), height_px, before)
    return _along_the_diagonal(of_knots, of_knots, torch.eye(SHARED))


def prior_of(knots: int, bend_px: float) -> Tensor:
    """The information (2 K + 3, 2 K + 3) that is there before any pixel is looked at."""
    bends = torch.zeros(knots - 2, knots)
    for row in range(knots - 2):
        bends[row, row : row + 3] = torch.tensor([1.0, -2.0, 1.0])
    of_knots = bends.T @ bends / bend_px**2 + torch.eye(knots) / REACH_PX**2
    shared = torch.diag(torch.tensor([1 / TURN_PX**2, 1 / BRIGHTNESS**2, 1 / BRIGHTNESS**2]))
    return _along_the_diagonal(of_knots, of_knots, shared)


def _along_the_diagonal(*blocks: Tensor) -> Tensor:
    whole: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return whole

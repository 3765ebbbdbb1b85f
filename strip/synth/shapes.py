"""What a defect on a strip looks like, one function per kind.

In:   a seeded generator, and the room there is.
Out:  `Defect`: a kernel (h, w) float32 in 0..1 that scales an amplitude in grey levels; it ends inside its box.
`spot` is what training shows (design 3). `faint`, `blob` and `scratch` are what it never shows: a model is tested with them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .defects import AMPLITUDES, KERNELS

FAINT_AMPLITUDE = (25.0, 40.0)
SHAPE_AMPLITUDE = (40.0, 80.0)
BLOB_PX = (6.0, 16.0)
"""Diameter, before its outline swings."""
SCRATCH_PX = (20.0, 80.0)
"""Length, as far as the room goes."""
SCRATCH_WIDTH_PX = (1.0, 2.0)
MIN_ROOM_PX = int(SCRATCH_PX[0]) + 4

_SOFT_PX = 2.0  # the edge of a blob, from nothing to all of it
_SWINGS = ((2, 0.15), (3, 0.12), (5, 0.06))  # of its outline: (how often around, share of the radius)
_BEND = 0.12  # of a scratch: the most that its middle is off the straight line, as a share of the length
_STEPS_PER_PX = 4


@dataclass(frozen=True, kw_only=True)
class Defect:
    """Add `amplitude * kernel` to a strip: that is a defect."""

    kernel: NDArray[np.float32]
    amplitude: float


def spot(rng: np.random.Generator, room_px: int) -> Defect:
    """One of the Gaussian kernels and amplitudes that training shows."""
    return Defect(kernel=KERNELS[rng.integers(len(KERNELS))], amplitude=float(rng.choice(AMPLITUDES)))


def faint(rng: np.random.Generator, room_px: int) -> Defect:
    """A spot that is hardly there."""
    return Defect(kernel=KERNELS[rng.integers(len(KERNELS))], amplitude=_amplitude(FAINT_AMPLITUDE, rng))


def blob(rng: np.random.Generator, room_px: int) -> Defect:
    """A patch with an irregular outline and a soft edge."""
    radius = rng.uniform(*BLOB_PX) / 2
    half = int(np.ceil(radius * (1 + sum(share for _, share in _SWINGS)) + _SOFT_PX))
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    angle = np.arctan2(y, x)
    outline = radius * (1 + sum(share * np.cos(times * angle + rng.uniform(0, 2 * np.pi)) for times, share in _SWINGS))
    return Defect(kernel=_trimmed((outline - np.hypot(y, x)) / _SOFT_PX + 0.5), amplitude=_amplitude(SHAPE_AMPLITUDE, rng))


def scratch(rng: np.random.Generator, room_px: int) -> Defect:
    """A thin line with a slight bend."""
    length = rng.uniform(SCRATCH_PX[0], min(SCRATCH_PX[1], room_px - 4))
    width, direction, bend = rng.uniform(*SCRATCH_WIDTH_PX), rng.uniform(0, np.pi), rng.uniform(-_BEND, _BEND)
    along = np.linspace(-0.5, 0.5, int(length * _STEPS_PER_PX))
    across = bend * (1 - (2 * along) ** 2)
    turn = np.array([[np.cos(direction), -np.sin(direction)], [np.sin(direction), np.cos(direction)]])
    points = turn @ np.stack([along, across]) * length
    half = int(np.ceil(np.abs(points).max())) + 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    distance = np.min(np.hypot(y[..., None] - points[0], x[..., None] - points[1]), axis=-1)
    return Defect(kernel=_trimmed(width / 2 + 0.5 - distance), amplitude=_amplitude(SHAPE_AMPLITUDE, rng))


KINDS: dict[str, Callable[[np.random.Generator, int], Defect]] = {"spot": spot, "faint": faint, "blob": blob, "scratch": scratch}
"""Every kind of defect of `lineside synth`, by the name of its folder."""


def _amplitude(between: tuple[float, float], rng: np.random.Generator) -> float:
    return float(rng.uniform(*between) * rng.choice((-1.0, 1.0)))


def _trimmed(kernel: NDArray[np.float64]) -> NDArray[np.float32]:
    """Clipped to 0..1, and without the empty rows and columns around it."""
    kernel = np.clip(kernel, 0.0, 1.0)
    rows, columns = (np.flatnonzero(kernel.any(axis=axis)) for axis in (1, 0))
    return kernel[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)

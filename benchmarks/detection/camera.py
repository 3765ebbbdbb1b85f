"""A camera that training never sees: three pictures of one pattern, as a line takes them.

In:   a pattern with `ROOM_PX` around it, a `Line`, and a seeded generator.
Out:  (3, H, W) float32 in 0..255.
It shares nothing with `lineside.synth`: other resampling (a spline of the fifth order), displacement that changes along the rows, a turn,
defocus, its own gain, light and noise. So what it says of a network is not what the network was shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lineside.spec import FULL_SCALE

from .patterns import Picture

ROOM_PX = 24
"""Displacement, turn and the spline stay within it."""
JITTER_ROWS = 64
"""Rows from one independent displacement to the next; a cubic goes through them."""
ORDER = 5


@dataclass(frozen=True, kw_only=True)
class Line:
    """What happens between two pictures of one part; each picture draws its own from these.

    Attributes:
        shift_px: Displacement of the whole picture, up to so much in both directions.
        jitter_px: Displacement that changes along the rows, up to about so much.
        turn: Radians, up to so much.
        defocus_px: Sigma of a blur, up to so much.
        gain, offset, light: Share, grey levels, and share of brightness that falls off over the strip, each up to so much.
        noise: Standard deviation of a pixel, grey levels.
    """

    shift_px: float
    jitter_px: float = 0.0
    turn: float = 0.0
    defocus_px: float = 0.0
    gain: float = 0.03
    offset: float = 3.0
    light: float = 0.03
    noise: float = 1.5


LINES = {
    "shift 0.25": Line(shift_px=0.25),
    "shift 0.5": Line(shift_px=0.5),
    "shift 1": Line(shift_px=1.0),
    "shift 1, jitter": Line(shift_px=1.0, jitter_px=0.5, turn=1e-3, defocus_px=0.5),
    "hard": Line(shift_px=2.0, jitter_px=1.0, defocus_px=1.0, light=0.1, noise=5.0),
}


def take(pattern: Picture, line: Line, rng: np.random.Generator, spoil: Callable[[Picture], None] | None = None) -> NDArray[np.float32]:
    """Target, Ref1 and Ref2 of `pattern`; `spoil` changes Target before its noise comes on it."""
    height, width = (side - 2 * ROOM_PX for side in pattern.shape)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    spline = ndimage.spline_filter(pattern, order=ORDER)
    pictures = []
    for _ in range(3):
        down, across = rng.uniform(-line.shift_px, line.shift_px, 2)
        turn = rng.uniform(-line.turn, line.turn)
        rows = y + ROOM_PX + down + _path(height, line, rng)[:, None] + turn * (x - width / 2)
        columns = x + ROOM_PX + across + _path(height, line, rng)[:, None] - turn * (y - height / 2)
        seen = ndimage.map_coordinates(spline, [rows, columns], order=ORDER, prefilter=False, mode="nearest")
        seen = ndimage.gaussian_filter(seen, rng.uniform(0, line.defocus_px))
        pictures.append((1 + rng.uniform(-line.gain, line.gain)) * _light(y, x, line, rng) * seen + rng.uniform(-line.offset, line.offset))
    if spoil is not None:
        spoil(pictures[0])
    noisy = np.stack(pictures) + line.noise * rng.standard_normal((3, height, width))
    return np.clip(noisy, 0, FULL_SCALE).astype(np.float32)


def _path(height: int, line: Line, rng: np.random.Generator) -> Picture:
    """(H,): a displacement of each row."""
    knots = rng.uniform(-line.jitter_px, line.jitter_px, height // JITTER_ROWS + 4)
    return np.asarray(ndimage.zoom(knots, JITTER_ROWS, order=3)[JITTER_ROWS : JITTER_ROWS + height])


def _light(y: Picture, x: Picture, line: Line, rng: np.random.Generator) -> Picture:
    direction, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, line.light)
    return np.asarray(1 + slope * (np.sin(direction) * (2 * y / y.max() - 1) + np.cos(direction) * (2 * x / x.max() - 1)))

"""What a camera makes of one pattern on three passes: Target, Ref1 and Ref2.

In:   a pattern with `MARGIN_PX` around it, and a seeded generator.
Out:  (3, H, W) float32 in 0..255; each picture with its own sub-pixel shift, gain, offset, light and noise.
The shift is a real one: the pattern is sampled between its pixels by a cubic spline, and its border stays in the margin.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lineside.spec import CHANNELS, FULL_SCALE

GAIN = 0.03
"""Each picture is brighter or darker by up to this share,"""
OFFSET = 3.0
"""and by up to so many grey levels."""
NOISE = 1.5
"""Standard deviation of a pixel, grey levels."""
LIGHT = 0.03
"""The light falls off in one direction by up to this share, each side of the middle."""
MAX_SHIFT_PX = 4.0
MARGIN_PX = 16
"""The longest shift, two pixels of the spline, and ten in which its mirrored edge fades by 0.27 each: to 2e-6."""


def acquire(pattern: NDArray[np.float32], shift_px: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Three pictures of one pattern.

    Args:
        pattern: (H + 2 * MARGIN_PX, W + 2 * MARGIN_PX) float32, grey levels.
        shift_px: Each picture is displaced by up to this much, in x and in y.
        rng: The only source of randomness.

    Returns:
        (3, H, W) float32 in 0..255.
    """
    inner = slice(MARGIN_PX, -MARGIN_PX)
    spline = ndimage.spline_filter(pattern, order=3, output=np.float32)
    pictures = []
    for _ in CHANNELS:
        shifted = ndimage.shift(spline, rng.uniform(-shift_px, shift_px, 2), order=3, prefilter=False)[inner, inner]
        gain, offset = 1 + rng.uniform(-GAIN, GAIN), rng.uniform(-OFFSET, OFFSET)
        noise = NOISE * rng.standard_normal(shifted.shape, dtype=np.float32)
        pictures.append(gain * _light(shifted.shape, rng) * shifted + offset + noise)
    return np.asarray(np.clip(np.stack(pictures), 0.0, FULL_SCALE), np.float32)


def _light(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """1 in the middle, with a slope in a random direction."""
    direction, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, LIGHT)
    y, x = (np.linspace(-1, 1, side, dtype=np.float32) for side in shape)
    return np.asarray(1 + slope * (np.sin(direction) * y[:, None] + np.cos(direction) * x[None, :]), np.float32)

"""Patterns that a line may look at: photographs and drawn ones.

In:   a name, a size, and a seeded generator.
Out:  (H, W) float64 grey levels, most of them in 30..225.
A photograph goes on in its mirror image where it ends. The photographs are scikit-image's own (extra [demo]). Registration's
spacing of knots and its prior were settled on these patterns, with this camera: no network may be.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lineside._optional import require
from lineside.errors import ConfigError

Picture = NDArray[np.float64]
LOW, HIGH = 30.0, 225.0
STRIPE_PX, GRID_PX, LINE_PX = 23, 32, 4
PHOTOGRAPHS = ("brick", "grass", "gravel", "coins", "camera")


def stripes(height: int, width: int) -> Picture:
    """Along the strip: displacement along them cannot be seen."""
    across = np.clip(4 * np.sin(2 * np.pi * np.arange(width) / STRIPE_PX), -1, 1)
    return np.array(np.broadcast_to(128 + 60 * across, (height, width)))


def grid(height: int, width: int) -> Picture:
    """Dark lines in both directions on a bright ground."""
    away = [np.clip(np.abs(np.arange(side) % GRID_PX - GRID_PX / 2) - LINE_PX / 2, 0, 2) / 2 for side in (height, width)]
    return np.asarray(70 + 110 * np.minimum(away[0][:, None], away[1][None, :]))


DRAWN: dict[str, Callable[[int, int], Picture]] = {"stripes": stripes, "grid": grid}
NAMES = (*PHOTOGRAPHS, *DRAWN)


def pattern_of(name: str, height: int, width: int, rng: np.random.Generator) -> Picture:
    """A piece of a pattern; of a photograph a random one.

    Raises:
        ConfigError: No such pattern.
        MissingPackageError: scikit-image is not installed.
    """
    if name in DRAWN:
        return DRAWN[name](height, width)
    if name not in PHOTOGRAPHS:
        raise ConfigError(f"pattern {name!r}", why=f"there are {', '.join(NAMES)}", fix="name one of them")
    pixels = _photograph(name)
    rows, columns = (_to_and_fro(have, want, rng) for have, want in zip(pixels.shape, (height, width), strict=True))
    return np.asarray(pixels[np.ix_(rows, columns)])


@cache
def _photograph(name: str) -> Picture:
    """All of it, with room for defects at both ends."""
    pixels = np.asarray(getattr(require("skimage.data", extra="demo"), name)(), np.float64)
    low, high = np.percentile(pixels, (1, 99))
    return np.asarray(np.clip((pixels - low) * min(1.0, (HIGH - LOW) / (high - low)) + LOW, 0, 255))


def _to_and_fro(have: int, want: int, rng: np.random.Generator) -> NDArray[np.int64]:
    index = (rng.integers(2 * (have - 1)) + np.arange(want)) % (2 * (have - 1))
    return np.asarray(np.minimum(index, 2 * (have - 1) - index))

"""Colours of a heatmap: black for 0 through violet, red and orange to pale yellow for 1.

In:   (H, W) float in [0, 1].
Out:  (H, W, 3) uint8. The brightness rises evenly, so the picture reads the same in print and for colour-blind eyes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Nine points of matplotlib's "inferno" (CC0), evenly spaced from 0 to 1.
_POINTS = (
    (0, 0, 4),
    (31, 12, 72),
    (85, 15, 109),
    (136, 34, 106),
    (186, 54, 85),
    (227, 89, 51),
    (249, 140, 10),
    (249, 201, 50),
    (252, 255, 164),
)
_LEVELS = 256
_TABLE = np.stack(
    [np.interp(np.linspace(0, 1, _LEVELS), np.linspace(0, 1, len(_POINTS)), channel) for channel in zip(*_POINTS, strict=True)], axis=1
).astype(np.uint8)


def rgb_from_heat(heat: NDArray[Any]) -> NDArray[np.uint8]:
    """The picture of a heatmap; values outside [0, 1] take the nearest end."""
    picture: NDArray[np.uint8] = _TABLE[(np.clip(heat, 0, 1) * (_LEVELS - 1)).astype(np.uint8)]
    return picture

"""Pixel metrics over any number of strips in bounded memory.

In:   per strip a heatmap (H, W) float32 in [0, 1] and its ground truth (H, W) bool.
Out:  a `Curve`: pixel AUROC, average precision and per-region overlap.

Heatmaps are not kept: their values are counted in three histograms, 29 MB in all, whether of 500 strips or of 10,000.
Heatmaps crowd near 0, and those of a sure model near 1, so the bins grow with the distance from that end: two values share one only
when their distances from it differ by less than 1/8192. Then they count as a tie.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lineside.errors import ModelError

from .metrics import Curve

_DROPPED_BITS = 10
"""Of the 23 of a float32's mantissa; the 13 kept give the 1/8192 above."""
_HALF_BIN = int(np.float32(0.5).view(np.uint32)) >> _DROPPED_BITS
_BINS_ABOVE = _HALF_BIN - (int(np.float32(2**-24).view(np.uint32)) >> _DROPPED_BITS) + 1  # 2**-24: from 1 to the next float32 below
BINS = _HALF_BIN + _BINS_ABOVE + 1
_EIGHT_NEIGHBOURS = np.ones((3, 3), np.bool_)


def check_heatmap(heatmap: NDArray[Any], shape: tuple[int, ...], *, name: str) -> None:
    """Check that a model answered a heatmap: a model that answers nonsense must not be measured in silence.

    Raises:
        ModelError: Not float32 of this (H, W) shape, or NaN or values outside [0, 1]; the message begins with `name`.
    """
    if heatmap.shape != shape or heatmap.dtype != np.float32:
        raise ModelError(
            f"{name}: the model answered {heatmap.dtype} of {' x '.join(str(side) for side in heatmap.shape)}",
            why=f"a heatmap of this strip is float32 of {' x '.join(str(side) for side in shape)}",
            fix="use a model that was made for strips of this size",
        )
    low, high = heatmap.min(), heatmap.max()
    if not (low >= 0 and high <= 1):  # NaN makes both NaN
        raise ModelError(
            f"{name}: the model answered values from {low:g} to {high:g}",
            why="a heatmap holds probabilities, 0 to 1",
            fix="the model is damaged or not of lineside: export it again from its checkpoint",
        )


def label_regions(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Number the regions of a mask, 8-connected: (H, W) int32 with 0 for the background, and how many there are."""
    labels, count = ndimage.label(mask, structure=_EIGHT_NEIGHBOURS)
    return labels, int(count)


class PixelMetrics:
    """Histograms of the heatmap values of background and of defects."""

    def __init__(self) -> None:
        self._background = np.zeros(BINS, np.int64)
        self._defect = np.zeros(BINS, np.int64)
        self._overlaps = np.zeros(BINS, np.float64)  # defect pixels once more, each worth 1 / area of its region

    def update(self, heatmap: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
        """Count one strip.

        Args:
            heatmap: (H, W) float32 in [0, 1].
            mask: (H, W) bool, True on defects.

        Raises:
            ModelError: The heatmap is not one.
        """
        check_heatmap(heatmap, mask.shape, name="heatmap")
        bins = heat_bins(heatmap)
        self._background += np.bincount(bins[~mask], minlength=BINS)
        if not mask.any():
            return
        region_of_pixel = label_regions(mask)[0][mask]
        self._defect += np.bincount(bins[mask], minlength=BINS)
        self._overlaps += np.bincount(bins[mask], weights=1 / np.bincount(region_of_pixel)[region_of_pixel], minlength=BINS)

    @classmethod
    def sum(cls, parts: Iterable[PixelMetrics]) -> PixelMetrics:
        """The metrics of all strips that were counted in `parts`."""
        total = cls()
        for part in parts:
            total._background += part._background
            total._defect += part._defect
            total._overlaps += part._overlaps
        return total

    def curve(self) -> Curve:
        """The curve of all pixels so far."""
        bins = np.flatnonzero(self._background + self._defect)[::-1]
        return Curve.of_counts(
            self._background[bins],
            self._defect[bins],
            self._overlaps[bins],
        )


def heat_bins(heatmap: NDArray[np.float32]) -> NDArray[np.intp]:
    """The bin of every value, rising with the value.

    The bit pattern of a positive float32 rises with its value and is evenly spaced within each power of two. Below a half
    it gives the bin as it is; from there on the pattern of 1 - value does, which is exact, counted backwards.
    """
    heat = np.abs(heatmap)  # -0.0 is a valid 0, but its sign bit would make it the highest bin
    below = heat.view(np.uint32) >> _DROPPED_BITS
    above = BINS - 1 - np.maximum(((1 - heat).view(np.uint32) >> _DROPPED_BITS).astype(np.intp) - (_HALF_BIN - _BINS_ABOVE), 0)
    return np.where(heat < 0.5, below, above)

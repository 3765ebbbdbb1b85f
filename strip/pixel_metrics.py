"""Pixel metrics over any number of strips in bounded memory.

In:   per strip a heatmap (H, W) float32 in [0, 1] and its ground truth (H, W) bool.
Out:  a `Curve`: pixel AUROC, average precision and per-region overlap.

Heatmaps are not kept: their values are counted in histograms of `BINS` bins, 25 MB in all, whether 500 strips or 10,000.
Bins follow the bit pattern of float32, which for values from 0 to 1 rises with the value. So they are spaced evenly within each
power of two, and a heatmap whose values crowd near 0 keeps its order: two values share a bin only when they differ by
less than 1/8192 of themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .errors import ModelError
from .metrics import Curve

MANTISSA_BITS_DROPPED = 10
"""Of 23; the 13 kept give the 1/8192 above."""
BINS = (int(np.float32(1.0).view(np.uint32)) >> MANTISSA_BITS_DROPPED) + 1
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
        # abs: -0.0 is a valid 0, but its sign bit would make it the largest bin
        bins = (np.abs(heatmap).view(np.uint32) >> MANTISSA_BITS_DROPPED).astype(np.intp)
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
        """The curve of all pixels so far; its thresholds are the lower ends of the bins that are not empty."""
        bins = np.flatnonzero(self._background + self._defect)[::-1]
        return Curve.of_counts(
            (bins.astype(np.uint32) << MANTISSA_BITS_DROPPED).view(np.float32).astype(np.float64),
            self._background[bins],
            self._defect[bins],
            self._overlaps[bins],
        )

"""What an inspection answers: heatmap, score, verdict, regions and timing of one strip.

In:   a heatmap (H, W) float32 in [0, 1] and a threshold.
Out:  `Result`, and `find_regions` for whoever has a heatmap alone.
A region's pixels are exactly those that make a strip NG: a strip is NG when, and only when, it has a region.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lineside.judge.pixel_metrics import label_regions
from lineside.judge.threshold import verdict_level


class Verdict(str, Enum):
    """OK, NG, or NOT_INSPECTED for a strip without a score; the line treats that as a reject."""

    OK = "OK"
    NG = "NG"
    NOT_INSPECTED = "NOT_INSPECTED"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """A connected group of pixels at or above the threshold.

    Attributes:
        top_px, left_px, height_px, width_px: Its box.
        area_px: Its pixels.
        peak: Its highest heat, in [0, 1].
        centroid_px: Row and column of its centre, each pixel weighing the same.
    """

    top_px: int
    left_px: int
    height_px: int
    width_px: int
    area_px: int
    peak: float
    centroid_px: tuple[float, float]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Top, left, height, width."""
        return self.top_px, self.left_px, self.height_px, self.width_px


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Milliseconds of one inspection on the host's clock.

    Strips of one batch share the time of its run equally, so that the sum over the strips is the time that passed.
    """

    pre_ms: float
    inference_ms: float
    post_ms: float

    @property
    def total_ms(self) -> float:
        """What the caller waited."""
        return self.pre_ms + self.inference_ms + self.post_ms


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Result:
    """One inspected strip.

    Attributes:
        heatmap: (H, W) float32 in [0, 1]: probability of a target-only defect. A view of what the model returned; copy it to keep
            many without the zero channels of a production model or the neighbours of a batch.
        score: The highest heat.
        threshold: NG at or above it.
        timing: Where the time went.
        backend: What ran it.
    """

    heatmap: NDArray[np.float32]
    score: float
    threshold: float
    timing: Timing
    backend: str
    _regions: tuple[Region, ...] | None = field(default=None, init=False, repr=False)

    @property
    def verdict(self) -> Verdict:
        """NG when the score is at least the threshold, else OK."""
        return Verdict.NG if self.score >= self.threshold else Verdict.OK

    @property
    def regions(self) -> tuple[Region, ...]:
        """What made the strip NG, the largest region first; computed when it is first asked for."""
        if self._regions is None:
            object.__setattr__(self, "_regions", find_regions(self.heatmap, self.threshold))
        return cast("tuple[Region, ...]", self._regions)


def find_regions(heatmap: NDArray[np.float32], threshold: float) -> tuple[Region, ...]:
    """Group the pixels at or above the threshold; pixels that touch at a corner are one region.

    Args:
        heatmap: (H, W) float32.
        threshold: In 0..1.

    Returns:
        Regions by falling area, then from top to bottom and left to right.
    """
    labels, count = label_regions(heatmap >= verdict_level(threshold))
    boxes = ndimage.find_objects(labels)
    regions = [_region(heatmap, labels, label, *boxes[label - 1]) for label in range(1, count + 1)]
    return tuple(sorted(regions, key=lambda region: (-region.area_px, region.box)))


def _region(heatmap: NDArray[np.float32], labels: NDArray[np.int32], label: int, rows: slice, columns: slice) -> Region:
    inside = labels[rows, columns] == label
    row, column = np.nonzero(inside)
    return Region(
        top_px=rows.start,
        left_px=columns.start,
        height_px=rows.stop - rows.start,
        width_px=columns.stop - columns.start,
        area_px=len(row),
        peak=float(heatmap[rows, columns][inside].max()),
        centroid_px=(rows.start + float(row.mean()), columns.start + float(column.mean())),
    )

"""What one model made of one labelled strip, small enough to keep for every strip.

In:   a strip's label, its ground truth, and the heatmap that a model answered.
Out:  `StripOutcome`: score, verdict, regions found, and how many pixels lie at each level of heat: 21 KiB, never the heatmap.
From the outcomes of any strips, each taken any number of times, the metrics of design 8 follow: `image_auroc`, `pixel_ap` and `recall`
are statistics for `bootstrap`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineside.dataset import Sample

from .bootstrap import Draws, Statistic, times_drawn
from .evaluation import StripRow, strip_row
from .pixel_metrics import BINS, check_heatmap, heat_bins

_DROPPED_BITS = 7
"""Of the 13 that a bin of `PixelMetrics` keeps: a level is 1/64 of its distance from 0 or 1 wide."""
_LEAST_HEAT = np.float32(2**-20)
"""All heat up to here is one level. A defect with a millionth of heat is not found at any threshold."""
_LOWEST = int(heat_bins(_LEAST_HEAT[np.newaxis])[0]) >> _DROPPED_BITS
LEVELS = ((BINS - 1) >> _DROPPED_BITS) - _LOWEST + 1


@dataclass(frozen=True, kw_only=True, eq=False)
class StripOutcome:
    """One strip under one model.

    Attributes:
        row: Label, score, verdict and regions found.
        pixels: (2, LEVELS) uint32: of background and of defects, how many pixels have each level of heat, rising. None where the
            ground truth is not known.
    """

    row: StripRow
    pixels: NDArray[np.uint32] | None

    @property
    def name(self) -> str:
        """The strip's file."""
        return str(self.row.sample.path)


def outcome_of(sample: Sample, heatmap: NDArray[np.float32], mask: NDArray[np.bool_], *, threshold: float) -> StripOutcome:
    """What became of a strip.

    Args:
        sample: The strip and its label.
        heatmap: (H, W) float32 in [0, 1], which is not kept.
        mask: (H, W) bool, as `read_mask` gives it; without meaning where a defective strip has no mask.
        threshold: NG when the score is at least this.

    Raises:
        ModelError: The heatmap is not one; the message begins with the strip's path.
    """
    check_heatmap(heatmap, mask.shape, name=str(sample.path))
    if sample.defective and sample.mask is None:
        return StripOutcome(row=strip_row(sample, heatmap, None, threshold), pixels=None)
    levels = heat_levels(heatmap)
    counts: list[NDArray[Any]] = [np.bincount(levels[chosen], minlength=LEVELS) for chosen in (~mask, mask)]
    return StripOutcome(row=strip_row(sample, heatmap, mask, threshold), pixels=np.stack(counts).astype(np.uint32))


def heat_levels(heatmap: NDArray[np.float32]) -> NDArray[np.intp]:
    """The level of every value of a heatmap, 0 to `LEVELS` - 1, rising with the value."""
    levels: NDArray[np.intp] = np.maximum((heat_bins(heatmap) >> _DROPPED_BITS) - _LOWEST, 0)
    return levels


def image_auroc(outcomes: Sequence[StripOutcome]) -> Statistic:
    """Area under the ROC curve of the scores, ties counting half; every draw has good and defective strips."""
    scores = np.array([outcome.row.score for outcome in outcomes])
    defective = np.array([outcome.row.sample.defective for outcome in outcomes])
    order = np.argsort(scores[~defective])
    below, up_to = (np.searchsorted(scores[~defective][order], scores[defective], side=side) for side in ("left", "right"))

    def statistic(draws: Draws) -> NDArray[np.float64]:
        times = times_drawn(draws, len(outcomes))
        good, bad = times[:, ~defective][:, order], times[:, defective]
        running = np.pad(np.cumsum(good, axis=1), ((0, 0), (1, 0)))
        in_order = (bad * (running[:, below] + running[:, up_to])).sum(axis=1) / 2
        area: NDArray[np.float64] = in_order / (good.sum(axis=1) * bad.sum(axis=1))
        return area

    return statistic


def pixel_ap(outcomes: Sequence[StripOutcome]) -> Statistic:
    """Average precision of the pixels; every outcome has known ground truth, and every draw pixels of both classes.

    The pixels of one level are taken to lie in random order. On made-up heatmaps that differs from the exact value by less than
    0.0001, fifty times less than counting them as ties.
    """
    background, defect = (np.array([_pixels(outcome)[which] for outcome in outcomes], np.float64)[:, ::-1] for which in (0, 1))
    used = defect.any(axis=0)  # precision counts at the levels of defects alone
    above = (np.cumsum(background, axis=1) - background / 2)[:, used]
    found = np.cumsum(defect[:, used], axis=1)

    def statistic(draws: Draws) -> NDArray[np.float64]:
        times = times_drawn(draws, len(outcomes))
        here, reached = times @ defect[:, used], times @ found
        # of d defect pixels in random order the middle one is number (d + 1) / 2, and half of the level's background is above it
        hits = reached - np.maximum(here - 1, 0) / 2
        called = np.maximum(hits + times @ above, 1)  # below 1 only where nothing is called and nothing is here
        average: NDArray[np.float64] = (here * hits / called).sum(axis=1) / reached[:, -1]
        return average

    return statistic


def recall(outcomes: Sequence[StripOutcome]) -> Statistic:
    """Share of the ground-truth regions that are found, or, without ground truth, of the strips that are NG; all strips are defective."""
    found, there = np.array([found_of(outcome) for outcome in outcomes], np.float64).T

    def statistic(draws: Draws) -> NDArray[np.float64]:
        share: NDArray[np.float64] = found[draws].sum(axis=1) / there[draws].sum(axis=1)
        return share

    return statistic


def found_of(outcome: StripOutcome) -> tuple[int, int]:
    """How many defects were found, and how many there are; the strip itself is one where its ground truth is not known."""
    row = outcome.row
    return (int(row.ng), 1) if row.defects is None or row.found is None else (row.found, row.defects)


def _pixels(outcome: StripOutcome) -> NDArray[np.uint32]:
    assert outcome.pixels is not None  # the caller leaves out strips without ground truth
    return outcome.pixels

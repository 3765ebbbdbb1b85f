"""Run two models over the same labelled strips.

In:   two models that answer heatmaps, and samples.
Out:  a `Comparison`: what each made of every strip, for the gate, and how far their heatmaps are apart.
One strip is in memory at a time, and no heatmap is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lineside.dataset import Sample, read_sample
from lineside.errors import ModelError
from lineside.manifest import checked_threshold
from lineside.progress import Progress, silent

from .model import HeatmapModel
from .outcome import StripOutcome, outcome_of


@dataclass(frozen=True, kw_only=True)
class HeatDifference:
    """How far two heatmaps of one strip are apart: the largest absolute difference, the first pixel that has it, and the mean."""

    max: float
    row_px: int
    column_px: int
    mean: float

    @classmethod
    def of(cls, one: NDArray[np.float32], other: NDArray[np.float32]) -> HeatDifference:
        """Between two (H, W) heatmaps."""
        apart = np.abs(one - other)
        row, column = np.unravel_index(apart.argmax(), apart.shape)
        return cls(max=float(apart[row, column]), row_px=int(row), column_px=int(column), mean=float(apart.mean(dtype=np.float64)))


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two models on the same strips: per strip an outcome of each, at one threshold, and the difference of the heatmaps."""

    threshold: float
    reference: tuple[StripOutcome, ...]
    candidate: tuple[StripOutcome, ...]
    differences: tuple[HeatDifference, ...]

    @property
    def max_difference(self) -> float:
        """The largest of all strips; 0 without strips."""
        return max((difference.max for difference in self.differences), default=0.0)

    @property
    def mean_difference(self) -> float:
        """Over all pixels of all strips; 0 without strips."""
        return float(np.mean([difference.mean for difference in self.differences])) if self.differences else 0.0


def outcomes(
    model: HeatmapModel, samples: Sequence[Sample], *, threshold: float, progress: Progress = silent, what: str = "strips"
) -> tuple[StripOutcome, ...]:
    """What one model makes of every strip.

    Raises:
        ConfigError: The threshold is not in 0..1.
        StripError, DatasetError: A strip or mask is not what the spec says.
        ModelError: An answer is not a heatmap.
    """
    checked_threshold(threshold)
    return tuple(_outcome(model, sample, threshold) for sample in progress(samples, total=len(samples), what=what))


def compare(
    reference: HeatmapModel,
    candidate: HeatmapModel,
    samples: Sequence[Sample],
    *,
    threshold: float | None = None,
    progress: Progress = silent,
) -> Comparison:
    """Run both models over `samples`.

    Args:
        reference: The trusted one.
        candidate: The one that is to replace it.
        samples: Labelled strips.
        threshold: For the verdicts of both; None: the reference's own.
        progress: Told of every strip.

    Raises:
        ConfigError: The threshold is not in 0..1.
        StripError, DatasetError: A strip or mask is not what the spec says.
        ModelError: The two inspect strips of different sizes, or an answer is not a heatmap.
    """
    if reference.spec.size != candidate.spec.size:
        raise ModelError(
            f"strips of {candidate.spec.size} px for the candidate, of {reference.spec.size} px for the reference",
            why="they are compared pixel by pixel on the same strips",
            fix="make both from one checkpoint",
        )
    level = checked_threshold(reference.threshold if threshold is None else threshold)
    old, new, differences = [], [], []
    for sample in progress(samples, total=len(samples), what="compare"):
        strip, mask = read_sample(sample, reference.spec)
        trusted = reference.heatmap(strip).copy()  # a model may write its next answer into the same memory
        heatmap = candidate.heatmap(strip)
        old.append(outcome_of(sample, trusted, mask, threshold=level))
        new.append(outcome_of(sample, heatmap, mask, threshold=level))
        differences.append(HeatDifference.of(trusted, heatmap))
    return Comparison(threshold=level, reference=tuple(old), candidate=tuple(new), differences=tuple(differences))


def _outcome(model: HeatmapModel, sample: Sample, threshold: float) -> StripOutcome:
    strip, mask = read_sample(sample, model.spec)
    return outcome_of(sample, model.heatmap(strip), mask, threshold=threshold)

"""How well scores tell defective from good: one curve over all thresholds, and the verdicts at one of them.

In:   scores in [0, 1] of strips or of pixels, and which of them are positive (defective).
Out:  `Curve` with AUROC, average precision and per-region overlap; `Verdicts` with precision, recall and F1.
A number that the data does not define (only one class, no ground truth) is None: never NaN, never an exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PRO_LIMIT = 0.3
"""False positive rate up to which the per-region overlap is integrated: MVTec AD (Bergmann et al., IJCV 2021, section 5.3)."""
PLOTTED_POINTS = 1000
"""More than a plot has pixels from one end to the other."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """What every threshold would give: one point per distinct score, from the highest down, after a first one above all scores.

    Attributes:
        false_positives, true_positives: (K,) float64 counts.
        overlaps: (K,) float64, summed over the ground-truth regions: the share of each that is found; None when not counted.
    """

    false_positives: FloatArray
    true_positives: FloatArray
    overlaps: FloatArray | None = None

    @classmethod
    def of_scores(cls, scores: Sequence[float], positive: Sequence[bool]) -> Curve:
        """The exact curve of a list of scores.

        Args:
            scores: One per strip.
            positive: Whether that strip is defective.
        """
        distinct, where = np.unique(np.asarray(scores, np.float64), return_inverse=True)
        is_positive = np.asarray(positive, np.bool_)
        counts = [np.bincount(where[chosen], minlength=len(distinct)) for chosen in (~is_positive, is_positive)]
        return cls.of_counts(counts[0][::-1], counts[1][::-1])

    @classmethod
    def of_counts(cls, negatives: NDArray[np.int64], positives: NDArray[np.int64], overlaps: FloatArray | None = None) -> Curve:
        """The curve of scores that have been counted, from the highest score down.

        Args:
            negatives, positives: (K,) how many lie at each score.
            overlaps: (K,) how many ground-truth regions' worth lies at each; None when not counted.
        """

        def running(values: NDArray[np.int64] | FloatArray) -> FloatArray:
            return np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])

        return cls(
            false_positives=running(negatives),
            true_positives=running(positives),
            overlaps=None if overlaps is None else running(overlaps),
        )

    @property
    def false_positive_rate(self) -> FloatArray | None:
        """(K,) share of the negatives that are called positive; None without negatives."""
        return _share(self.false_positives)

    @property
    def recall(self) -> FloatArray | None:
        """(K,) share of the positives that are called positive; None without positives."""
        return _share(self.true_positives)

    @property
    def overlap(self) -> FloatArray | None:
        """(K,) mean share of a ground-truth region that is found; None without regions."""
        return None if self.overlaps is None else _share(self.overlaps)

    @property
    def precision(self) -> FloatArray:
        """(K,) share of what is called positive that is so; 1 where nothing is called."""
        called = self.true_positives + self.false_positives
        return np.divide(self.true_positives, called, out=np.ones_like(called), where=called > 0)

    @property
    def auroc(self) -> float | None:
        """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half."""
        pairs = self.false_positives[-1] * self.true_positives[-1]
        # counts below 2**53 are exact in float64, so all pairs in order give 1 and not almost 1
        return _area(self.false_positives, self.true_positives) / float(pairs) if pairs else None

    @property
    def average_precision(self) -> float | None:
        """Sum of precision times the step in recall, without interpolation; needs both classes."""
        if not (self.false_positives[-1] and self.true_positives[-1]):
            return None
        return float(np.sum(np.diff(self.true_positives) * self.precision[1:]) / self.true_positives[-1])

    @property
    def pro(self) -> float | None:
        """MVTec AD's per-region overlap: mean overlap up to a false positive rate of `PRO_LIMIT`; 1 is perfect."""
        rate, overlap = self.false_positive_rate, self.overlap
        if rate is None or overlap is None:
            return None
        end = int(np.searchsorted(rate, PRO_LIMIT))  # rate[end - 1] < PRO_LIMIT <= rate[end]
        share = (PRO_LIMIT - rate[end - 1]) / (rate[end] - rate[end - 1])
        at_limit = overlap[end - 1] + share * (overlap[end] - overlap[end - 1])
        return _area(np.append(rate[:end], PRO_LIMIT), np.append(overlap[:end], at_limit)) / PRO_LIMIT

    def thinned(self, points: int = PLOTTED_POINTS) -> Curve:
        """At most 2 * `points` + 1 of the curve, for plots: evenly spaced along recall and along the logarithm of the false positives."""
        steps = np.stack([self.true_positives, np.log1p(self.false_positives)])
        ends = steps[:, -1:]
        wanted = np.linspace(0, 1, points) * ends
        spaced = [np.searchsorted(step, row, side="right") - 1 for step, row in zip(steps, wanted, strict=True)]
        kept = np.unique([0, *np.concatenate(spaced)])
        return Curve(
            false_positives=self.false_positives[kept],
            true_positives=self.true_positives[kept],
            overlaps=None if self.overlaps is None else self.overlaps[kept],
        )


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """Right and wrong verdicts at one threshold: how many defective strips were called NG, and so on."""

    defective_ng: int
    defective_ok: int
    good_ng: int
    good_ok: int

    @classmethod
    def of(cls, scores: Sequence[float], defective: Sequence[bool], threshold: float) -> Verdicts:
        """Count the verdicts: NG when the score is at least the threshold."""
        pairs = [(bad, score >= threshold) for score, bad in zip(scores, defective, strict=True)]
        return cls(
            defective_ng=pairs.count((True, True)),
            defective_ok=pairs.count((True, False)),
            good_ng=pairs.count((False, True)),
            good_ok=pairs.count((False, False)),
        )

    @property
    def precision(self) -> float | None:
        """Share of the NG verdicts that are right; None without an NG verdict."""
        return _ratio(self.defective_ng, self.defective_ng + self.good_ng)

    @property
    def recall(self) -> float | None:
        """Share of the defective strips that are NG; None without defective strips."""
        return _ratio(self.defective_ng, self.defective_ng + self.defective_ok)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None without defective strips."""
        if self.recall is None:
            return None
        return _ratio(2 * self.defective_ng, 2 * self.defective_ng + self.good_ng + self.defective_ok)


def _share(counts: FloatArray) -> FloatArray | None:
    return counts / counts[-1] if counts[-1] else None


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _area(x: FloatArray, y: FloatArray) -> float:
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2)

"""How sure a number is that was computed from a sample.

In:   a statistic that can be computed from the sample drawn again, and the size of the sample; or a count of what happened.
Out:  an `Interval`: `bootstrap` gives the percentile bootstrap's (Efron and Tibshirani 1993, chapter 13), seeded, so that the same
      call gives the same interval; `exact_share` the binomial's, which has a width even for what has never happened.
A statistic takes many draws at once, (R, n) indices into the sample, and answers (R,) values. What was measured twice on the same
things, two models on one strip or two backends in one round, is drawn together when the statistic looks both up under one index.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

CONFIDENCE = 0.95
RESAMPLES = 2000
"""With 2000 the ends of an interval move by less than a tenth of its width from seed to seed."""
_AT_ONCE = 100  # draws: keeps what a statistic needs for them within a processor's cache

Draws = NDArray[np.intp]
Statistic = Callable[[Draws], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A number and the interval that holds the true one with `confidence`."""

    value: float
    low: float
    high: float
    confidence: float = CONFIDENCE

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        return asdict(self)


def bootstrap(
    statistic: Statistic,
    size: int,
    *,
    strata: Sequence[Any] | None = None,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The statistic of a sample, and its interval.

    Args:
        statistic: (R, size) indices into the sample -> (R,) finite values.
        size: How many things were measured, 1 or more.
        strata: (size,) labels; every draw holds as many of each label as the sample does. None: all are alike.
        confidence: How often the interval holds the true value.
        resamples: Draws.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    labels = np.unique(np.zeros(size) if strata is None else np.asarray(strata), return_inverse=True)[1]
    groups = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
    values = []
    for begin in range(0, resamples, _AT_ONCE):
        rows = min(_AT_ONCE, resamples - begin)
        values.append(statistic(np.hstack([group[rng.integers(len(group), size=(rows, len(group)))] for group in groups])))
    low, high = np.quantile(np.concatenate(values), ((1 - confidence) / 2, (1 + confidence) / 2))
    value = statistic(np.arange(size)[np.newaxis])[0]
    return Interval(value=float(value), low=float(low), high=float(high), confidence=confidence)


def times_drawn(draws: Draws, size: int) -> NDArray[np.float64]:
    """How often each thing is in each draw: (R, n) indices -> (R, size) counts."""
    rows = len(draws)
    places = draws + np.arange(rows)[:, np.newaxis] * size
    return np.bincount(places.ravel(), minlength=rows * size).reshape(rows, size).astype(np.float64)


def exact_share(count: int, size: int, *, confidence: float = CONFIDENCE) -> Interval:
    """How often something happens that happened `count` times in `size` (Clopper and Pearson 1934); `size` is 1 or more."""
    tail = (1 - confidence) / 2
    low = float(special.betaincinv(count, size - count + 1, tail)) if count else 0.0
    high = float(special.betaincinv(count + 1, size - count, 1 - tail)) if count < size else 1.0
    return Interval(value=count / size, low=low, high=high, confidence=confidence)

"""What a list of timings says, and how sure that is.

In:   measured values, all in one unit.
Out:  `Percentiles`, and how many times as long one takes as another, with its bootstrap interval.
Percentiles in the tail are values that were measured, the higher neighbour and never a mix: one slow call in a hundred is in p99.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from lineside.errors import ConfigError
from lineside.judge.bootstrap import CONFIDENCE, RESAMPLES, Draws, Interval, bootstrap


@dataclass(frozen=True, kw_only=True)
class Percentiles:
    """A distribution, in the unit of its values. `p50` is the median; p90 and p99 are measured values."""

    n: int
    mean: float
    p50: float
    p90: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Percentiles:
        """The percentiles of one value or more."""
        array = np.asarray(values, np.float64)
        p90, p99 = np.percentile(array, (90, 99), method="higher")
        return cls(
            n=len(array), mean=float(array.mean()), p50=float(np.median(array)), p90=float(p90), p99=float(p99), max=float(array.max())
        )


def median_ratio(
    numerator: Sequence[float],
    denominator: Sequence[float],
    *,
    loads: ArrayLike | None = None,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The median of the rounds' ratios, with its interval.

    Value i of both was measured in the same round and is divided by its partner: a slow round slows both and leaves its ratio alone. The
    ratio of the two medians does not have that: on a machine that is 1.6 times slower for half of the rounds, at 5 % noise, it errs by up
    to 10 %, because each median lies in the gap between fast and slow rounds, at an end of its own.

    Args:
        numerator, denominator: Values of the same rounds, in the same order; above 0.
        loads: (n,) which load of the models a round is of. With several, whole loads are drawn, and then rounds of each: what a load has
            in common is not measured again by more rounds. None: all are of one.
        confidence: How often the interval holds the true ratio.
        resamples: Draws.
        seed: Of the draws.

    Raises:
        ConfigError: The two have different lengths, or none.
    """
    if not len(numerator) == len(denominator) > 0:
        raise ConfigError(
            f"{len(numerator)} values over {len(denominator)}",
            why="they are compared round by round",
            fix="measure both in the same rounds",
        )
    ratios = np.asarray(numerator, np.float64) / np.asarray(denominator, np.float64)
    groups = [ratios] if loads is None else np.split(ratios, np.flatnonzero(np.diff(np.asarray(loads))) + 1)
    drawn = len(groups) if len(groups) > 1 else len(ratios)
    rng = np.random.default_rng(seed + 1)

    def of_rounds(draws: Draws) -> NDArray[np.float64]:
        return np.asarray(np.median(ratios[draws], axis=1))

    def of_loads(draws: Draws) -> NDArray[np.float64]:
        again = [[group[rng.integers(len(group), size=len(group))] for group in (groups[index] for index in draw)] for draw in draws]
        return np.asarray([np.median(np.concatenate(parts)) for parts in again])

    statistic = of_rounds if len(groups) == 1 else of_loads
    found = bootstrap(statistic, drawn, confidence=expanded(confidence, drawn), resamples=resamples, seed=seed)
    return replace(found, value=float(np.median(ratios)), confidence=confidence)


BLOCKS = 20
"""Of consecutive calls, that are drawn as a whole."""


def ratio_of_separate_medians(
    numerator: ArrayLike, denominator: ArrayLike, *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Median over median of two runs that have no rounds in common, with its interval.

    Blocks of consecutive values are drawn, not single ones (Kunsch 1989): neighbours are alike, and a slow stretch of a run would else
    count as many independent slow calls.

    Args:
        numerator, denominator: Values in the order in which they were measured, one or more each.
        confidence: How often the interval holds the true ratio.
        resamples: Draws.
        seed: Of the draws.
    """
    arrays = [np.asarray(values, np.float64) for values in (numerator, denominator)]
    above, below = (np.array_split(array, min(BLOCKS, len(array))) for array in arrays)
    blocks = [*above, *below]

    def ratio(draws: Draws) -> NDArray[np.float64]:
        medians = [
            [np.median(np.concatenate([blocks[index] for index in part])) for part in (draw[: len(above)], draw[len(above) :])]
            for draw in draws
        ]
        quotients: NDArray[np.float64] = np.divide(*np.asarray(medians).T)
        return quotients

    strata = [*(0 for _ in above), *(1 for _ in below)]
    found = bootstrap(
        ratio, len(blocks), strata=strata, confidence=expanded(confidence, min(len(above), len(below))), resamples=resamples, seed=seed
    )
    return replace(found, confidence=confidence)


def expanded(confidence: float, size: int) -> float:
    """The confidence to ask the percentile bootstrap for, so that its interval holds the truth with `confidence`.

    Its intervals of small samples are too narrow: the expanded percentile interval (Hesterberg 2015, "What Teachers Should Know About the
    Bootstrap", section 5.3) makes them as wide as Student's t.
    """
    if size < 2:
        return confidence
    quantile = special.stdtrit(size - 1, (1 + confidence) / 2) * math.sqrt(size / (size - 1))
    return float(2 * special.ndtr(quantile) - 1)

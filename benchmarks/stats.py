"""What a list of timings says, and how sure that is.

In:   measured values, all in one unit.
Out:  `Percentiles`, and the ratio of two medians with its bootstrap interval.
Percentiles in the tail are values that were measured, the higher neighbour and never a mix: one slow call in a hundred is in p99.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lineside.bootstrap import CONFIDENCE, RESAMPLES, Draws, Interval, bootstrap
from lineside.errors import ConfigError


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


def ratio_of_medians(
    numerator: Sequence[float], denominator: Sequence[float], *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Median over median, with its interval.

    Value i of both was measured in the same round and is drawn together with its partner: a slow round slows both and leaves the
    ratio alone.

    Args:
        numerator, denominator: Values of the same rounds, in the same order.
        confidence: How often the interval holds the true ratio.
        resamples: Draws.
        seed: Of the draws.

    Raises:
        ConfigError: The two have different lengths, or none.
    """
    pairs = np.asarray([numerator, denominator], np.float64) if len(numerator) == len(denominator) else np.empty((2, 0))
    rounds = pairs.shape[1]
    if not rounds:
        raise ConfigError(
            f"{len(numerator)} values over {len(denominator)}",
            why="they are compared round by round",
            fix="measure both in the same rounds",
        )

    def ratio(draws: Draws) -> NDArray[np.float64]:
        above, below = (np.median(values[draws], axis=1) for values in pairs)
        quotients: NDArray[np.float64] = above / below
        return quotients

    return bootstrap(ratio, rounds, confidence=confidence, resamples=resamples, seed=seed)

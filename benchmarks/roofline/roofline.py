"""The roofline: how near a model comes to what the machine can do.

In:   the work of a call, how long it took, the machine's measured peak.
Out:  `Placed`: where the call lies (multiply-adds per byte, multiply-adds per second), and its shares of what is possible.
After Williams, Waterman and Patterson, "Roofline" (Communications of the ACM 52, 2009). A model of float32 and INT8 layers is compared
with the time that both take at their own peaks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lineside.graph.cost import Kind, Work

from .peak import Peak


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Where a call lies.

    Attributes:
        multiply_adds: Of a call, by the kind of number.
        nbytes: The least that a call moves: weights, input and output.
        intensity: Multiply-adds per byte.
        multiply_adds_per_s: Reached, at the median time.
        of_peak: That, as a share of the peak of its kinds of numbers.
        of_roof: As a share of the roof above it, which memory lowers where the intensity is small. More than 1 where weights and
            arrays stay in the caches from call to call.
        bound: What the roof above it is: "compute" or "memory".
        threads: Of the peak.
    """

    multiply_adds: Mapping[Kind, int]
    nbytes: int
    intensity: float
    multiply_adds_per_s: float
    of_peak: float
    of_roof: float
    bound: str
    threads: int

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        return asdict(self)


def placed(work: Work, seconds: float, peak: Peak) -> Placed:
    """Where a call of so many seconds lies."""
    computing_s = sum(count / peak.multiply_adds_per_s[kind] for kind, count in work.multiply_adds.items())
    moving_s = work.nbytes / peak.bytes_per_s
    return Placed(
        multiply_adds=work.multiply_adds,
        nbytes=work.nbytes,
        intensity=work.intensity,
        multiply_adds_per_s=work.total / seconds,
        of_peak=computing_s / seconds,
        of_roof=max(computing_s, moving_s) / seconds,
        bound="compute" if computing_s >= moving_s else "memory",
        threads=peak.threads,
    )

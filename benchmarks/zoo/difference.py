"""How near files of one network are to each other, on the same random inputs.

In:   cases that take the same inputs; the first is what the others are compared with.
Out:  a `Difference` for each, of the first output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lineside.benchmarks.subjects.cases import Case
from lineside.benchmarks.subjects.subjects import open_subject

from .networks import Array, Decide


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of one case to the reference.

    Attributes:
        max, mean: Of the absolute differences.
        scale: Standard deviation of the reference's answers, to see the differences against.
        top1: Share of the same decisions (`Network.decide`): the class with the largest logit, or that of a pixel; None without any.
        inputs: How many.
    """

    max: float
    mean: float
    scale: float
    top1: float | None
    inputs: int


def differences(reference: Case, candidates: Sequence[Case], *, inputs: int, decide: Decide | None = None) -> list[Difference]:
    """Ask all of them for the answers to so many inputs. Raises: ModelError."""
    old = _answers(reference, inputs)
    return [_difference(old, _answers(case, inputs), decide) for case in candidates]


def _answers(case: Case, inputs: int) -> Array:
    """(rows, values) float32."""
    with open_subject(case) as subject:
        return np.concatenate(
            [subject.answer(index).reshape(case.batch, -1).astype(np.float32) for index in range(-(-inputs // case.batch))]
        )


def _difference(old: Array, new: Array, decide: Decide | None) -> Difference:
    apart = np.abs(new - old)
    return Difference(
        max=float(apart.max()),
        mean=float(apart.mean(dtype=np.float64)),
        scale=float(old.std(dtype=np.float64)),
        top1=float((decide(old) == decide(new)).mean()) if decide else None,
        inputs=len(old),
    )

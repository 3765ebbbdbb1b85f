"""May this model replace that one? The decision alone (design 8): no pages, no files, no models.

In:   the outcomes of both models on the same labelled strips, and the threshold.
Out:  a `GateDecision`: passed or not, each criterion with its value, limit and bootstrap interval, the strips that flip or lie near the
      threshold, and whether the strips are enough to be sure.
The values decide; the intervals say how sure that is (`enough`, `more_strips`). What the strips do not define (one class only, no ground
truth) is undefined by name, never NaN, and does not pass or fail. The threshold is never changed: when another one would keep the
verdicts, that one is named (`other_threshold`), for a person to decide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from lineside.dataset import GOOD
from lineside.errors import ConfigError
from lineside.manifest import checked_threshold

from .bootstrap import CONFIDENCE, Interval, Statistic, bootstrap, exact_share
from .outcome import StripOutcome, found_of, image_auroc, pixel_ap, recall
from .threshold import between

IMAGE_AUROC_DOWN = 0.001
PIXEL_AP_DOWN = 0.02
RECALL_DOWN = 0.005
"""How far each may fall (design 8)."""
MARGIN = 0.02
"""Strips whose score is nearer to the threshold than this are listed: four times what INT8 moved the score of any of 40 strips of a
model with 16 base channels."""
_ROUNDING = 1e-9
"""Of differences of shares: a fall of exactly the limit passes."""

_Pair = tuple[StripOutcome, StripOutcome]


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One number that may fall by so much.

    Attributes:
        name: Such as "pixel AP" or "recall of spot".
        reference, candidate: Its value for both models.
        down: Reference minus candidate, with its interval; what falls is positive.
        limit: The most it may fall.
        strips: How many strips define it.
        more_strips: How many more of the same sort it would take until the interval lies on one side of the limit; 0: it does. None:
            the value is the limit, and no number would tell.
        unchanged: Whether no strip of these changed in what it is made of. Then `more_strips` says how many it would take to be sure of a
            rate of losses that has not been seen at all.
    """

    name: str
    reference: float
    candidate: float
    down: Interval
    limit: float
    strips: int
    more_strips: int | None
    unchanged: bool = False

    @property
    def passed(self) -> bool:
        """Whether it falls by no more than the limit."""
        return self.down.value <= self.limit + _ROUNDING


@dataclass(frozen=True, kw_only=True)
class ScorePair:
    """A strip with the scores that both models give it."""

    name: str
    kind: str
    reference: float
    candidate: float


@dataclass(frozen=True, kw_only=True)
class GateDecision:
    """The answer.

    Attributes:
        threshold: NG when a score is at least this, for both models.
        strips: How many there were.
        flips: Strips whose verdict changed; there must be none.
        flip_rate: Their share, with the exact interval: without a flip on n strips the rate may still be up to about 3.7 / n.
        criteria: What may fall, and by how much.
        undefined: What these strips do not define, each with the reason.
        margin, near: Strips whose score, by either model, is nearer to the threshold than the margin.
        other_threshold: A threshold that would give the candidate all verdicts of the reference, where there is one and some flip.
    """

    threshold: float
    strips: int
    flips: tuple[ScorePair, ...]
    flip_rate: Interval
    criteria: tuple[Criterion, ...]
    undefined: tuple[str, ...]
    margin: float
    near: tuple[ScorePair, ...]
    other_threshold: float | None

    @property
    def passed(self) -> bool:
        """Whether the candidate may replace the reference, by the values."""
        return not self.flips and all(criterion.passed for criterion in self.criteria)

    @property
    def enough(self) -> bool:
        """Whether everything is defined and every interval lies on one side of its limit."""
        return not self.undefined and all(criterion.more_strips == 0 for criterion in self.criteria)

    @property
    def unsure(self) -> tuple[Criterion, ...]:
        """The criteria that hold on these strips while some of them changed, and whose interval reaches over the limit."""
        return tuple(one for one in self.criteria if one.passed and not one.unchanged and one.more_strips != 0)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it did not pass, in words; empty when it did."""
        flips = [f"{len(self.flips)} of {self.strips} verdicts flip at {self.threshold:.6g}"] if self.flips else []
        falls = [
            f"{one.name} falls by {one.down.value:.4f}, from {one.reference:.4f} to {one.candidate:.4f}; {one.limit:g} may be lost"
            + ("" if one.more_strips == 0 else f", and {one.strips} strips are too few to be sure")
            for one in self.criteria
            if not one.passed
        ]
        return (*flips, *falls)

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        criteria = [{**asdict(one), "passed": one.passed} for one in self.criteria]
        return {**asdict(self), "passed": self.passed, "enough": self.enough, "reasons": list(self.reasons), "criteria": criteria}


def decide(
    reference: Sequence[StripOutcome], candidate: Sequence[StripOutcome], *, threshold: float, margin: float = MARGIN, seed: int = 0
) -> GateDecision:
    """May the candidate replace the reference?

    Args:
        reference, candidate: Outcomes on the same strips in the same order, at `threshold`.
        threshold: NG when a score is at least this.
        margin: Strips nearer to the threshold are listed.
        seed: Of the bootstrap.

    Raises:
        ConfigError: No strips, other strips or another threshold for one of the two, or a threshold or margin that cannot be.
    """
    _refuse_unlike(reference, candidate, checked_threshold(threshold))
    if not 0 <= margin <= 1:
        raise ConfigError(f"margin {margin}", why="it is a distance of scores", fix=f"use {MARGIN}")
    pairs = [
        ScorePair(name=old.name, kind=old.row.sample.kind, reference=old.row.score, candidate=new.row.score)
        for old, new in zip(reference, candidate, strict=True)
    ]
    flips = tuple(pair for pair in pairs if (pair.reference >= threshold) != (pair.candidate >= threshold))
    near = (pair for pair in pairs if min(abs(pair.reference - threshold), abs(pair.candidate - threshold)) < margin)
    criteria, undefined = _criteria(list(zip(reference, candidate, strict=True)), seed)
    return GateDecision(
        threshold=threshold,
        strips=len(pairs),
        flips=flips,
        flip_rate=exact_share(len(flips), len(pairs)),
        criteria=criteria,
        undefined=undefined,
        margin=margin,
        near=tuple(near),
        other_threshold=_other_threshold(pairs, threshold) if flips else None,
    )


def _refuse_unlike(reference: Sequence[StripOutcome], candidate: Sequence[StripOutcome], threshold: float) -> None:
    names, others = ([outcome.name for outcome in outcomes] for outcomes in (reference, candidate))
    if not names or names != others:
        raise ConfigError(
            f"{len(names)} strips of the reference, {len(others)} of the candidate",
            why="two models are compared strip by strip, on one strip at least",
            fix="run both on the same labelled strips",
        )
    if any(outcome.row.ng != (outcome.row.score >= threshold) for outcome in (*reference, *candidate)):
        raise ConfigError(f"verdicts that were not given at {threshold:g}", why="both models share a threshold", fix="run both again at it")


def _criteria(pairs: Sequence[_Pair], seed: int) -> tuple[tuple[Criterion, ...], tuple[str, ...]]:
    """Every criterion that the strips define, and why the others are not defined."""
    criteria, undefined = [], []
    kinds = {_kind(pair) for pair in pairs}
    known = [pair for pair in pairs if pair[0].pixels is not None]
    if len(kinds) > 1 and GOOD in kinds:
        criteria.append(_fall("image AUROC", image_auroc, pairs, IMAGE_AUROC_DOWN, seed))
    else:
        undefined.append("image AUROC: it needs good and defective strips")
    if any(_kind(pair) != GOOD for pair in known):
        criteria.append(_fall("pixel AP", pixel_ap, known, PIXEL_AP_DOWN, seed))
    else:
        undefined.append("pixel AP: it needs defective strips with ground truth")
    for kind in sorted(kinds - {GOOD}):
        criteria.append(_recall_fall(kind, [pair for pair in pairs if _kind(pair) == kind], seed))
    if kinds == {GOOD}:
        undefined.append("recall: it needs defective strips")
    return tuple(criteria), tuple(undefined)


def _fall(
    name: str, statistic: Callable[[Sequence[StripOutcome]], Statistic], pairs: Sequence[_Pair], limit: float, seed: int
) -> Criterion:
    """A criterion over the strips that define it, drawn kind by kind."""
    reference, candidate = (statistic(outcomes) for outcomes in zip(*pairs, strict=True))
    down = bootstrap(lambda draws: reference(draws) - candidate(draws), len(pairs), strata=[_kind(pair) for pair in pairs], seed=seed)
    whole = np.arange(len(pairs))[np.newaxis]
    return Criterion(
        name=name,
        reference=float(reference(whole)[0]),
        candidate=float(candidate(whole)[0]),
        down=down,
        limit=limit,
        strips=len(pairs),
        more_strips=_more_strips(down, limit, len(pairs)),
    )


def _recall_fall(kind: str, pairs: Sequence[_Pair], seed: int) -> Criterion:
    """The recall of one kind.

    Where no strip changed, every draw is alike and a bootstrap would be sure of no loss after a single defect. The exact interval of
    something that has never happened takes its place.
    """
    criterion = _fall(f"recall of {kind}", recall, pairs, RECALL_DOWN, seed)
    if any(found_of(reference) != found_of(candidate) for reference, candidate in pairs):
        return criterion
    defects = sum(found_of(reference)[1] for reference, _ in pairs)
    unseen = exact_share(0, defects).high
    needed = math.ceil(math.log((1 - CONFIDENCE) / 2) / math.log1p(-RECALL_DOWN))  # (1 - limit) ** needed is the tail
    more = math.ceil((needed - defects) * len(pairs) / defects)
    return replace(criterion, down=replace(criterion.down, low=-unseen, high=unseen), more_strips=max(0, more), unchanged=True)


def _more_strips(down: Interval, limit: float, strips: int) -> int | None:
    """How many more until the interval, which narrows with the root of their number, lies on one side of the limit."""
    if down.high <= limit or down.low > limit:
        return 0
    reach = down.high - down.value if down.value <= limit else down.value - down.low
    room = abs(limit - down.value)
    return math.ceil(strips * (reach / room) ** 2) - strips if room > _ROUNDING else None


def _other_threshold(pairs: Sequence[ScorePair], threshold: float) -> float | None:
    """The middle between the candidate's scores of the reference's OK strips and of its NG strips, where these are apart."""
    high = max((pair.candidate for pair in pairs if pair.reference < threshold), default=0.0)
    low = min((pair.candidate for pair in pairs if pair.reference >= threshold), default=1.0)
    return between(high, low) if high < low else None


def _kind(pair: _Pair) -> str:
    return pair[0].row.sample.kind

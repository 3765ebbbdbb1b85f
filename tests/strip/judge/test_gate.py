"""The gate: what passes and what does not, worked out by hand on strips whose heat is given."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest

from lineside.dataset import Sample
from lineside.errors import ConfigError
from lineside.judge.gate import GateDecision, decide
from lineside.judge.outcome import StripOutcome, outcome_of

SIZE = (32, 32)
THRESHOLD = 0.5


def outcome(index: int, kind: str, heats: Sequence[float], *, truth: bool = True, elsewhere: float = 0.01) -> StripOutcome:
    """A strip with one defect of one pixel per heat; a good strip has the first heat at one pixel."""
    heatmap = np.full(SIZE, elsewhere, np.float32)
    mask = np.zeros(SIZE, np.bool_)
    for number, heat in enumerate(heats):
        heatmap[4 * number + 2, 8] = heat
        mask[4 * number + 2, 8] = kind != "good"
    sample = Sample(path=Path(f"{kind}/{index}.tif"), kind=kind, mask=Path("m.png") if truth and kind != "good" else None)
    return outcome_of(sample, heatmap, mask, threshold=THRESHOLD)


def line(change: Callable[[float], float] = lambda heat: heat, *, copies: int = 4) -> list[StripOutcome]:
    """Good strips, spots and scratches; `change` is what another model makes of each heat."""
    given = [("good", [0.1]), ("good", [0.3]), ("spot", [0.9, 0.8]), ("spot", [0.7]), ("scratch", [0.95]), ("scratch", [0.6, 0.2])]
    kinds = [kind for kind, _ in given] * copies
    heats = [heats for _, heats in given] * copies
    return [outcome(index, kind, [change(heat) for heat in strip]) for index, (kind, strip) in enumerate(zip(kinds, heats, strict=True))]


def criterion(decision: GateDecision, name: str) -> tuple[float, float, float, bool]:
    found = next(one for one in decision.criteria if one.name == name)
    return found.reference, found.candidate, found.down.value, found.passed


def test_a_model_may_replace_itself() -> None:
    decision = decide(line(), line(), threshold=THRESHOLD)
    assert decision.passed
    assert decision.reasons == ()
    assert [one.name for one in decision.criteria] == ["image AUROC", "pixel AP", "recall of scratch", "recall of spot"]
    assert criterion(decision, "image AUROC") == (1, 1, 0, True)
    assert criterion(decision, "recall of scratch") == pytest.approx((2 / 3, 2 / 3, 0, True))
    assert decision.undefined == ()
    assert decision.other_threshold is None


def test_one_flip_is_too_many_and_is_listed_with_both_scores() -> None:
    candidate = line()
    candidate[3] = outcome(3, "spot", [0.45])
    decision = decide(line(), candidate, threshold=THRESHOLD)
    assert not decision.passed
    (flip,) = decision.flips
    assert (flip.name, flip.kind) == ("spot/3.tif", "spot")
    assert (flip.reference, flip.candidate) == pytest.approx((0.7, 0.45))
    assert decision.flip_rate.value == pytest.approx(1 / 24)
    assert decision.reasons[0] == "1 of 24 verdicts flip at 0.5"


def test_a_flip_that_helps_is_a_flip() -> None:
    """A good strip that was NG and is OK now: the model is another one than was trusted."""
    reference, candidate = line(), line()
    reference[0] = outcome(0, "good", [0.55])
    decision = decide(reference, candidate, threshold=THRESHOLD)
    assert [flip.name for flip in decision.flips] == ["good/0.tif"]
    assert not decision.passed


def test_a_lost_region_counts_though_its_strip_stays_ng() -> None:
    candidate = line()
    candidate[2] = outcome(2, "spot", [0.9, 0.4])
    decision = decide(line(), candidate, threshold=THRESHOLD)
    assert decision.flips == ()
    assert criterion(decision, "recall of spot") == pytest.approx((1, 11 / 12, 1 / 12, False))
    assert decision.reasons == (
        "recall of spot falls by 0.0833, from 1.0000 to 0.9167; 0.005 may be lost, and 8 strips are too few to be sure",
    )


def test_another_threshold_that_keeps_the_verdicts_is_named_and_not_applied() -> None:
    decision = decide(line(), line(lambda heat: heat / 2), threshold=THRESHOLD)
    assert len(decision.flips) == 16  # every defective strip is OK now
    assert not decision.passed
    assert decision.threshold == THRESHOLD
    # half of 0.6 is the least NG score, half of 0.3 the highest OK score
    assert decision.other_threshold == pytest.approx((0.15 + 0.3) / 2)


def test_no_other_threshold_is_named_where_none_keeps_the_verdicts() -> None:
    candidate = line()
    candidate[1] = outcome(1, "good", [0.8])
    assert decide(line(), candidate, threshold=THRESHOLD).other_threshold is None


def test_pixel_ap_falls_when_background_grows_hotter_than_defects() -> None:
    hot = [
        outcome(index, one.row.sample.kind, [one.row.score], elsewhere=0.15) if one.row.sample.kind == "scratch" else one
        for index, one in enumerate(line())
    ]
    reference, candidate, down, passed = criterion(decide(line(), hot, threshold=THRESHOLD), "pixel AP")
    assert reference > 0.9
    assert down == pytest.approx(reference - candidate)
    assert (down > 0.02) == (not passed)


@pytest.mark.parametrize("margin", [0.02, 0.15])
def test_strips_near_the_threshold_are_listed(margin: float) -> None:
    candidate = line()
    candidate[5] = outcome(5, "scratch", [0.515])
    names = [pair.name for pair in decide(line(), candidate, threshold=THRESHOLD, margin=margin).near]
    assert names == (["scratch/5.tif"] if margin == 0.02 else [f"scratch/{index}.tif" for index in (5, 11, 17, 23)])


def test_few_strips_are_not_enough_even_when_nothing_changed() -> None:
    decision = decide(line(), line(), threshold=THRESHOLD)
    assert decision.passed
    assert not decision.enough
    spot = next(one for one in decision.criteria if one.name == "recall of spot")
    assert spot.unchanged
    assert decision.unsure == ()  # nothing changed: what is missing is the proof that nothing ever will
    # 736 defects without a loss leave less than 0.005 with 95 % (two sides): log(0.025) / log(0.995); 12 defects lie on 8 strips
    assert spot.more_strips == math.ceil((736 - 12) * 8 / 12)
    assert spot.down.high == pytest.approx(1 - 0.025 ** (1 / 12))
    assert 0.97 < 1 - decision.flip_rate.high + 0.13 < 1  # 1 - 0.025 ** (1 / 24) is 0.143


def test_enough_strips_without_a_loss_are_enough() -> None:
    many = line(copies=250)
    decision = decide(many, many, threshold=THRESHOLD)
    assert decision.passed
    assert decision.enough


def test_a_clear_loss_is_clear_with_few_strips() -> None:
    decision = decide(line(), line(lambda heat: heat / 4), threshold=THRESHOLD)
    spot = next(one for one in decision.criteria if one.name == "recall of spot")
    assert (spot.passed, spot.more_strips) == (False, 0)


def test_the_strips_that_are_missing_make_the_interval_decide() -> None:
    """Half the limit lost on 400 strips of one defect: as many as `more_strips` says bring the interval under the limit."""

    def spots(count: int, every: int) -> tuple[list[StripOutcome], list[StripOutcome]]:
        reference = [outcome(index, "spot", [0.9, 0.9, 0.9]) for index in range(count)]
        candidate = [outcome(index, "spot", [0.9, 0.9, 0.4]) if index % every == 0 else reference[index] for index in range(count)]
        return reference, candidate

    decision = decide(*spots(400, 133), threshold=THRESHOLD)
    first = decision.criteria[-1]
    assert first.passed
    assert first in decision.unsure
    assert first.more_strips
    more = decide(*spots(400 + first.more_strips, 133), threshold=THRESHOLD).criteria[-1]
    assert more.down.high == pytest.approx(more.limit, rel=0.25)


def test_good_strips_alone_leave_the_rest_undefined_by_name() -> None:
    good = [outcome(index, "good", [0.1]) for index in range(5)]
    decision = decide(good, good, threshold=THRESHOLD)
    assert decision.passed
    assert not decision.enough
    assert decision.criteria == ()
    assert [text.split(":")[0] for text in decision.undefined] == ["image AUROC", "pixel AP", "recall"]


def test_without_masks_recall_is_that_of_the_strips() -> None:
    def strips(heat: float) -> list[StripOutcome]:
        bad = [outcome(index, "dent", [heat if index == 0 else 0.8], truth=False) for index in range(10)]
        return [*bad, *(outcome(index, "good", [0.2]) for index in range(10))]

    decision = decide(strips(0.8), strips(0.3), threshold=THRESHOLD)
    assert criterion(decision, "recall of dent") == pytest.approx((1, 0.9, 0.1, False))
    assert decision.undefined == ("pixel AP: it needs defective strips with ground truth",)


@pytest.mark.parametrize("heat", [0.0, 0.5, 1.0])
def test_constant_heatmaps_have_defined_answers(heat: float) -> None:
    flat = [outcome(index, kind, [heat], elsewhere=heat) for index, kind in enumerate(["good", "good", "spot", "spot"])]
    decision = decide(flat, flat, threshold=THRESHOLD)
    assert decision.passed
    assert criterion(decision, "image AUROC") == (0.5, 0.5, 0, True)
    json.dumps(decision.to_json(), allow_nan=False)


def test_a_fall_of_exactly_the_limit_passes() -> None:
    reference = [outcome(index, "spot", [0.9]) for index in range(200)]
    candidate = [outcome(0, "spot", [0.4]), *reference[1:]]
    found = decide(reference, candidate, threshold=THRESHOLD).criteria[-1]
    assert found.down.value == pytest.approx(0.005)
    assert (found.passed, found.more_strips) == (True, None)


def test_two_hundred_strips_take_seconds() -> None:
    many = line(copies=34)
    begin = perf_counter()
    decide(many, line(lambda heat: heat * 0.97, copies=34), threshold=THRESHOLD)
    assert perf_counter() - begin < 20  # 1.5 s on a quiet core


def test_json_says_what_was_decided_and_why() -> None:
    value = json.loads(json.dumps(decide(line(), line(lambda heat: heat / 2), threshold=THRESHOLD).to_json(), allow_nan=False))
    assert (value["passed"], value["enough"], value["threshold"], len(value["flips"])) == (False, True, 0.5, 16)
    assert value["reasons"][0] == "16 of 24 verdicts flip at 0.5"
    assert {"name", "reference", "candidate", "down", "limit", "passed", "strips", "more_strips", "unchanged"} == set(value["criteria"][0])


@pytest.mark.parametrize(
    ("drop", "threshold", "what"), [(1, 0.5, "strip by strip"), (0, 0.65, "share a threshold"), (24, 0.5, "one strip")]
)
def test_what_cannot_be_compared_is_refused(drop: int, threshold: float, what: str) -> None:
    some = line()[drop:]
    with pytest.raises(ConfigError, match=what):
        decide(line() if drop < 24 else some, some, threshold=threshold)

"""The verdict threshold: the rule, and the middle of the gap."""

from __future__ import annotations

import numpy as np
import pytest

from lineside.judge.threshold import choose_threshold, verdict_level
from lineside.manifest import UNTUNED, checked_threshold


def best_f1(scores: list[float], defective: list[bool]) -> float:
    """By trying every score as the threshold."""
    results = []
    for threshold in scores:
        ng = [score >= threshold for score in scores]
        hits = sum(n and d for n, d in zip(ng, defective, strict=True))
        results.append(2 * hits / (sum(ng) + sum(defective)))
    return max(results)


def test_the_threshold_lies_in_the_middle_between_the_highest_good_score_and_the_next_defective_one() -> None:
    threshold, rule = choose_threshold([0.1, 0.3, 0.2, 0.7, 0.9], [False, False, True, True, True])
    assert threshold == pytest.approx(0.5)
    assert rule == "no false alarm on 2 good strips of valid, 2 of 3 defective NG"


def test_missing_exactly_half_still_counts_as_no_false_alarm() -> None:
    threshold, rule = choose_threshold([0.5, 0.1, 0.9], [False, True, True])
    assert threshold == pytest.approx(0.7)
    assert rule.startswith("no false alarm")


def test_missing_more_than_half_gives_way_to_the_best_f1() -> None:
    scores, defective = [0.9, 0.1, 0.6, 0.7, 0.8, 0.95], [False, False, True, True, True, True]
    threshold, rule = choose_threshold(scores, defective)  # without a false alarm only 0.95 would be found
    assert 0.1 < threshold <= 0.6
    assert threshold == pytest.approx(0.35)
    assert rule == "best F1 on valid, 0.889"


def test_of_thresholds_with_the_same_f1_the_highest_is_taken() -> None:
    # 0.6 and up: 1 of 1, recall 1/4; everything: F1 is larger. At 0.2 and at 0.1: 2 of 3 found with 1 or 2 false alarms more
    scores, defective = [0.8, 0.7, 0.3, 0.2], [False, True, False, True]
    threshold, _ = choose_threshold(scores, defective)
    f1_at_high, f1_at_low = 2 * 1 / (2 + 2), 2 * 2 / (4 + 2)
    assert f1_at_low > f1_at_high
    assert threshold == pytest.approx(0.1)
    tied_scores, tied = [0.9, 0.8, 0.5, 0.4, 0.3, 0.2], [False, True, False, False, False, True]
    # F1 at 0.8: 2 / (2 + 2) = 0.5; at 0.2: 4 / (6 + 2) = 0.5
    assert choose_threshold(tied_scores, tied)[0] == pytest.approx(0.65)


@pytest.mark.parametrize("seed", range(20))
def test_every_choice_is_a_threshold_and_keeps_the_rule(seed: int) -> None:
    rng = np.random.default_rng(seed)
    defective = list(rng.random(30) < 0.4)
    scores = list(np.clip(rng.normal(0.5, 0.3, 30) + 0.3 * np.array(defective), 0, 1).round(1 + seed % 3))
    threshold, rule = choose_threshold(scores, defective)
    checked_threshold(threshold)
    ng = [score >= threshold for score in scores]
    false_alarms = sum(n and not d for n, d in zip(ng, defective, strict=True))
    found = sum(n and d for n, d in zip(ng, defective, strict=True))
    if rule.startswith("no false alarm"):
        assert false_alarms == 0
        assert found * 2 >= sum(defective)
        assert found == sum(
            d and s > max(s for s, d in zip(scores, defective, strict=True) if not d) for s, d in zip(scores, defective, strict=True)
        )
    else:
        assert 2 * found / (sum(ng) + sum(defective)) == pytest.approx(best_f1(scores, defective))


@pytest.mark.parametrize(("scores", "defective"), [([], []), ([0.9], [True]), ([0.1, 0.4], [False, False])])
def test_without_both_kinds_the_threshold_is_not_tuned(scores: list[float], defective: list[bool]) -> None:
    assert choose_threshold(scores, defective) == (0.5, UNTUNED)


def test_good_strips_alone_raise_a_threshold_that_they_reach() -> None:
    threshold, rule = choose_threshold([0.1, 0.6], [False, False])
    assert threshold == pytest.approx(0.8)
    assert rule == "above the 2 good strips of valid, which has no defective ones"
    assert choose_threshold([1.0], [False])[0] == 1.0  # nothing is above: a false alarm that no threshold can spare


def test_scores_of_exactly_one_and_zero_are_scores() -> None:
    assert choose_threshold([0.0, 1.0], [False, True])[0] == 0.5
    assert choose_threshold([1.0, 1.0], [False, True])[0] == 0.5  # everything NG is the best F1
    assert choose_threshold([0.0, 0.0], [False, True])[0] == 0.0
    threshold, _ = choose_threshold([1.0, 1.0, 0.2, 0.1], [False, True, True, False])
    assert 0.1 < threshold <= 0.2


def test_neighbouring_scores_are_still_told_apart() -> None:
    low = 0.3
    high = float(np.nextafter(low, 1))
    threshold, _ = choose_threshold([low, high], [False, True])
    assert low < threshold <= high


def test_pixels_at_the_level_are_exactly_those_whose_score_reaches_the_threshold() -> None:
    rng = np.random.default_rng(0)
    for threshold in [0.0, 1.0, 0.7, 0.1, *rng.random(500)]:
        level = verdict_level(threshold)
        near = np.float32(threshold)
        for value in (near, np.nextafter(near, np.float32(0)), np.nextafter(near, np.float32(1))):
            assert bool(value >= level) == (float(value) >= threshold)

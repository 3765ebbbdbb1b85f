"""Metrics of strips: exact, and None where the labels define nothing."""

from __future__ import annotations

import numpy as np
import pytest

from lineside.judge.metrics import Curve, Verdicts


def labelled_scores(seed: int, *, decimals: int | None = None) -> tuple[list[float], list[bool]]:
    rng = np.random.default_rng(seed)
    defective = rng.random(60) < 0.3
    scores = np.clip(rng.normal(0.4, 0.2, 60) + 0.2 * defective, 0, 1)
    return list(scores if decimals is None else scores.round(decimals)), list(defective)


@pytest.mark.parametrize("decimals", [None, 2, 1, 0])
@pytest.mark.parametrize("seed", range(3))
def test_auroc_and_average_precision_are_those_of_scikit_learn(seed: int, decimals: int | None) -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the independent computation")
    scores, defective = labelled_scores(seed, decimals=decimals)
    curve = Curve.of_scores(scores, defective)
    # both are exact but for the rounding of float64
    assert curve.auroc == pytest.approx(sklearn.roc_auc_score(defective, scores), abs=1e-12)
    assert curve.average_precision == pytest.approx(sklearn.average_precision_score(defective, scores), abs=1e-12)


@pytest.mark.parametrize("decimals", [None, 1])
def test_auroc_is_the_share_of_pairs_in_order_and_a_tie_counts_half(decimals: int | None) -> None:
    scores, defective = labelled_scores(5, decimals=decimals)
    good = [score for score, bad in zip(scores, defective, strict=True) if not bad]
    bad = [score for score, bad in zip(scores, defective, strict=True) if bad]
    pairs = [(b > g) + (b == g) / 2 for b in bad for g in good]
    assert Curve.of_scores(scores, defective).auroc == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)


def test_perfect_order_gives_exactly_one() -> None:
    rng = np.random.default_rng(0)
    scores, defective = [*rng.uniform(0, 0.3, 37), *rng.uniform(0.7, 1, 23)], [False] * 37 + [True] * 23
    curve = Curve.of_scores(scores, defective)
    assert curve.auroc == 1.0
    assert curve.average_precision == 1.0


def test_constant_scores_tell_nothing() -> None:
    curve = Curve.of_scores([0.5] * 8, [True] * 2 + [False] * 6)
    assert curve.auroc == 0.5
    assert curve.average_precision == 0.25  # the share of defective strips


@pytest.mark.parametrize(("scores", "defective"), [([], []), ([0.1, 0.9], [False, False]), ([0.1, 0.9], [True, True])])
def test_one_class_alone_defines_no_curve_metric(scores: list[float], defective: list[bool]) -> None:
    curve = Curve.of_scores(scores, defective)
    assert curve.auroc is None
    assert curve.average_precision is None
    assert curve.pro is None


def test_a_thinned_curve_looks_the_same_with_few_points() -> None:
    rng = np.random.default_rng(1)
    defective = rng.random(50_000) < 0.01
    curve = Curve.of_scores(list(rng.normal(0, 1, 50_000) + 2 * defective), list(defective))
    thin = curve.thinned(200)
    assert len(thin.true_positives) <= 401
    assert (thin.true_positives[0], thin.true_positives[-1]) == (0, curve.true_positives[-1])
    assert (thin.false_positives[0], thin.false_positives[-1]) == (0, curve.false_positives[-1])
    # straight lines between points a 200th of the recall apart
    assert thin.auroc == pytest.approx(curve.auroc, abs=1 / 200)
    recall = np.interp(np.geomspace(1e-4, 1, 50), curve.false_positive_rate, curve.recall)
    assert np.interp(np.geomspace(1e-4, 1, 50), thin.false_positive_rate, thin.recall) == pytest.approx(recall, abs=2 / 200)


def test_a_score_at_the_threshold_is_ng() -> None:
    verdicts = Verdicts.of([0.2, 0.5, 0.5, 0.7], [False, False, True, True], 0.5)
    assert verdicts == Verdicts(defective_ng=2, defective_ok=0, good_ng=1, good_ok=1)
    assert verdicts.precision == pytest.approx(2 / 3)
    assert verdicts.recall == 1.0
    assert verdicts.f1 == pytest.approx(0.8)


@pytest.mark.parametrize("threshold", [0.2, 0.4, 0.6])
def test_f1_precision_and_recall_are_those_of_scikit_learn(threshold: float) -> None:
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the independent computation")
    scores, defective = labelled_scores(7)
    ng = np.array(scores) >= threshold
    verdicts = Verdicts.of(scores, defective, threshold)
    assert verdicts.f1 == pytest.approx(sklearn.f1_score(defective, ng))
    assert verdicts.precision == pytest.approx(sklearn.precision_score(defective, ng))
    assert verdicts.recall == pytest.approx(sklearn.recall_score(defective, ng))


def test_verdicts_without_what_a_number_needs_give_none() -> None:
    assert Verdicts.of([0.1, 0.2], [True, False], 0.5).precision is None  # nothing is NG
    assert Verdicts.of([0.1, 0.9], [False, False], 0.5).recall is None
    assert Verdicts.of([0.1, 0.9], [False, False], 0.5).f1 is None
    assert Verdicts.of([], [], 0.5).f1 is None
    assert Verdicts.of([0.1, 0.2], [True, False], 0.5).f1 == 0.0

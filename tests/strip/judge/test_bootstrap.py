"""The bootstrap against scipy's, and on samples whose interval is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from lineside.judge.bootstrap import Draws, Statistic, bootstrap, exact_share, times_drawn


def mean_of(values: NDArray[np.float64]) -> Statistic:
    return lambda draws: values[draws].mean(axis=1)


def test_the_interval_of_a_paired_difference_is_scipys() -> None:
    rng = np.random.default_rng(0)
    weather = rng.lognormal(sigma=0.5, size=60)
    one, other = weather + rng.normal(0.1, 0.05, 60), weather
    expected = scipy_stats.bootstrap(
        (one, other),
        lambda a, b, axis=-1: np.mean(a, axis=axis) - np.mean(b, axis=axis),
        paired=True,
        method="percentile",
        n_resamples=4000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    found = bootstrap(lambda draws: one[draws].mean(axis=1) - other[draws].mean(axis=1), 60, resamples=4000, seed=2)
    # the ends of 4000 draws are known to about 3 % of the width
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.1 * (expected.high - expected.low))
    assert found.value == pytest.approx(float(one.mean() - other.mean()))


def test_strata_are_the_samples_that_scipy_draws_one_by_one() -> None:
    rng = np.random.default_rng(0)
    good, bad = rng.normal(0, 1, 50), rng.normal(3, 2, 20)
    expected = scipy_stats.bootstrap(
        (good, bad),
        lambda a, b, axis=-1: np.mean(b, axis=axis) - np.mean(a, axis=axis),
        method="percentile",
        n_resamples=4000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    values, is_bad = np.concatenate([good, bad]), np.arange(70) >= 50

    def difference(draws: Draws) -> NDArray[np.float64]:
        chosen = is_bad[draws]
        return np.where(chosen, values[draws], 0).sum(axis=1) / 20 - np.where(chosen, 0, values[draws]).sum(axis=1) / 50

    found = bootstrap(difference, 70, strata=is_bad.tolist(), resamples=4000)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.1 * (expected.high - expected.low))


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400)
    found = bootstrap(mean_of(values), 400)
    half = 1.96 * values.std() / 20
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(100):
        found = bootstrap(mean_of(rng.normal(1, 1, 50)), 50, resamples=200, seed=seed)
        held += found.low <= 1 <= found.high
    assert held >= 86  # of 95 expected; four standard deviations are 9


def test_a_constant_has_an_interval_of_no_width() -> None:
    found = bootstrap(mean_of(np.full(7, 0.25)), 7)
    assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)


def test_every_draw_holds_as_many_of_each_label_as_the_sample() -> None:
    labels = np.array(["spot", "good", "good", "blob", "good", "spot"])
    seen: list[Draws] = []

    def record(draws: Draws) -> NDArray[np.float64]:
        seen.append(draws)
        return np.zeros(len(draws))

    bootstrap(record, 6, strata=labels.tolist(), resamples=250)
    drawn = np.vstack(seen[:-1])  # the last call is the sample itself
    assert drawn.shape == (250, 6)
    for label, count in (("spot", 2), ("good", 3), ("blob", 1)):
        assert ((labels[drawn] == label).sum(axis=1) == count).all()
    assert len(np.unique(drawn, axis=0)) > 50


def test_times_drawn_counts_every_index() -> None:
    draws = np.array([[0, 0, 2], [1, 2, 0]])
    np.testing.assert_array_equal(times_drawn(draws, 4), [[2, 0, 1, 0], [1, 1, 1, 0]])


def test_the_same_seed_gives_the_same_interval() -> None:
    values = mean_of(np.random.default_rng(0).normal(size=30))
    assert bootstrap(values, 30, seed=5) == bootstrap(values, 30, seed=5) != bootstrap(values, 30, seed=6)


@pytest.mark.parametrize(("count", "size"), [(0, 1), (0, 60), (1, 1), (3, 40), (40, 40), (17, 1000)])
def test_the_interval_of_a_share_is_scipys_exact_one(count: int, size: int) -> None:
    expected = scipy_stats.binomtest(count, size).proportion_ci(0.95, method="exact")
    found = exact_share(count, size)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert found.value == count / size

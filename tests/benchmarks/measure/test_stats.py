from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from lineside.benchmarks.measure.stats import Percentiles, expanded, median_ratio
from lineside.errors import ConfigError


@pytest.mark.parametrize("n", [1, 2, 5, 10, 99, 100, 101, 1000])
def test_percentiles_are_numpys(n: int) -> None:
    values = np.random.default_rng(n).lognormal(size=n)
    found = Percentiles.of(values.tolist())
    assert found.n == n
    assert found.p50 == np.percentile(values, 50)
    assert (found.p90, found.p99, found.max) == tuple(np.percentile(values, (90, 99, 100), method="higher"))
    assert found.mean == pytest.approx(sum(values) / n)


def test_percentiles_of_a_known_list() -> None:
    found = Percentiles.of([float(value) for value in range(1, 101)])
    assert (found.p50, found.p90, found.p99, found.max) == (50.5, 91, 100, 100)


def test_one_slow_call_in_a_hundred_is_in_p99() -> None:
    found = Percentiles.of([10.0] * 99 + [500.0])
    assert (found.p90, found.p99, found.max) == (10.0, 500.0, 500.0)


def test_the_ratio_is_the_median_of_the_rounds_ratios() -> None:
    ratio = median_ratio([2.0, 4.2, 900.0], [1.0, 2.0, 3.0])
    assert ratio.value == 2.1
    assert ratio.low <= ratio.value <= ratio.high


def test_the_interval_is_scipys() -> None:
    rng = np.random.default_rng(0)
    weather = rng.lognormal(sigma=0.2, size=80)
    one, other = 1.1 * weather * rng.normal(1, 0.02, 80), weather * rng.normal(1, 0.02, 80)

    def statistic(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.median(a / b, axis=axis)

    draws = {"paired": True, "method": "percentile", "n_resamples": 4000, "rng": np.random.default_rng(1)}
    expected = scipy_stats.bootstrap((one, other), statistic, confidence_level=expanded(0.95, 80), **draws).confidence_interval
    found = median_ratio(one.tolist(), other.tolist(), resamples=4000, seed=2)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.1 * (expected.high - expected.low))


@pytest.mark.parametrize(("size", "confidence"), [(2, 1.0), (10, 0.983), (100, 0.954), (10_000, 0.95)])
def test_intervals_of_few_rounds_are_wider(size: int, confidence: float) -> None:
    by_scipy = scipy_stats.norm.cdf(np.sqrt(size / (size - 1)) * scipy_stats.t(size - 1).ppf(0.975))
    assert expanded(0.95, size) == pytest.approx(2 * by_scipy - 1)
    assert expanded(0.95, size) == pytest.approx(confidence, abs=1e-3)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(100):
        weather = rng.lognormal(sigma=0.3, size=41)
        ratio = median_ratio((1.05 * weather * rng.normal(1, 0.05, 41)).tolist(), weather.tolist(), resamples=200, seed=seed)
        held += ratio.low <= 1.05 <= ratio.high
    assert held >= 86  # of 95 expected; four standard deviations are 9


def test_rounds_that_are_slow_for_both_do_not_widen_the_interval() -> None:
    weather = np.random.default_rng(0).lognormal(sigma=1.0, size=100)
    paired = median_ratio((1.1 * weather).tolist(), weather.tolist())
    apart = median_ratio((1.1 * weather).tolist(), weather[::-1].tolist())
    assert paired.high - paired.low < 1e-9 < apart.high - apart.low


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).lognormal(size=(2, 30)).tolist()
    assert median_ratio(*values, seed=5) == median_ratio(*values, seed=5) != median_ratio(*values, seed=6)


@pytest.mark.parametrize(("one", "other"), [([], []), ([1.0], [1.0, 2.0])])
def test_values_of_different_rounds_are_not_compared(one: list[float], other: list[float]) -> None:
    with pytest.raises(ConfigError, match="round by round"):
        median_ratio(one, other)

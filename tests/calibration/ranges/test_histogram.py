"""Histograms of a stream: nothing is lost, and the order does not matter."""

from __future__ import annotations

import numpy as np
import pytest

from lineside.calibration.ranges.histogram import BINS, LEAST_LIMIT, Histogram


def of(*arrays: object) -> Histogram:
    histogram = Histogram()
    for array in arrays:
        histogram.add(np.asarray(array, np.float32))
    return histogram


def test_the_counts_are_those_of_numpy() -> None:
    values = np.random.default_rng(0).normal(0, 3, 200_000).astype(np.float32)
    values[::7] = 0
    histogram = of(values)
    assert histogram.limit == 16.0 > np.abs(values).max() >= 8.0
    expected, _ = np.histogram(np.abs(values[values != 0]), BINS, (0, 16))
    np.testing.assert_array_equal(histogram.counts, expected)
    assert histogram.zeros == np.count_nonzero(values == 0)
    assert histogram.total == values.size
    assert (histogram.low, histogram.high) == (values.min(), values.max())


def test_neither_the_order_nor_the_grouping_of_the_values_changes_a_count() -> None:
    rng = np.random.default_rng(1)
    values = (rng.normal(0, 1, 30_000) * 10.0 ** rng.integers(-3, 4, 30_000)).astype(np.float32)
    whole, parts, backwards = of(values), of(*np.array_split(values, 37)), of(*np.array_split(np.sort(values), 5)[::-1])
    for other in (parts, backwards):
        np.testing.assert_array_equal(whole.counts, other.counts)
        assert whole.limit == other.limit


@pytest.mark.parametrize("power", [-63, -3, 0, 5, 126])
def test_a_power_of_two_lies_below_the_limit(power: int) -> None:
    """The edge of a bin belongs to the bin above it; the limit has none."""
    histogram = of([2.0**power, -(2.0**power)])
    assert histogram.limit == 2.0 ** (power + 1)
    assert histogram.counts[BINS // 2] == 2


def test_the_greatest_value_of_float32_and_the_least_have_a_bin() -> None:
    largest = float(np.finfo(np.float32).max)
    assert of([1e-45, 0.0]).counts[0] == 1
    assert of([1e-45, largest]).counts[-1] == 1
    assert of([1e-45, largest]).total == 2


def test_zeros_alone_leave_the_histogram_empty() -> None:
    histogram = of(np.zeros((2, 3, 4)))
    assert (histogram.zeros, histogram.peak, histogram.limit) == (24, 0.0, LEAST_LIMIT)
    assert not histogram.counts.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_is_refused_and_not_counted(bad: float) -> None:
    histogram = of([1.0, 2.0])
    with pytest.raises(FloatingPointError):
        histogram.add(np.array([5.0, bad], np.float32))
    assert (histogram.total, histogram.high) == (2, 2.0)


def test_the_summary_holds_as_many_values_as_the_histogram() -> None:
    histogram = of(np.random.default_rng(2).uniform(-1, 1, 5000), np.zeros(7))
    summary = histogram.summary()
    assert (sum(summary.counts), summary.zeros, summary.limit) == (5000, 7, 1.0)
    assert all(50 < count < 110 for count in summary.counts), "64 bins of equal width share 5000 evenly spread values"

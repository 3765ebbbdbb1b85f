"""Gamma, learning rate and validation, by what design 3 says."""

from __future__ import annotations

import pytest

from lineside.train.schedule import gamma_at, lr_at, validates_after


def test_gamma_goes_from_first_to_last_on_half_a_cosine() -> None:
    values = [gamma_at(step, 101, (1.0, 3.0)) for step in range(101)]
    assert values[0] == 1.0
    assert values[25] == pytest.approx(2 - 2**0.5 / 2)  # 2 - cos(45 degrees)
    assert values[50] == pytest.approx(2.0)
    assert values[100] == pytest.approx(3.0)
    assert values == sorted(values)
    assert gamma_at(0, 1, (1.0, 3.0)) == 1.0


def test_the_learning_rate_falls_to_a_fifth_at_80_and_90_percent() -> None:
    rates = [lr_at(step, 300, 1e-3) for step in range(300)]
    assert rates[:240] == [1e-3] * 240
    assert rates[240:270] == pytest.approx([2e-4] * 30)
    assert rates[270:] == pytest.approx([4e-5] * 30)


@pytest.mark.parametrize(("tiles", "interval"), [(0, 1), (100, 1), (400, 2), (4000, 14), (1_000_000, 10_000)])
def test_validation_takes_a_tenth_of_the_time_and_comes_after_the_last_epoch(tiles: int, interval: int) -> None:
    # 1000 training patches cost as much as 3000 forward passes; a tenth of it is 300 tiles
    validated = [epoch for epoch in range(1, 31) if validates_after(epoch, 30, training_patches=1000, validation_tiles=tiles)]
    assert validated == [epoch for epoch in range(1, 31) if (30 - epoch) % interval == 0]
    assert validated[-1] == 30

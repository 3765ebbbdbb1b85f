"""Three pictures of one pattern, as a camera takes them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lineside.synth.acquisition import MARGIN_PX, acquire

HEIGHT, WIDTH = 120, 90


def wave(shift: tuple[float, float] = (0.0, 0.0)) -> NDArray[np.float32]:
    """A pattern whose value between the pixels is known."""
    y = np.arange(-MARGIN_PX, HEIGHT + MARGIN_PX)[:, None] - shift[0]
    x = np.arange(-MARGIN_PX, WIDTH + MARGIN_PX)[None, :] - shift[1]
    return (128 + 30 * np.sin(0.35 * y) + 30 * np.cos(0.3 * x)).astype(np.float32)


@pytest.fixture(scope="module")
def flat() -> NDArray[np.float32]:
    """(N, 3, H, W): many takes of a plain surface of level 100."""
    pattern = np.full((HEIGHT + 2 * MARGIN_PX, WIDTH + 2 * MARGIN_PX), 100, np.float32)
    return np.stack([acquire(pattern, 0.25, np.random.default_rng(seed)) for seed in range(150)])


def test_three_pictures_without_the_margin_come_out() -> None:
    pictures = acquire(wave(), 0.25, np.random.default_rng(0))
    assert (pictures.shape, pictures.dtype) == ((3, HEIGHT, WIDTH), np.float32)
    assert len({picture.tobytes() for picture in pictures}) == 3


def test_brightness_differs_by_gain_and_offset(flat: NDArray[np.float32]) -> None:
    levels = flat.mean(axis=(2, 3))
    assert np.abs(levels - 100).max() <= 0.03 * 100 + 3 + 0.1  # and the mean of the noise
    assert np.std(levels) == pytest.approx(np.hypot(3, 3) / np.sqrt(3), rel=0.1)  # two uniform ones of half width 3
    assert abs(np.corrcoef(levels[:, 0], levels[:, 1])[0, 1]) < 0.3  # each channel its own


def test_the_light_falls_off_by_up_to_3_percent_each_side(flat: NDArray[np.float32]) -> None:
    down = flat[:, :, -20:].mean(axis=(2, 3)) - flat[:, :, :20].mean(axis=(2, 3))
    across = flat[..., -20:].mean(axis=(2, 3)) - flat[..., :20].mean(axis=(2, 3))
    assert 4 < max(np.abs(down).max(), np.abs(across).max()) <= 2 * 0.03 * 100 * 1.03
    assert (down > 0).mean() == pytest.approx(0.5, abs=0.1)


def test_the_noise_is_gaussian_of_one_and_a_half_grey_levels(flat: NDArray[np.float32]) -> None:
    # The difference of neighbours has no light in it, and twice the variance.
    noise = np.diff(flat[:30].astype(np.float64), axis=-1) / np.sqrt(2)
    assert noise.std() == pytest.approx(1.5, rel=0.01)
    assert (np.abs(noise) < 1.5).mean() == pytest.approx(0.683, abs=0.01)


@pytest.mark.parametrize("shift_px", [0.0, 0.25, 0.5, 4.0])
def test_each_picture_is_the_pattern_at_a_place_between_its_pixels(shift_px: float) -> None:
    # Fit level, slopes and the two waves' phases: the phases are the shifts.
    y, x = (axis.ravel() for axis in np.mgrid[:HEIGHT, :WIDTH])
    model = np.stack([np.ones_like(y), y, x, np.sin(0.35 * y), np.cos(0.35 * y), np.sin(0.3 * x), np.cos(0.3 * x)], axis=1).astype(float)
    shifts = []
    for seed in range(20):
        for picture in acquire(wave(), shift_px, np.random.default_rng(seed)):
            weights, *_ = np.linalg.lstsq(model, picture.ravel().astype(float), rcond=None)
            shifts += [np.arctan2(-weights[4], weights[3]) / 0.35, np.arctan2(weights[5], weights[6]) / 0.3]
    found = np.abs(shifts)
    assert found.max() <= shift_px + 0.02  # what the noise leaves of the phase
    assert found.max() >= 0.9 * shift_px
    assert np.mean(found) == pytest.approx(shift_px / 2, abs=0.15 * shift_px + 0.01)


def test_a_shifted_picture_has_no_trace_of_the_patterns_border() -> None:
    # The same with another margin around it: what lies outside the margin must not matter.
    pattern = wave()
    walled = pattern.copy()
    walled[0], walled[-1], walled[:, 0], walled[:, -1] = 255, 0, 0, 255
    differences = acquire(pattern, 4.0, np.random.default_rng(3)) - acquire(walled, 4.0, np.random.default_rng(3))
    assert np.abs(differences).max() < 1e-3


def test_everything_stays_in_range() -> None:
    for level in (0, 255):
        pattern = np.full((64 + 2 * MARGIN_PX,) * 2, level, np.float32)
        pictures = acquire(pattern, 0.25, np.random.default_rng(0))
        assert (pictures.min() >= 0, pictures.max() <= 255) == (True, True)


def test_the_same_seed_gives_the_same_pictures() -> None:
    first, again, other = (acquire(wave(), 0.25, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()

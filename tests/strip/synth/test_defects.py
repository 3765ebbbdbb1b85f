"""The synthetic defects of training: what a patch gets, how often, and what its mask says (design 3)."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from lineside import ConfigError
from lineside.synth.defects import DefectOptions, add_defects, distractor_channels

GRAY = 128.0
SIDE = 128
PATCHES = 4000
NEIGHBOURS = np.ones((3, 3), int)  # touching at a corner is touching

# Design 3: Gaussian 3x3 (sigma 1.3) and 3x5 (sigma 1.0, 1.5), 1 at the centre.
SMALL = np.array([[np.exp(-(y * y + x * x) / (2 * 1.3**2)) for x in (-1, 0, 1)] for y in (-1, 0, 1)])
WIDE = np.array([[np.exp(-(y * y) / 2 - (x * x) / (2 * 1.5**2)) for x in (-2, -1, 0, 1, 2)] for y in (-1, 0, 1)])


class Patch(NamedTuple):
    """One patch with its defects: the change of each channel, and the mask."""

    change: NDArray[np.float32]
    mask: NDArray[np.bool_]

    def boxes(self, channel: int) -> set[tuple[int, int, int, int]]:
        labels, _ = ndimage.label(self.change[channel], NEIGHBOURS)
        return {(rows.start, rows.stop, columns.start, columns.stop) for rows, columns in ndimage.find_objects(labels)}


def patch_of(seed: int, options: DefectOptions = DefectOptions(), level: float = GRAY, side: int = SIDE) -> Patch:
    pixels = np.full((3, side, side), level, np.float32)
    mask = add_defects(pixels, np.random.default_rng(seed), options)
    assert pixels.min() >= 0
    assert pixels.max() <= 255
    return Patch(pixels - np.float32(level), mask)


@pytest.fixture(scope="module")
def patches() -> list[Patch]:
    return [patch_of(seed) for seed in range(PATCHES)]


@pytest.fixture(scope="module")
def defective(patches: list[Patch]) -> list[Patch]:
    return [patch for patch in patches if patch.change.any()]


def test_half_of_the_patches_get_defects(defective: list[Patch]) -> None:
    assert len(defective) / PATCHES == pytest.approx(0.5, abs=0.03)  # four standard deviations


def test_a_patch_without_defects_is_untouched_and_has_an_empty_mask(patches: list[Patch]) -> None:
    assert not any(patch.mask.any() for patch in patches if not patch.change.any())


def test_a_patch_gets_three_to_eight_defects_each_number_as_often(defective: list[Patch]) -> None:
    counts = Counter(len(patch.boxes(0) | patch.boxes(1) | patch.boxes(2)) for patch in defective)
    assert set(counts) == {3, 4, 5, 6, 7, 8}
    assert min(counts.values()) / len(defective) == pytest.approx(1 / 6, abs=0.04)


def test_one_or_two_of_them_are_in_target_alone_each_as_often(defective: list[Patch]) -> None:
    counts = Counter(len(patch.boxes(0)) for patch in defective)
    assert set(counts) == {1, 2}
    assert counts[1] / len(defective) == pytest.approx(0.5, abs=0.05)


def test_target_only_defects_are_in_neither_reference_nor_touch_what_is(defective: list[Patch]) -> None:
    for patch in defective:
        in_target = ndimage.binary_dilation(patch.change[0] != 0, NEIGHBOURS)
        assert not (in_target & (patch.change[1:] != 0).any(axis=0)).any()


def test_the_mask_is_the_target_only_defects_and_nothing_else(defective: list[Patch]) -> None:
    # Both kernels are above 0.1 in their whole box, so the mask is where Target changed.
    assert min(SMALL.min(), WIDE.min()) > 0.1
    for patch in defective:
        np.testing.assert_array_equal(patch.mask, patch.change[0] != 0)


def test_distractors_are_about_a_third_each_in_ref1_ref2_and_both(defective: list[Patch]) -> None:
    only1 = sum(len(patch.boxes(1) - patch.boxes(2)) for patch in defective)
    only2 = sum(len(patch.boxes(2) - patch.boxes(1)) for patch in defective)
    both = sum(len(patch.boxes(1) & patch.boxes(2)) for patch in defective)
    total = only1 + only2 + both
    # "Both" loses a little to the rule that the references differ.
    assert [only1 / total, only2 / total, both / total] == pytest.approx([1 / 3] * 3, abs=0.025)


def test_a_distractor_in_both_references_is_the_same_in_both(defective: list[Patch]) -> None:
    for patch in defective[:500]:
        for top, bottom, left, right in patch.boxes(1) & patch.boxes(2):
            np.testing.assert_array_equal(patch.change[1, top:bottom, left:right], patch.change[2, top:bottom, left:right])


def test_the_references_never_get_the_same_set(defective: list[Patch]) -> None:
    assert all(patch.boxes(1) != patch.boxes(2) for patch in defective)


@pytest.mark.parametrize("count", range(1, 9))
def test_the_references_differ_for_any_number_of_distractors(count: int) -> None:
    rng = np.random.default_rng(count)
    for _ in range(500):
        channels = distractor_channels(count, rng)
        assert len(channels) == count
        assert [where for where in channels if 1 in where] != [where for where in channels if 2 in where]


def test_every_defect_is_one_of_the_two_kernels_times_one_of_the_four_amplitudes(defective: list[Patch]) -> None:
    shapes: Counter[tuple[int, int]] = Counter()
    amplitudes: Counter[float] = Counter()
    for patch in defective[:1000]:
        for channel in range(3):
            for top, bottom, left, right in patch.boxes(channel):
                part = patch.change[channel, top:bottom, left:right]
                kernel = SMALL if part.shape == (3, 3) else WIDE
                amplitude = float(part[1, part.shape[1] // 2])
                np.testing.assert_allclose(part, amplitude * kernel, atol=1e-3)  # float32 steps at 200 are 2e-5
                shapes[part.shape] += 1
                amplitudes[amplitude] += 1
    total = sum(shapes.values())
    assert set(shapes) == {(3, 3), (3, 5)}
    assert shapes[3, 3] / total == pytest.approx(0.5, abs=0.03)
    assert set(amplitudes) == {-80.0, -60.0, 60.0, 80.0}
    assert min(amplitudes.values()) / total == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("level", [0.0, 10.0, 245.0, 255.0])
def test_a_defect_is_never_swallowed_by_black_or_white(level: float) -> None:
    for seed in range(100):
        patch = patch_of(seed, DefectOptions(share=1.0), level)
        labels, count = ndimage.label(patch.change[0], NEIGHBOURS)
        peaks = ndimage.maximum(np.abs(patch.change[0]), labels, range(1, count + 1))
        assert min(peaks) >= 30  # half of the weaker amplitude


def test_the_same_seed_gives_the_same_patch() -> None:
    first, again, other = (patch_of(seed, DefectOptions(share=1.0)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.change, again.change)
    assert (first.change != other.change).any()


def test_the_number_of_defects_and_the_share_of_patches_can_be_set() -> None:
    for seed in range(50):
        patch = patch_of(seed, DefectOptions(count=(12, 12), share=1.0))
        assert len(patch.boxes(0) | patch.boxes(1) | patch.boxes(2)) == 12
        assert not patch_of(seed, DefectOptions(share=0.0)).change.any()


def test_a_patch_too_small_for_all_still_has_a_target_only_defect_and_different_references() -> None:
    for seed in range(100):
        patch = patch_of(seed, DefectOptions(count=(8, 8), share=1.0), side=12)
        assert patch.mask.any()
        assert patch.boxes(1) != patch.boxes(2) or not patch.change[1:].any()


@pytest.mark.parametrize(("text", "count"), [("3:8", (3, 8)), ("5", (5, 5)), ("1:1", (1, 1))])
def test_defects_are_said_as_least_and_most(text: str, count: tuple[int, int]) -> None:
    assert DefectOptions.parse(text).count == count


@pytest.mark.parametrize("text", ["", "8:3", "0:4", "0", "3-8", "3:", "-1:3", "3:8:9", "a"])
def test_defects_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--defects 3:8"):
        DefectOptions.parse(text)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_outside_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=r"a share lies in 0\.\.1"):
        DefectOptions(share=share)

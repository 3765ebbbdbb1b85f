"""What each kind of defect looks like."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from scipy import ndimage

from lineside.synth.defects import AMPLITUDES, KERNELS
from lineside.synth.shapes import KINDS, MIN_ROOM_PX, Defect

ROOM_PX = 80


@functools.cache
def some(kind: str, room_px: int = ROOM_PX) -> tuple[Defect, ...]:
    return drawn(kind, room_px, 200)


def drawn(kind: str, room_px: int, count: int) -> tuple[Defect, ...]:
    return tuple(KINDS[kind](np.random.default_rng(seed), room_px) for seed in range(count))


def length_of(defect: Defect) -> float:
    """The longest distance between two pixels of it."""
    points = np.argwhere(defect.kernel > 0.1)
    return float(np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1)).max())


@pytest.mark.parametrize("kind", KINDS)
def test_a_kernel_is_one_piece_from_nothing_to_all(kind: str) -> None:
    for defect in some(kind):
        assert defect.kernel.dtype == np.float32
        assert defect.kernel.min() >= 0
        assert 0.5 <= defect.kernel.max() <= 1
        assert ndimage.label(defect.kernel > 0.1, np.ones((3, 3)))[1] == 1


@pytest.mark.parametrize(("kind", "least", "most"), [("spot", 60, 80), ("faint", 25, 40), ("blob", 40, 80), ("scratch", 40, 80)])
def test_amplitudes_are_those_of_the_kind_and_of_both_signs(kind: str, least: float, most: float) -> None:
    amplitudes = np.array([defect.amplitude for defect in some(kind)])
    assert np.abs(amplitudes).min() == pytest.approx(least, abs=1)
    assert np.abs(amplitudes).max() == pytest.approx(most, abs=1)
    assert (amplitudes > 0).mean() == pytest.approx(0.5, abs=0.15)


def test_spots_are_the_kernels_and_amplitudes_of_training() -> None:
    spots = some("spot")
    assert {defect.amplitude for defect in spots} == set(AMPLITUDES)
    assert {defect.kernel.shape for defect in spots} == {kernel.shape for kernel in KERNELS}


def test_faint_spots_have_the_kernels_of_training() -> None:
    assert all(any(defect.kernel is kernel for kernel in KERNELS) for defect in some("faint"))


def test_blobs_are_6_to_16_px_across_with_a_soft_irregular_edge() -> None:
    blobs = some("blob")
    across = [2 * np.sqrt((defect.kernel > 0.5).sum() / np.pi) for defect in blobs]
    assert 5 < min(across) < 7
    assert 15 < max(across) < 17.5
    for defect in blobs:
        assert ((defect.kernel > 0) & (defect.kernel < 1)).sum() > 5
    # A disc has the same extent in every direction; these do not.
    assert np.mean([abs(np.subtract(*defect.kernel.shape)) >= 2 for defect in blobs]) > 0.2


def test_scratches_are_20_to_80_px_long_and_1_to_2_px_wide() -> None:
    scratches = some("scratch")
    lengths = [length_of(defect) for defect in scratches]
    assert 18 < min(lengths) < 24
    assert 74 < max(lengths) < 83
    # The area under a line of constant profile is length times width.
    widths = [float(defect.kernel.sum()) / length for defect, length in zip(scratches, lengths, strict=True)]
    assert min(widths) > 0.9
    assert max(widths) < 2.4


def test_scratches_are_slightly_bent_and_lie_in_every_direction() -> None:
    directions = []
    for defect in some("scratch"):
        points = np.argwhere(defect.kernel > 0.5).astype(float)
        centred = points - points.mean(axis=0)
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        assert np.ptp(centred @ axes[1]) <= 0.12 * length_of(defect) + 3  # the bend and the width
        directions.append(np.degrees(np.arctan2(*axes[0])) % 180)
    assert np.histogram(directions, 6, (0, 180))[0].min() > 10


@pytest.mark.parametrize("room_px", [MIN_ROOM_PX, 40, ROOM_PX])
def test_a_scratch_keeps_to_the_room(room_px: int) -> None:
    assert max(max(defect.kernel.shape) for defect in some("scratch", room_px)) <= min(room_px, 84)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_defect(kind: str) -> None:
    for first, again in zip(drawn(kind, ROOM_PX, 20), drawn(kind, ROOM_PX, 20), strict=True):
        np.testing.assert_array_equal(first.kernel, again.kernel)
        assert first.amplitude == again.amplitude

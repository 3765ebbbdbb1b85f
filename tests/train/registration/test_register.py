"""References come to lie on Target: against displacements that the test's own camera has made, and Lanczos' sum written out in numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

torch = pytest.importorskip("torch", reason="it registers")

from lineside.train.registration.register import Registration  # noqa: E402  # after the skip

HEIGHT, WIDTH = 488, 176
ROOM = 24
NOISE = 1.5
Pattern = NDArray[np.float64]


@pytest.fixture(scope="module")
def registration() -> Registration:
    return Registration(HEIGHT, WIDTH).eval()


@pytest.fixture(scope="session")
def pattern_of(texture_of: Callable[[int], NDArray[np.float32]]) -> Callable[[str], Pattern]:
    """A pattern with room around it, grey levels."""

    def pattern(kind: str) -> Pattern:
        size = (HEIGHT + 2 * ROOM, WIDTH + 2 * ROOM)
        if kind == "texture":
            return texture_of(3)[: size[0], : size[1]].astype(np.float64)
        along = np.clip(3 * np.sin(2 * np.pi * np.arange(size[1]) / 21), -1, 1)
        return np.broadcast_to(128 + 60 * along, size).copy()

    return pattern


def displacements(rng: np.random.Generator, *, shift: float, jitter: float = 0.0, turn: float = 0.0) -> tuple[Pattern, Pattern]:
    """(H, W) each: how a picture is displaced, down and across."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    paths = [np.interp(np.arange(HEIGHT), np.linspace(0, HEIGHT, 6), rng.uniform(-jitter, jitter, 6)) for _ in range(2)]
    down, across = rng.uniform(-shift, shift, 2)
    return down + paths[0][:, None] + turn * (x - WIDTH / 2), across + paths[1][:, None] - turn * (y - HEIGHT / 2)


def strip_of(pattern: Pattern, moves: list[tuple[Pattern, Pattern]], rng: np.random.Generator) -> NDArray[np.float32]:
    """(3, H, W) grey levels: a fifth-order spline, so that no kernel of ours is its own judge; each picture has its own gain and offset."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    spline = ndimage.spline_filter(pattern, order=5)
    pictures = [ndimage.map_coordinates(spline, [y + ROOM + down, x + ROOM + across], order=5, prefilter=False) for down, across in moves]
    bright = [(1 + rng.uniform(-0.05, 0.05)) * picture + rng.uniform(-4, 4) for picture in pictures]
    return np.clip(np.stack(bright) + NOISE * rng.standard_normal((3, HEIGHT, WIDTH)), 0, 255).astype(np.float32)


def expected(moves: list[tuple[Pattern, Pattern]], channel: int) -> tuple[Pattern, Pattern]:
    """What has to be found: R(place + found) = T(place)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    down, across = np.zeros((HEIGHT, WIDTH)), np.zeros((HEIGHT, WIDTH))
    for _ in range(5):  # the reference's own displacement is that of the place where it is looked up
        there = [ndimage.map_coordinates(move, [y + down, x + across], order=1, mode="nearest") for move in moves[channel]]
        down, across = moves[0][0] - there[0], moves[0][1] - there[1]
    return down, across


def found(registration: Registration, strip: NDArray[np.float32]) -> list[tuple[Pattern, Pattern]]:
    with torch.no_grad():
        down, across, tilt = registration.mover.displacement(registration.motion(torch.from_numpy(strip / 255)[None]))
    whole = (down[:, :HEIGHT] + tilt.reshape(-1, 1, WIDTH)).double().numpy()
    return [(whole[index], np.broadcast_to(across[index, :HEIGHT].double().numpy(), (HEIGHT, WIDTH))) for index in (0, 1)]


def errors(registration: Registration, strip: NDArray[np.float32], moves: list[tuple[Pattern, Pattern]]) -> NDArray[np.float64]:
    """(2 references, 2 directions): root of the mean squared error, pixels."""
    told = found(registration, strip)
    return np.array([[np.sqrt(np.mean((a - b) ** 2)) for a, b in zip(told[i], expected(moves, i + 1), strict=True)] for i in (0, 1)])


def registered(registration: Registration, strip: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.no_grad():
        return np.asarray(registration(torch.from_numpy(strip / 255)[None])[0].numpy() * 255)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("motion", [{"shift": 0.5}, {"shift": 1.0, "jitter": 0.4, "turn": 1e-3}, {"shift": 1.9}])
def test_the_displacement_of_a_texture_is_found_to_a_twentieth_of_a_pixel(
    registration: Registration, pattern_of: Callable[[str], Pattern], motion: dict[str, Any], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    moves = [displacements(rng, **motion) for _ in range(3)]
    assert errors(registration, strip_of(pattern_of("texture"), moves, rng), moves).max() < 0.05


def test_a_defect_on_a_tenth_of_the_strip_does_not_pull(registration: Registration, pattern_of: Callable[[str], Pattern]) -> None:
    rng = np.random.default_rng(0)
    moves = [displacements(rng, shift=0.5) for _ in range(3)]
    strip = strip_of(pattern_of("texture"), moves, rng)
    strip[0, 100:240, 30:90] = np.clip(strip[0, 100:240, 30:90] + 70, 0, 255)
    assert strip[0].size / 10 - 200 <= 140 * 60
    assert errors(registration, strip, moves).max() < 0.05


def test_stripes_are_moved_across_to_a_twentieth_of_a_pixel_and_hardly_along(
    registration: Registration, pattern_of: Callable[[str], Pattern]
) -> None:
    rng = np.random.default_rng(1)
    moves = [displacements(rng, shift=0.5) for _ in range(3)]
    told = found(registration, strip_of(pattern_of("stripes"), moves, rng))
    for index, (down, across) in enumerate(told, 1):
        assert np.sqrt(np.mean((across - expected(moves, index)[1]) ** 2)) < 0.05
        assert np.abs(down).max() < 2.0  # nothing in the picture says how much: noise alone may not carry it off


def test_what_is_left_between_target_and_its_references_is_little_more_than_the_noise_of_both(
    registration: Registration, pattern_of: Callable[[str], Pattern]
) -> None:
    rng = np.random.default_rng(2)
    moves = [displacements(rng, shift=1.0, jitter=0.3, turn=1e-3) for _ in range(3)]
    strip = strip_of(pattern_of("texture"), moves, rng)
    before, after = (np.std(picture[0] - picture[1:], axis=(1, 2)) for picture in (strip, registered(registration, strip)))
    assert (after < before / 1.5).all()
    assert (after < 1.4 * np.sqrt(2) * NOISE).all()


def test_target_is_untouched_and_a_target_only_spot_stays(registration: Registration, pattern_of: Callable[[str], Pattern]) -> None:
    rng = np.random.default_rng(3)
    moves = [displacements(rng, shift=0.7) for _ in range(3)]
    strip = strip_of(pattern_of("texture"), moves, rng)
    strip[0, 200:203, 60:63] += 50 if strip[0, 200:203, 60:63].mean() < 128 else -50
    out = registered(registration, strip)
    assert np.array_equal(out[0], (strip / 255)[0] * np.float32(255))
    assert np.abs(out[0] - out[1:])[:, 200:203, 60:63].min() > 30


def test_where_one_reference_sees_nothing_the_other_stands_in(registration: Registration, pattern_of: Callable[[str], Pattern]) -> None:
    """Ref1 is displaced by 3 px to the right: Target's last columns are out of its sight, and dirt there in Target must still be seen."""
    rng = np.random.default_rng(4)
    zero = np.zeros((HEIGHT, WIDTH))
    moves = [(zero, zero), (zero, zero - 3.0), (zero, zero)]
    strip = strip_of(pattern_of("texture"), moves, rng)
    clean = registered(registration, strip)
    assert np.abs(clean[1] - clean[2])[:, -3:-1].max() < 12
    dirt = (slice(300, 304), slice(-3, -1))
    strip[0][dirt] += 60 if strip[0][dirt].mean() < 128 else -60
    out = registered(registration, strip)
    assert np.abs(out[0] - out[1:])[(slice(None), *dirt)].min() > 30


@pytest.mark.parametrize("level", [0.0, 128.0, 255.0])
def test_a_strip_without_any_pattern_gives_finite_pictures(registration: Registration, level: float) -> None:
    out = registered(registration, np.full((3, HEIGHT, WIDTH), level, np.float32))
    assert np.abs(out - level).max() < 0.5


def test_unlike_pictures_give_finite_values_in_range(registration: Registration) -> None:
    out = registered(registration, np.random.default_rng(5).uniform(0, 255, (3, HEIGHT, WIDTH)).astype(np.float32))
    assert 0 <= out.min() <= out.max() <= 255


def test_every_strip_of_a_batch_is_registered_by_itself(registration: Registration, pattern_of: Callable[[str], Pattern]) -> None:
    rng = np.random.default_rng(6)
    strips = [strip_of(pattern_of("texture"), [displacements(rng, shift=1.0) for _ in range(3)], rng) / np.float32(255) for _ in range(2)]
    with torch.no_grad():
        together = registration(torch.from_numpy(np.stack(strips))).numpy()
        alone = [registration(torch.from_numpy(strip)[None])[0].numpy() for strip in strips]
    assert np.abs(together - np.stack(alone)).max() < 1e-4


def test_moving_is_lanczos_sum_at_the_displaced_place(registration: Registration, pattern_of: Callable[[str], Pattern]) -> None:
    """Written out in numpy, pixel by pixel: the kernel of Duchon, "Lanczos filtering in one and two dimensions" (1979), with the sum 1."""
    picture = pattern_of("texture")[:HEIGHT, :WIDTH] / 255
    mover, knots = registration.mover, registration.mover.knots
    rng = np.random.default_rng(7)
    motion = np.zeros((1, 2 * knots + 3, 1), np.float32)
    motion[0, : 2 * knots, 0] = np.clip(2.0 + np.cumsum(rng.normal(0, 0.05, 2 * knots)), -4, 4)
    motion[0, -3:, 0] = (0.0, 0.1, -0.02)
    with torch.no_grad():
        told = mover(mover.windows(torch.from_numpy(picture.astype(np.float32))[None, None]), torch.from_numpy(motion))[0, :, 0].numpy()
    at = np.linspace(0, HEIGHT - 1, knots)
    for row, column in rng.integers(10, (HEIGHT - 10, WIDTH - 10), (40, 2)):
        down, across = (np.interp(row, at, motion[0, start : start + knots, 0]) for start in (0, knots))
        rows, columns = (int(np.floor(place)) + np.arange(-3, 5) for place in (row + down, column + across))
        weights = [np.sinc(place - taps) * np.sinc((place - taps) / 4) for place, taps in ((row + down, rows), (column + across, columns))]
        weights = [values / values.sum() for values in weights]
        value = weights[0] @ picture[np.ix_(rows, columns)] @ weights[1]
        assert told[row, column] == pytest.approx(1.1 * value - 0.02, abs=2e-5)

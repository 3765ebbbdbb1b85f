"""The pattern that a line looks at: a photograph's grey levels, never scaled in space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from lineside import ConfigError
from lineside.synth.texture import HIGH, LOW, crop, generated_texture, texture_of_file

DULL = np.random.default_rng(0).integers(90, 140, (80, 100), np.uint8)
STARK = np.random.default_rng(0).integers(0, 256, (80, 100), np.uint8)


def photograph(path: Path, pixels: NDArray[Any]) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def test_a_photograph_with_little_contrast_keeps_its_grey_levels(tmp_path: Path) -> None:
    texture = texture_of_file(photograph(tmp_path / "a.png", DULL))
    assert texture.dtype == np.float32
    np.testing.assert_array_equal(texture, DULL)


def test_a_photograph_with_all_contrast_leaves_room_for_defects(tmp_path: Path) -> None:
    texture = texture_of_file(photograph(tmp_path / "a.png", STARK))
    assert np.percentile(texture, [1, 99]) == pytest.approx([LOW, HIGH], abs=0.01)
    # The order of the grey levels is that of the photograph.
    gain, offset = np.polyfit(STARK.ravel(), texture.ravel(), 1)
    np.testing.assert_allclose(texture, gain * STARK + offset, atol=0.01)


@pytest.mark.parametrize(("level", "mean"), [(5, LOW), (250, HIGH), (100, 100)])
def test_a_dark_or_bright_photograph_is_moved_not_stretched(tmp_path: Path, level: int, mean: float) -> None:
    texture = texture_of_file(photograph(tmp_path / "a.png", np.full((64, 64), level, np.uint8)))
    np.testing.assert_allclose(texture, mean)


def test_colour_becomes_luminance(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(100, 150, (64, 64, 3), np.uint8)
    texture = texture_of_file(photograph(tmp_path / "a.png", colours))
    np.testing.assert_allclose(texture, colours @ [0.299, 0.587, 0.114], atol=1)  # ITU-R 601, rounded by Pillow


@pytest.mark.parametrize("white", [np.uint16(65535), np.float32(1)])
def test_a_photograph_of_more_bits_has_its_brightest_pixel_as_white(tmp_path: Path, white: Any) -> None:
    deep = (STARK / 255 * white).astype(white.dtype)
    tifffile.imwrite(tmp_path / "a.tif", deep)
    usual = texture_of_file(photograph(tmp_path / "a.png", STARK))
    np.testing.assert_allclose(texture_of_file(tmp_path / "a.tif"), usual, atol=0.01)


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "CMYK"])
def test_any_picture_of_pillow_will_do(tmp_path: Path, mode: str) -> None:
    Image.fromarray(STARK).convert(mode).save(tmp_path / "a.tif")
    assert texture_of_file(tmp_path / "a.tif").shape == STARK.shape


def test_a_small_photograph_is_refused(tmp_path: Path) -> None:
    photograph(tmp_path / "a.png", np.zeros((63, 400), np.uint8))
    with pytest.raises(ConfigError) as caught:
        texture_of_file(tmp_path / "a.png")
    assert "63 x 400 px" in caught.value.what
    assert "not scaled up" in caught.value.fix


@pytest.mark.parametrize("data", [b"", b"a note, not a picture", b"\x89PNG\r\n\x1a\n and then nothing"])
def test_what_is_no_picture_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        texture_of_file(tmp_path / "a.png")
    assert str(tmp_path / "a.png") in caught.value.what


def test_a_photograph_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        texture_of_file(tmp_path / "none.png")


def test_a_photograph_with_nan_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((64, 64), np.nan, np.float32))
    with pytest.raises(ConfigError, match="NaN"):
        texture_of_file(tmp_path / "a.tif")


@pytest.fixture(scope="module")
def made_up() -> NDArray[np.float32]:
    return generated_texture(0)


def test_the_made_up_texture_is_the_same_for_a_seed(made_up: NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(made_up, generated_texture(0))
    assert (made_up != generated_texture(1)).any()


def test_the_made_up_texture_has_structure_at_every_scale(made_up: NDArray[np.float32]) -> None:
    texture = made_up
    assert (texture.shape, texture.dtype) == ((1024, 1024), np.float32)
    assert np.percentile(texture, 1) >= LOW
    assert np.percentile(texture, 99) <= HIGH
    previous = texture
    for _ in range(6):  # averages over 2, 4, ... 64 px: each of them still differs from the next, unlike noise
        averaged = previous.reshape(len(previous) // 2, 2, -1, 2).mean(axis=(1, 3))
        lost = np.std(previous - averaged.repeat(2, 0).repeat(2, 1))
        assert lost > 1.5  # grey levels: more than the sensor's noise
        previous = averaged


@pytest.mark.parametrize(("height", "width"), [(10, 10), (80, 100), (50, 300), (500, 333)])
def test_a_crop_goes_on_in_the_mirror_image(height: int, width: int) -> None:
    texture = np.arange(80 * 100, dtype=np.float32).reshape(80, 100)
    endless = np.pad(texture, ((0, 800), (0, 800)), mode="reflect")
    for seed in range(20):
        piece = crop(texture, height, width, np.random.default_rng(seed))
        assert piece.shape == (height, width)
        windows = np.lib.stride_tricks.sliding_window_view(endless, 1, axis=0)[: 2 * 79, : 2 * 99, 0]
        starts = np.argwhere(windows == piece[0, 0])
        assert any(np.array_equal(endless[top : top + height, left : left + width], piece) for top, left in starts)


def test_a_crop_inside_a_large_texture_is_not_mirrored() -> None:
    texture = np.arange(80 * 100, dtype=np.float32).reshape(80, 100)
    tops = set()
    for seed in range(200):
        piece = crop(texture, 70, 70, np.random.default_rng(seed))
        top, left = divmod(int(piece[0, 0]), 100)
        np.testing.assert_array_equal(piece, texture[top : top + 70, left : left + 70])
        tops.add(top)
    assert tops == set(range(11))


def test_a_crop_is_a_copy() -> None:
    texture = np.zeros((64, 64), np.float32)
    crop(texture, 64, 64, np.random.default_rng(0))[:] = 1
    assert not texture.any()

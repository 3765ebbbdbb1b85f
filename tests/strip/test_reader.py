"""Strips as the spec says, or an error that says what was found, what was expected and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from lineside import PRESETS, StripError, StripSpec, read_strip
from lineside.reader import check_range, check_strip, is_strip_file, spec_of_file

HEIGHT, WIDTH = 96, 64
SPEC = StripSpec.of_size(HEIGHT, WIDTH)
DEEP = SPEC.with_files(full_scale=65535)
FLOATS = (np.random.default_rng(0).random((4, HEIGHT, WIDTH)) * 255).astype(np.float32)
BYTES = FLOATS.astype(np.uint8)


def write(path: Path, pixels: NDArray[Any], **options: Any) -> Path:
    tifffile.imwrite(path, pixels, **{"photometric": "minisblack", **options})
    return path


def changed(channel: int, row: int, column: int, value: float) -> NDArray[np.float32]:
    pixels = FLOATS.copy()
    pixels[channel, row, column] = value
    return pixels


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "strip.tif"


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("pixels", [FLOATS, BYTES])
def test_either_order_of_the_axes_gives_channels_first(path: Path, pixels: NDArray[Any], channels: int) -> None:
    expected = pixels[:channels]
    for stored in (expected, expected.transpose(1, 2, 0)):
        strip = read_strip(write(path, np.ascontiguousarray(stored)), SPEC)
        assert strip.dtype == pixels.dtype
        np.testing.assert_array_equal(strip, expected)


def test_a_big_endian_strip_comes_in_the_machines_order(path: Path) -> None:
    strip = read_strip(write(path, FLOATS, byteorder=">"), SPEC)
    assert strip.dtype == np.dtype(np.float32)
    np.testing.assert_array_equal(strip, FLOATS)


def test_a_gray_picture_stands_for_all_three_channels_without_a_copy(path: Path) -> None:
    strip = read_strip(write(path, BYTES[0]), SPEC)
    assert strip.strides[0] == 0
    np.testing.assert_array_equal(strip, np.stack([BYTES[0]] * 3))


def test_a_png_is_target_ref1_ref2_as_red_green_blue(tmp_path: Path) -> None:
    Image.fromarray(np.ascontiguousarray(BYTES[:3].transpose(1, 2, 0))).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_strip(tmp_path / "a.png", SPEC), BYTES[:3])


@pytest.mark.parametrize("white", [307, 1023, 4095, 65535])
def test_uint16_with_a_full_scale_becomes_0_to_255_with_white_at_255(path: Path, white: int) -> None:
    counts = np.linspace(0, white, 3 * HEIGHT * WIDTH).astype(np.uint16).reshape(3, HEIGHT, WIDTH)
    strip = read_strip(write(path, counts), SPEC.with_files(full_scale=white))
    assert (strip.dtype, strip.min(), strip.max()) == (np.float32, 0, 255)
    np.testing.assert_allclose(strip, counts.astype(np.float64) * 255 / white, rtol=1e-6)


def test_float_strips_may_have_another_white(path: Path) -> None:
    strip = read_strip(write(path, FLOATS / np.float32(255)), SPEC.with_files(full_scale=1.0))
    np.testing.assert_allclose(strip, FLOATS, rtol=1e-6)


def test_the_mask_channel_is_not_looked_at(path: Path) -> None:
    assert np.isnan(read_strip(write(path, changed(3, 0, 0, np.nan)), SPEC)[3, 0, 0])


@pytest.mark.parametrize(
    ("pixels", "spec", "found", "expected", "fix"),
    [
        (BYTES[:, :50], SPEC, "4 x 50 x 64", "96 x 64 px", "--size HEIGHTxWIDTH"),
        (BYTES.transpose(0, 2, 1), SPEC, "4 x 64 x 96", "96 x 64 px", "turn the files by 90 degrees"),
        (BYTES[0].T, SPEC, "64 x 96", "96 x 64 px", "turn the files by 90 degrees"),
        (BYTES[:2], SPEC, "2 channels", "Target, Ref1, Ref2", "all three channels into one file"),
        (np.concatenate([BYTES, BYTES])[:5], SPEC, "5 channels", "4 with a mask", "all three channels into one file"),
        (BYTES, SPEC.with_files(layout="hwc"), "4 x 96 x 64 is not in the order hwc", "--layout hwc", "leave --layout out"),
        (np.stack([BYTES, BYTES]), SPEC, "2 x 4 x 96 x 64", "3 or 4 channels", "--size"),
        (BYTES.astype(np.uint16), SPEC, "uint16", "cannot be guessed", "--full-scale 65535"),
        (BYTES.astype(np.int32), SPEC, "int32", "float32 or uint8", "save it as float32 or uint8"),
        (FLOATS.astype(np.float64), SPEC, "float64", "float32 or uint8", "save it as float32 or uint8"),
        (FLOATS.astype(np.float16), SPEC, "float16", "float32 or uint8", "save it as float32 or uint8"),
        (BYTES > 100, SPEC, "bool", "float32 or uint8", "save it as float32 or uint8"),
        (
            changed(1, 5, 7, np.nan),
            SPEC,
            "NaN or infinite values in 1 pixels, the first in Ref1 at row 5, column 7",
            "0..255",
            "numbers only",
        ),
        (
            changed(2, 0, 1, -np.inf),
            SPEC,
            "NaN or infinite values in 1 pixels, the first in Ref2 at row 0, column 1",
            "0..255",
            "numbers only",
        ),
        (changed(0, 9, 0, 256), SPEC, "to 256 in 1 pixels, the first in Target at row 9, column 0", "0..255", "--full-scale 1023"),
        (changed(0, 9, 0, 70000), SPEC, "to 70000", "0..255", "--full-scale 70000"),
        (changed(0, 9, 0, -1), SPEC, "values from -1", "0..255", "clip them at 0"),
        (BYTES.astype(np.uint16) * 257, SPEC.with_files(full_scale=4095), "to 65278", "0..4095", "--full-scale 65535"),
    ],
)
def test_what_is_not_a_strip_is_refused_in_words(
    path: Path, pixels: NDArray[Any], spec: StripSpec, found: str, expected: str, fix: str
) -> None:
    write(path, np.ascontiguousarray(pixels))
    with pytest.raises(StripError) as caught:
        read_strip(path, spec)
    assert caught.value.what.startswith(str(path))
    assert found in caught.value.what
    assert expected in caught.value.why
    assert fix in caught.value.fix


def test_an_order_of_the_axes_that_is_not_sure_names_the_option(path: Path) -> None:
    # No spec is that small, so the reader cannot meet such a strip; a file of unknown size can be one.
    write(path, np.zeros((3, 256, 4), np.uint8))
    with pytest.raises(StripError, match="--layout chw"):
        spec_of_file(path)


@pytest.mark.parametrize("name", PRESETS)
def test_a_file_of_a_presets_size_tells_its_spec(path: Path, name: str) -> None:
    preset = PRESETS[name]
    for shape in ((3, preset.height_px, preset.width_px), (preset.height_px, preset.width_px, 4), (preset.height_px, preset.width_px)):
        assert spec_of_file(write(path, np.zeros(shape, np.uint8))) == preset


@pytest.mark.parametrize(
    ("shape", "message"), [((3, 300, 200), "--size 300x200"), ((2, 976, 176), "3 or 4 channels"), ((3, 20, 300), "record larger strips")]
)
def test_a_file_of_no_presets_size_is_not_taken_over_in_silence(path: Path, shape: tuple[int, ...], message: str) -> None:
    write(path, np.zeros(shape, np.uint8))
    with pytest.raises(StripError, match=message):
        spec_of_file(path)


@pytest.mark.parametrize("pixels", [FLOATS, BYTES, FLOATS[:3], np.asfortranarray(FLOATS), BYTES[:, ::-1, ::-1]])
def test_an_array_from_a_camera_is_taken_with_any_strides(pixels: NDArray[Any]) -> None:
    check_strip(pixels, SPEC, name="strip 7")


@pytest.mark.parametrize(
    ("pixels", "found", "fix"),
    [
        (FLOATS.transpose(1, 2, 0), "96 x 64 x 4", "strip.transpose(2, 0, 1)"),
        (FLOATS[0], "96 x 64", "96 x 64 px"),
        (FLOATS[:, :32], "4 x 32 x 64", "96 x 64 px"),
        (FLOATS[:2], "2 x 96 x 64", "96 x 64 px"),
        (FLOATS.astype(np.float64), "float64", "float32 or uint8"),
        (FLOATS * 2, "values from", "scale them so that white is 255"),
        (changed(0, 0, 0, np.nan), "NaN", "numbers only"),
    ],
)
def test_an_array_that_is_not_a_strip_is_refused_by_its_name(pixels: NDArray[Any], found: str, fix: str) -> None:
    with pytest.raises(StripError) as caught:
        check_strip(pixels, SPEC, name="strip 7")
    assert caught.value.what.startswith("strip 7: ")
    assert found in caught.value.what
    assert fix in caught.value.fix


@pytest.mark.parametrize("value", [0.0, -0.0, 255.0, np.float32(1e-30)])
def test_the_ends_of_the_range_belong_to_it(value: float) -> None:
    check_range(changed(0, 0, 0, value)[:3], 255.0, name="strip")


def test_pixels_are_counted_once_however_many_of_their_channels_are_wrong() -> None:
    pixels = FLOATS[:3].copy()
    pixels[:, 3, 4] = 300
    pixels[2, 5, 6] = -2
    with pytest.raises(StripError, match="in 2 pixels, the first in Target at row 3, column 4"):
        check_range(pixels, 255.0, name="strip")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.tif", True),
        ("A.TIFF", True),
        ("a.Png", True),
        ("a.jpeg", True),
        (".a.tif", False),
        ("a.txt", False),
        ("tif", False),
        ("a.tif.bak", False),
    ],
)
def test_a_strip_is_known_by_its_suffix(name: str, expected: bool) -> None:
    assert is_strip_file(Path(name)) is expected

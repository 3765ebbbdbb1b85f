"""The pixels of picture files: all of them, or an error."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from lineside import StripError
from lineside.pixels import read_marks, read_pixels

HEIGHT, WIDTH = 96, 64
SIZE = (HEIGHT, WIDTH)
FLOATS = (np.random.default_rng(0).random((4, HEIGHT, WIDTH)) * 255).astype(np.float32)
BYTES = FLOATS.astype(np.uint8)
RGB = np.ascontiguousarray(BYTES[:3].transpose(1, 2, 0))


def tiff(pixels: NDArray[Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **{"photometric": "minisblack", **options})
    return buffer.getvalue()


def deep_png(colour_type: int, channels: int) -> bytes:
    """A PNG of 16 bits per value; Pillow cannot write colour ones."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, colour_type, 0, 0, 0)
    rows = np.arange(HEIGHT * WIDTH * channels, dtype=">u2").reshape(HEIGHT, -1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


TIFFS = {
    "plain": tiff(FLOATS),
    "big-endian": tiff(FLOATS, byteorder=">"),
    "big": tiff(FLOATS, bigtiff=True),
    "zlib": tiff(FLOATS, compression="zlib"),
    "lzma": tiff(FLOATS, compression="lzma"),
    "tiled": tiff(FLOATS, tile=(16, 16)),
    "in strips": tiff(FLOATS, rowsperstrip=8),
    "ImageJ": tiff(FLOATS, imagej=True),
    "OME": tiff(FLOATS, ome=True),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "strip.tif"


def refused(path: Path) -> StripError:
    with pytest.raises(StripError) as caught:
        read_pixels(path)
    assert str(path) in caught.value.what
    assert caught.value.why
    assert caught.value.fix
    return caught.value


@pytest.mark.parametrize("kind", TIFFS)
def test_every_kind_of_tiff_gives_its_pixels(path: Path, kind: str) -> None:
    path.write_bytes(TIFFS[kind])
    np.testing.assert_array_equal(read_pixels(path), FLOATS)


def test_a_plain_tiff_is_mapped_and_cannot_be_written_through(path: Path) -> None:
    path.write_bytes(TIFFS["plain"])
    pixels = read_pixels(path)
    assert isinstance(pixels.base, np.memmap)
    assert not pixels.flags.writeable


def test_channels_last_stay_last(path: Path) -> None:
    path.write_bytes(tiff(RGB, photometric="rgb"))
    np.testing.assert_array_equal(read_pixels(path), RGB)


def test_pages_are_channels_when_they_are_one_stack(path: Path) -> None:
    pages = [Image.fromarray(page) for page in BYTES[:3]]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(read_pixels(path), BYTES[:3])


def test_axes_of_one_fall_away(path: Path) -> None:
    path.write_bytes(tiff(FLOATS[:1]))
    assert read_pixels(path).shape == SIZE


# Cut at 40 places, and once in each of the last bytes, where only a link between pages is lost.
@pytest.mark.parametrize("kind", TIFFS)
def test_a_cut_off_tiff_is_refused_unless_every_pixel_is_there(path: Path, kind: str) -> None:
    data = TIFFS[kind]
    refusals = 0
    for length in {*np.linspace(1, len(data) - 1, 40).astype(int).tolist(), *range(len(data) - 20, len(data))}:
        path.write_bytes(data[:length])
        try:
            pixels = read_pixels(path)
        except StripError:
            refusals += 1
        else:
            np.testing.assert_array_equal(pixels, FLOATS)
    assert refusals >= 39


def test_half_a_mapped_tiff_names_the_file(path: Path) -> None:
    path.write_bytes(TIFFS["plain"][: len(TIFFS["plain"]) // 2])
    assert "not a whole TIFF file" in refused(path).what


@pytest.mark.parametrize("kind", TIFFS)
def test_a_damaged_tiff_gives_an_array_or_a_strip_error_and_nothing_else(path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(150):
        data = bytearray(TIFFS[kind])
        for _ in range(rng.integers(1, 4)):  # in the header and tags, which lie at either end
            place = int(rng.integers(500))
            data[place if rng.random() < 0.5 else len(data) - 1 - place] = rng.integers(256)
        path.write_bytes(data)
        with contextlib.suppress(StripError):
            assert isinstance(read_pixels(path), np.ndarray)


@pytest.mark.parametrize("metadata", [{}, None])
def test_pictures_that_do_not_make_one_array_are_refused(path: Path, metadata: dict[str, Any] | None) -> None:
    with tifffile.TiffWriter(path) as writer:
        writer.write(FLOATS[:3], photometric="minisblack", metadata=metadata)
        writer.write(BYTES[3], photometric="minisblack", metadata=metadata)
    error = refused(path)
    assert "2 pictures in one file (3x96x64 float32, 96x64 uint8)" in error.what
    assert "(3, H, W)" in error.fix


def test_channels_written_one_by_one_are_not_taken_for_a_gray_strip(path: Path) -> None:
    with tifffile.TiffWriter(path) as writer:
        for channel in FLOATS[:3]:
            writer.write(channel, photometric="minisblack")
    assert "3 pictures" in refused(path).what


@pytest.mark.parametrize("photometric", ["miniswhite", "palette"])
def test_a_tiff_whose_numbers_are_not_brightness_is_refused(path: Path, photometric: str) -> None:
    colours = np.zeros((3, 256), np.uint16) if photometric == "palette" else None
    path.write_bytes(tiff(BYTES[0], photometric=photometric, colormap=colours))
    assert photometric.upper() in refused(path).what


def test_a_compression_that_needs_another_package_names_it(path: Path) -> None:
    Image.fromarray(RGB).save(path, compression="tiff_lzw")
    try:
        import imagecodecs  # noqa: F401  # where it is installed the file is read
    except ImportError:
        error = refused(path)
        assert "LZW" in error.what
        assert "pip install imagecodecs" in error.fix
    else:
        np.testing.assert_array_equal(read_pixels(path), RGB)


@pytest.mark.parametrize("name", ["strip.tif", "strip.png", "strip.jpg"])
def test_a_text_file_is_no_picture(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("recorded on a Monday")
    assert "not a" in refused(tmp_path / name).what


@pytest.mark.parametrize("name", ["strip.tif", "strip.png"])
def test_an_empty_file_is_called_empty(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    assert "empty file" in refused(tmp_path / name).what


def test_what_is_not_there_or_no_file_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.tif").what
    assert "not a file" in refused(tmp_path).what


@pytest.mark.parametrize(("mode", "shape"), [("L", SIZE), ("RGB", (*SIZE, 3)), ("RGBA", (*SIZE, 4))])
def test_gray_and_colour_pngs_give_their_pixels(tmp_path: Path, mode: str, shape: tuple[int, ...]) -> None:
    picture = Image.fromarray(RGB).convert(mode)
    picture.save(tmp_path / "a.png")
    pixels = read_pixels(tmp_path / "a.png")
    assert (pixels.shape, pixels.dtype) == (shape, np.uint8)
    np.testing.assert_array_equal(pixels, np.asarray(picture))


def test_a_gray_png_of_16_bits_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(deep_png(0, 1))
    pixels = read_pixels(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels, np.arange(HEIGHT * WIDTH).reshape(SIZE))
    assert pixels.dtype == np.uint16


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (6, 4)])
def test_a_colour_png_of_16_bits_is_not_cut_down_to_8(tmp_path: Path, colour_type: int, channels: int) -> None:
    (tmp_path / "a.png").write_bytes(deep_png(colour_type, channels))
    assert "with 16 bits" in refused(tmp_path / "a.png").what


@pytest.mark.parametrize(("mode", "suffix"), [("1", ".png"), ("P", ".png"), ("LA", ".png"), ("CMYK", ".jpg")])
def test_a_picture_that_would_have_to_be_converted_is_refused(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(RGB).convert(mode).save(path)
    assert f"mode {mode}" in refused(path).what


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_cut_off_picture_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(RGB).save(path)
    data = path.read_bytes()
    for length in np.linspace(1, len(data) * 0.9, 20).astype(int):
        path.write_bytes(data[:length])
        refused(path)


def test_a_damaged_png_gives_an_array_or_a_strip_error_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path)
    rng, whole = np.random.default_rng(0), path.read_bytes()
    for _ in range(300):
        data = bytearray(whole)
        data[int(rng.integers(100)) if rng.random() < 0.7 else int(rng.integers(len(data)))] = rng.integers(256)
        path.write_bytes(data)
        with contextlib.suppress(StripError):
            assert isinstance(read_pixels(path), np.ndarray)


def test_another_format_under_the_name_of_a_png_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(TIFFS["plain"])
    assert "PNG or JPEG" in refused(tmp_path / "a.png").why


MARKED = np.zeros(SIZE, bool)
MARKED[10:14, 20:30] = True
GRAY_MASK = Image.fromarray(MARKED * np.uint8(255))


def palette(indices: NDArray[np.uint8], colours: list[int], transparency: int | bytes | None = None) -> Image.Image:
    picture = Image.fromarray(indices)
    picture.putpalette(colours)
    if transparency is not None:
        picture.info["transparency"] = transparency
    return picture


MASK_PICTURES = {
    "gray": GRAY_MASK,
    "ones": Image.fromarray(MARKED.astype(np.uint8)),
    "bilevel": GRAY_MASK.convert("1"),
    "RGB": GRAY_MASK.convert("RGB"),
    "RGBA": GRAY_MASK.convert("RGBA"),
    "LA": GRAY_MASK.convert("LA"),
    "16 bits": Image.fromarray(MARKED * np.uint16(65535)),
    "palette": palette(MARKED.astype(np.uint8), [0, 0, 0, 255, 0, 0]),
    "palette with a dark blue": palette(MARKED.astype(np.uint8), [0, 0, 0, 0, 0, 2]),
    "palette with black at 1": palette((~MARKED).astype(np.uint8), [255, 255, 255, 0, 0, 0]),
    "palette with a transparent colour": palette(MARKED.astype(np.uint8), [0, 0, 0, 255, 0, 0], 0),
    "palette with an alpha of each colour": palette(MARKED.astype(np.uint8), [0, 0, 0, 255, 0, 0], bytes([0, 255])),
}
MASK_ARRAYS = {
    "gray": MARKED * np.uint8(255),
    "one page": MARKED[None] * np.uint8(255),
    "bilevel": MARKED,
    "float": MARKED.astype(np.float32),
    "channels first": np.stack([MARKED] * 3) * np.uint8(255),
    "channels last": np.stack([MARKED] * 3, axis=-1) * np.uint8(255),
    "with alpha": np.stack([MARKED, MARKED, MARKED, np.ones(SIZE, bool)], axis=-1) * np.uint8(255),
    "one colour": np.stack([MARKED * 0, MARKED, MARKED * 0]) * np.uint8(255),
}


@pytest.mark.parametrize("kind", MASK_PICTURES)
def test_every_kind_of_png_mask_marks_the_same_pixels(tmp_path: Path, kind: str) -> None:
    MASK_PICTURES[kind].save(tmp_path / "mask.png")
    marks = read_marks(tmp_path / "mask.png", SIZE)
    assert marks.dtype == np.bool_
    np.testing.assert_array_equal(marks, MARKED)


@pytest.mark.parametrize("kind", MASK_ARRAYS)
def test_every_kind_of_tiff_mask_marks_the_same_pixels(path: Path, kind: str) -> None:
    path.write_bytes(tiff(MASK_ARRAYS[kind]))
    np.testing.assert_array_equal(read_marks(path, SIZE), MARKED)


def test_a_mask_of_another_size_keeps_it(path: Path) -> None:
    path.write_bytes(tiff(np.stack([MARKED] * 3, axis=-1) * np.uint8(255)))
    assert read_marks(path, (32, 32)).shape == SIZE


def test_a_jpeg_is_no_mask(tmp_path: Path) -> None:
    GRAY_MASK.save(tmp_path / "mask.jpg")
    with pytest.raises(StripError, match="save it as PNG"):
        read_marks(tmp_path / "mask.jpg", SIZE)

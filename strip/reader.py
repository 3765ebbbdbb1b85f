"""Read one strip from a file and refuse whatever is not exactly a strip of the spec.

In:   a path (TIFF through tifffile, memory-mapped where the file allows; PNG and JPEG through Pillow) and a StripSpec.
Out:  (C, H, W) uint8 or float32 in 0..255, C = 3 or 4, possibly a read-only view of the file.
Gray pictures stand for all three channels. Nothing is resized or cast in silence: float32 and uint8 come as they are,
uint16 only with a full scale in the spec, everything else is a StripError with the path, what was found and the fix.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from .errors import ConfigError, StripError
from .spec import CHANNELS, FULL_SCALE, Layout, StripSpec

TIFF_SUFFIXES = (".tif", ".tiff")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
SUFFIXES = (*TIFF_SUFFIXES, *PICTURE_SUFFIXES)
"""What `is_strip_file` takes for a strip, in any case of letters."""

CHANNEL_COUNTS = (len(CHANNELS), len(CHANNELS) + 1)
PICTURE_MODES = ("L", "RGB", "RGBA", "I;16")
"""Pillow modes that are pixels as they are: no palette, no colour conversion, no bilevel."""


def is_strip_file(path: Path) -> bool:
    """Whether the name looks like a strip: a known suffix and not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_strip(path: Path, spec: StripSpec) -> NDArray[Any]:
    """Read and check one strip.

    Args:
        path: TIFF, PNG or JPEG.
        spec: What it has to be.

    Returns:
        (C, H, W) uint8 or float32 in 0..255, C = 3 or 4; do not write into it.

    Raises:
        StripError: Not readable, or another size, channel count, type or range than the spec says.
    """
    pixels = read_pixels(path)
    strip = _channels_first(pixels, spec, path)
    return _values_0_to_255(strip, spec, path)


def read_pixels(path: Path) -> NDArray[Any]:
    """The array in a file as it is: (H, W) or three axes in the file's own order, any dtype.

    Raises:
        StripError: The file is missing, empty, truncated, or not a picture.
    """
    if not path.is_file():
        raise StripError(f"{path}: no such file", why="a strip was expected there", fix="check the path")
    if path.stat().st_size == 0:
        raise StripError(f"{path}: empty file", why="nothing was written into it", fix="record the strip again or remove the file")
    return _read_tiff(path) if path.suffix.lower() in TIFF_SUFFIXES else _read_picture(path)


def check_strip(strip: NDArray[Any], spec: StripSpec, *, name: str) -> None:
    """Check an array from a camera: (C, H, W) uint8 or float32 in 0..255, C = 3 or 4, any strides. Allocates no array.

    Raises:
        StripError: It is something else; the message begins with `name`.
    """
    if strip.ndim != 3 or strip.shape[0] not in CHANNEL_COUNTS or strip.shape[1:] != (spec.height_px, spec.width_px):
        raise _wrong_shape(strip.shape, spec, name)
    if strip.dtype != np.uint8 and strip.dtype != np.float32:
        raise _wrong_dtype(strip, spec, name)
    check_range(strip[: len(CHANNELS)], FULL_SCALE, name=name)


def check_range(values: NDArray[Any], full_scale: float, *, name: str) -> None:
    """Check that all values are numbers in 0..full_scale. uint8 needs no look at 255. Allocates no array.

    Raises:
        StripError: NaN, infinity, or a value outside the range; says how many and where the first one is.
    """
    if values.dtype == np.uint8 and full_scale >= FULL_SCALE:
        return
    low, high = values.min(), values.max()  # NaN makes both NaN, so the comparison below fails for it too
    if low >= 0 and high <= full_scale:
        return
    bad = ~np.isfinite(values)
    if bad.any():
        found, fix = "NaN or infinite values", "find where the camera's program writes them; a strip holds numbers only"
    else:
        bad = (values < 0) | (values > full_scale)
        found = f"values from {low:g} to {high:g}"
        fix = "name the value of white when the files have another one: --full-scale 65535" if high > full_scale else "clip the values at 0"
    channel, row, column = (int(index) for index in np.argwhere(bad)[0])
    raise StripError(
        f"{name}: {found} in {np.count_nonzero(bad)} pixels, the first in channel {channel} at row {row}, column {column}",
        why=f"values lie in 0..{full_scale:g}",
        fix=fix,
    )


def spec_of_file(path: Path) -> StripSpec:
    """The preset of a file's size, for a data set that does not say what it is.

    Raises:
        StripError: Not readable, more than one order of the axes fits, or no preset has this size.
    """
    shape = read_pixels(path).shape
    sizes = {shape} if len(shape) == 2 else set()
    if len(shape) == 3:
        sizes |= {shape[1:]} if shape[0] in CHANNEL_COUNTS else set()
        sizes |= {shape[:2]} if shape[2] in CHANNEL_COUNTS else set()
    if len(sizes) > 1:
        raise StripError(
            f"{path}: {_by(shape)} can be channels first or channels last",
            why="the order of the axes is not guessed",
            fix="say the size and the order: --size HEIGHTxWIDTH --layout chw (or hwc)",
        )
    if not sizes:
        raise StripError(
            f"{path}: {_by(shape)}", why="a strip has 3 or 4 channels, or one gray one", fix="write (C, H, W) or (H, W, C) files"
        )
    height, width = sizes.pop()
    try:
        spec = StripSpec.of_size(height, width)
    except ConfigError as exc:
        raise StripError(f"{path}: {height} x {width} px", why=f"{exc.what}: {exc.why}", fix="record larger strips") from exc
    if spec.name == "custom":
        raise StripError(
            f"{path}: {height} x {width} px",
            why="no preset has this size, and a size is not taken over in silence",
            fix=f"if that is the size of your strips, say so: --size {height}x{width}",
        )
    return spec


def _read_tiff(path: Path) -> NDArray[Any]:
    try:
        try:
            return tifffile.memmap(path, mode="r")
        except (ValueError, MemoryError):  # compressed or not contiguous: read it into memory
            return np.asarray(tifffile.imread(path))
    except (tifffile.TiffFileError, ValueError, OSError, IndexError, KeyError, TypeError, EOFError, ImportError) as exc:
        raise StripError(
            f"{path}: not a whole TIFF file",
            why=str(exc).split("\n")[0] or type(exc).__name__,
            fix="record the strip again or remove the file",
        ) from exc


def _read_picture(path: Path) -> NDArray[Any]:
    try:
        with Image.open(path) as picture:
            if picture.mode not in PICTURE_MODES and not picture.mode.startswith("I;16"):
                raise StripError(
                    f"{path}: picture of mode {picture.mode}",
                    why=f"only {', '.join(PICTURE_MODES)} are pixels as they are; nothing is converted in silence",
                    fix="save it as gray, RGB or RGBA",
                )
            return np.asarray(picture)
    except UnidentifiedImageError as exc:
        raise StripError(f"{path}: not a picture", why="its first bytes are of no format that Pillow knows", fix="check the file") from exc
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as exc:
        raise StripError(f"{path}: damaged picture", why=str(exc), fix="record the strip again or remove the file") from exc


def _channels_first(pixels: NDArray[Any], spec: StripSpec, path: Path) -> NDArray[Any]:
    """(C, H, W) with 3 or 4 channels, as a view; gray is repeated without a copy."""
    size = (spec.height_px, spec.width_px)
    if pixels.ndim == 2 and pixels.shape == size:
        return np.broadcast_to(pixels, (len(CHANNELS), *size))
    fits: list[Layout] = []
    if pixels.ndim == 3:
        if pixels.shape[0] in CHANNEL_COUNTS and pixels.shape[1:] == size:
            fits.append("chw")
        if pixels.shape[2] in CHANNEL_COUNTS and pixels.shape[:2] == size:
            fits.append("hwc")
    if spec.layout != "auto":
        fits = [layout for layout in fits if layout == spec.layout]
    if len(fits) > 1:
        raise StripError(
            f"{path}: {_by(pixels.shape)} can be channels first or channels last",
            why="the order of the axes is not guessed",
            fix="name it: --layout chw or --layout hwc",
        )
    if not fits:
        raise _wrong_shape(pixels.shape, spec, str(path))
    return pixels if fits[0] == "chw" else pixels.transpose(2, 0, 1)


def _values_0_to_255(strip: NDArray[Any], spec: StripSpec, path: Path) -> NDArray[Any]:
    name = str(path)
    if strip.dtype == np.uint8:
        return strip
    if strip.dtype.newbyteorder("=") == np.float32 or (strip.dtype.newbyteorder("=") == np.uint16 and spec.full_scale_given):
        check_range(strip[: len(CHANNELS)], spec.full_scale, name=name)
        if spec.full_scale == FULL_SCALE and strip.dtype == np.float32:
            return strip
        return strip.astype(np.float32) * np.float32(FULL_SCALE / spec.full_scale)
    raise _wrong_dtype(strip, spec, name)


def _wrong_shape(shape: tuple[int, ...], spec: StripSpec, name: str) -> StripError:
    height, width = spec.height_px, spec.width_px
    if len(shape) == 3 and (height, width) in (shape[1:], shape[:2]):
        count = shape[0] if shape[1:] == (height, width) else shape[2]
        if count in CHANNEL_COUNTS:
            return StripError(
                f"{name}: {_by(shape)} is not in the order {spec.layout}",
                why=f"the spec says --layout {spec.layout}",
                fix="leave --layout out, or write the files in that order",
            )
        return StripError(
            f"{name}: {count} channels",
            why=f"a strip has {len(CHANNELS)} ({', '.join(CHANNELS)}), {len(CHANNELS) + 1} with a mask, or is one gray picture",
            fix="write all three channels into one file",
        )
    return StripError(
        f"{name}: found {_by(shape)}",
        why=f"expected {height} x {width} px with 3 or 4 channels: (C, {height}, {width}) or ({height}, {width}, C)",
        fix="check that the file belongs to this line; strips of another size need their own model: lineside train ... --size HEIGHTxWIDTH",
    )


def _wrong_dtype(strip: NDArray[Any], spec: StripSpec, name: str) -> StripError:
    if strip.dtype.newbyteorder("=") == np.uint16:
        fix = "name the value of white: --full-scale 65535 (or 4095 for a 12-bit camera)"
        return StripError(f"{name}: uint16 values", why="how bright white is cannot be guessed", fix=fix)
    return StripError(f"{name}: values of type {strip.dtype}", why="strips are float32 or uint8, 0..255", fix="save it as float32 or uint8")


def _by(shape: tuple[int, ...]) -> str:
    return "array of " + " x ".join(str(side) for side in shape) if shape else "a single value"

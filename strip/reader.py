"""Read one strip from a file and refuse whatever is not exactly a strip of the spec.

In:   a path (what `pixels.read_pixels` takes) and a StripSpec.
Out:  (C, H, W) uint8 or float32 in 0..255, C = 3 or 4, possibly a read-only view of the file.
Gray pictures stand for all three channels. Nothing is resized or cast in silence: float32 and uint8 come as they are,
uint16 only with a full scale in the spec, everything else is a StripError with the path, what was found and the fix.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigError, StripError
from .notices import notice, saw_strip
from .pixels import SUFFIXES, read_pixels
from .spec import CHANNELS, FULL_SCALE, Layout, StripSpec

CHANNEL_COUNTS = (len(CHANNELS), len(CHANNELS) + 1)
_USUAL_WHITES = (255, 1023, 4095, 16383, 65535)  # cameras of 8, 10, 12, 14 and 16 bits


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
    values = _values_0_to_255(strip, spec, path)
    _look_for_copies(values, path, gray=pixels.ndim == 2)
    return values


def _look_for_copies(strip: NDArray[Any], path: Path, *, gray: bool) -> None:
    """Notice channels that are copies of each other: where Target is one of them, no defect can be seen. Raises: StripError."""
    target, ref1, ref2 = strip[: len(CHANNELS)]
    if gray:
        notice(path, "gray: one picture stands for Target and both references, so nothing can differ and the verdict is always OK")
    elif _same(target, ref1) or _same(target, ref2):
        notice(path, "Target is a copy of a reference, so nothing can differ and the verdict is always OK")
    saw_strip(path, distinct=gray or not _same(ref1, ref2))


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two pictures are equal; most differ in the row that is looked at first."""
    middle = len(one) // 2
    return np.array_equal(one[middle], other[middle]) and np.array_equal(one, other)


def check_strip(strip: NDArray[Any], spec: StripSpec, *, name: str) -> None:
    """Check an array from a camera: (C, H, W) uint8 or float32 in 0..255, C = 3 or 4, any strides. Allocates no array.

    Raises:
        StripError: It is something else; the message begins with `name`.
    """
    check_form(strip, spec, name=name)
    check_range(strip[: len(CHANNELS)], FULL_SCALE, name=name)


def check_form(strip: NDArray[Any], spec: StripSpec, *, name: str) -> None:
    """Check all of `check_strip` but the values, for whoever looks at those where they lie faster to hand.

    Raises:
        StripError: Another shape or type than a strip has; the message begins with `name`.
    """
    if strip.ndim != 3 or strip.shape[0] not in CHANNEL_COUNTS or strip.shape[1:] != (spec.height_px, spec.width_px):
        raise _wrong_array(strip.shape, spec, name)
    if strip.dtype != np.uint8 and strip.dtype != np.float32:
        raise _wrong_dtype(strip.dtype, name)


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
        white = next((white for white in _USUAL_WHITES if high <= white), high)
        found = f"values from {low:g} to {high:g}"
        fix = f"clip them, or scale them so that white is {full_scale:g} (files: name their white with --full-scale {white:g})"
        fix = fix if high > full_scale else "clip them at 0"
    channel, row, column = (int(index) for index in np.argwhere(bad)[0])
    raise StripError(
        f"{name}: {found} in {np.count_nonzero(bad.any(axis=0))} pixels, the first in {CHANNELS[channel]} at row {row}, column {column}",
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
        raise _wrong_shape(pixels.shape, spec, path)
    return pixels if fits[0] == "chw" else pixels.transpose(2, 0, 1)


def _values_0_to_255(strip: NDArray[Any], spec: StripSpec, path: Path) -> NDArray[Any]:
    kind = strip.dtype.newbyteorder("=")
    if kind == np.uint8:
        return strip
    if kind != np.float32 and not (kind == np.uint16 and spec.full_scale_given):
        raise _wrong_dtype(kind, str(path))
    check_range(strip[: len(CHANNELS)], spec.full_scale, name=str(path))
    values = strip.astype(np.float32, copy=False)
    if spec.full_scale == FULL_SCALE:
        return values
    return np.asarray(values / np.float32(spec.full_scale) * np.float32(FULL_SCALE))  # in this order white is 255 exactly


def _wrong_shape(shape: tuple[int, ...], spec: StripSpec, path: Path) -> StripError:
    height, width = spec.height_px, spec.width_px
    if len(shape) == 3 and (height, width) in (shape[1:], shape[:2]):
        count = shape[0] if shape[1:] == (height, width) else shape[2]
        if count in CHANNEL_COUNTS:
            return StripError(
                f"{path}: {_by(shape)} is not in the order {spec.layout}",
                why=f"the spec says --layout {spec.layout}",
                fix="leave --layout out, or write the files in that order",
            )
        return StripError(
            f"{path}: {count} channels",
            why=f"a strip has {len(CHANNELS)} ({', '.join(CHANNELS)}), {len(CHANNELS) + 1} with a mask, or is one gray picture",
            fix="write all three channels into one file",
        )
    turned = (width, height) in (shape, shape[1:], shape[:2])
    return StripError(
        f"{path}: found {_by(shape)}",
        why=f"expected {height} x {width} px with 3 or 4 channels: (C, {height}, {width}) or ({height}, {width}, C)",
        fix="turn the files by 90 degrees"
        if turned
        else "check that the file belongs to this line; strips of another size need a model of their own: --size HEIGHTxWIDTH",
    )


def _wrong_array(shape: tuple[int, ...], spec: StripSpec, name: str) -> StripError:
    height, width = spec.height_px, spec.width_px
    channels_last = len(shape) == 3 and shape[:2] == (height, width) and shape[2] in CHANNEL_COUNTS
    return StripError(
        f"{name}: found {_by(shape)}",
        why=f"expected (3, {height}, {width}) or (4, {height}, {width}), channels first",
        fix="pass strip.transpose(2, 0, 1)" if channels_last else f"pass strips of {height} x {width} px, or a model of their size",
    )


def _wrong_dtype(kind: np.dtype[Any], name: str) -> StripError:
    if kind == np.uint16:
        fix = "name the value of white: --full-scale 65535 (or 4095 for a 12-bit camera)"
        return StripError(f"{name}: uint16 values", why="how bright white is cannot be guessed", fix=fix)
    return StripError(f"{name}: values of type {kind}", why="strips are float32 or uint8, 0..255", fix="save it as float32 or uint8")


def _by(shape: tuple[int, ...]) -> str:
    return "array of " + " x ".join(str(side) for side in shape) if shape else "a single value"

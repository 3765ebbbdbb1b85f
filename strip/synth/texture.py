"""The pattern that a line looks at: from a photograph, or made up.

In:   a picture file, or a seed.
Out:  (H, W) float32 grey levels, most of them in `LOW`..`HIGH`; `crop` cuts pieces of any size out of it.
Colour becomes luminance: this is a texture, not a measurement. A piece larger than the photograph goes on in its mirror
image, without a seam; nothing is ever scaled in space.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from scipy import ndimage

from lineside.errors import ConfigError
from lineside.pixels import DAMAGED, reason
from lineside.spec import FULL_SCALE

LOW, HIGH = 30.0, 225.0
"""Darkest and brightest grey level, but for the outermost percent at each end. 30 levels of room are half of the weaker
amplitude of design 3: a defect of either sign is cut by no more than half where it meets black or white."""
PERCENTILES = (1.0, 99.0)
MIN_SIDE_PX = 64
GENERATED_PX = 1024

# Noise of the generated texture: (sigma in px, share). From grain to the cloudiness of a whole strip.
_NOISE = ((0.8, 0.5), (2.5, 0.8), (8.0, 1.0), (40.0, 1.2))
_THREAD_PX = 16  # of the weave: one thread and its gap
_BRICK_PX = (64, 128)
_JOINT_PX = 3.0
_WARP_PX = 3.0  # how far the threads stray
_CONTRAST = 32.0  # standard deviation, grey levels


def texture_of_file(path: Path) -> NDArray[np.float32]:
    """The luminance of a photograph, (H, W) float32.

    A photograph whose contrast fits into `LOW`..`HIGH` keeps it, others are compressed into it: a dull surface stays dull.

    Raises:
        ConfigError: The file is missing, no picture, damaged, or smaller than `MIN_SIDE_PX`.
    """
    try:
        with Image.open(path) as picture:
            deep = picture.mode[0] in "IF"  # 16 bits, 32 bits, float: white is not 255
            luminance = np.asarray(picture if deep else picture.convert("L"), np.float32)
    except UnidentifiedImageError as exc:
        raise ConfigError(f"{path}: not a picture", why="a texture is a photograph", fix="name a PNG, JPEG or TIFF file") from exc
    except DAMAGED as exc:
        raise ConfigError(f"{path}: the texture cannot be read", why=reason(exc), fix="name a PNG, JPEG or TIFF file") from exc
    if min(luminance.shape) < MIN_SIDE_PX:
        raise ConfigError(
            f"{path}: {luminance.shape[0]} x {luminance.shape[1]} px",
            why=f"a texture smaller than {MIN_SIDE_PX} px would repeat everywhere",
            fix="take a larger photograph; it is not scaled up",
        )
    if not np.isfinite(luminance).all():
        raise ConfigError(f"{path}: NaN or infinite values", why="a texture holds grey levels", fix="take another photograph")
    return _with_headroom(luminance * (FULL_SCALE / luminance.max()) if deep and luminance.max() > 0 else luminance)


def generated_texture(seed: int) -> NDArray[np.float32]:
    """A made-up surface, (1024, 1024) float32: woven threads, joints between bricks, and noise from grain to clouds."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:GENERATED_PX, :GENERATED_PX].astype(np.float32)
    y, x = (axis + _WARP_PX * _noise(20.0, rng) for axis in (y, x))
    threads = np.stack([np.abs(np.sin(np.pi * axis / _THREAD_PX)) for axis in (y, x)])
    over = (y // _THREAD_PX + x // _THREAD_PX) % 2 == 0
    weave = np.where(over, threads[0], threads[1])
    height, width = _BRICK_PX
    from_joint = np.minimum(_distance(y, height), _distance(x + (y // height % 2) * (width / 2), width))
    bricks = np.clip(from_joint / _JOINT_PX, 0.0, 1.0)
    noise = sum(share * _noise(sigma, rng) for sigma, share in _NOISE)
    surface = (2.5 * weave + noise) * (0.4 + 0.6 * bricks) + 2.0 * bricks
    surface = (surface - surface.mean()) / surface.std()
    return _with_headroom((FULL_SCALE / 2 + _CONTRAST * surface).astype(np.float32))


def crop(texture: NDArray[np.float32], height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A random piece (height, width) of a texture, going on in its mirror image where the texture ends."""
    rows, columns = (_mirrored(have, want, rng) for have, want in zip(texture.shape, (height, width), strict=True))
    return texture[np.ix_(rows, columns)]


def _mirrored(have: int, want: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`want` indices into `have` pixels from a random start, to and fro."""
    period = 2 * (have - 1)
    start = rng.integers(have - want + 1) if want <= have else rng.integers(period)
    index = (start + np.arange(want)) % period
    return np.asarray(np.minimum(index, period - index))


def _with_headroom(image: NDArray[np.float32]) -> NDArray[np.float32]:
    low, high = np.percentile(image, PERCENTILES)
    gain = min(1.0, (HIGH - LOW) / max(high - low, 1.0))
    offset = np.clip(0.0, LOW - gain * low, HIGH - gain * high)  # none when it fits already
    return np.asarray(np.clip(gain * image + offset, 0.0, FULL_SCALE), np.float32)


def _noise(sigma_px: float, rng: np.random.Generator) -> NDArray[np.float32]:
    white = rng.standard_normal((GENERATED_PX, GENERATED_PX), dtype=np.float32)
    smooth = ndimage.gaussian_filter(white, sigma_px, mode="wrap")
    return np.asarray(smooth / smooth.std())


def _distance(axis: NDArray[np.float32], period: float) -> NDArray[np.float32]:
    """How far every pixel is from the nearest multiple of `period`."""
    return np.asarray(np.abs((axis + period / 2) % period - period / 2))

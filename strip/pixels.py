"""The pixels of a picture file, exactly as they lie in it.

In:   a path: TIFF through tifffile, memory-mapped where the file allows; PNG and JPEG through Pillow.
Out:  the array: (H, W), or three axes in the file's own order; any dtype and byte order; perhaps a read-only view of the file.
Never half a picture: what is missing, damaged, cut off or more than one picture is a StripError, whatever the decoder made of it.
Never a conversion either: a file whose numbers mean something else than brightness is refused, and so is one whose compression has
halved the resolution of colour, which is the difference between a strip's channels, unless `notices` allow it.
"""

from __future__ import annotations

import logging
import lzma
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from .beside import beside_pixels_of_picture, beside_pixels_of_tiff
from .errors import StripError
from .notices import lossy_allowed, notice

TIFF_SUFFIXES = (".tif", ".tiff")
JPEG_SUFFIXES = (".jpg", ".jpeg")
SUFFIXES = (*TIFF_SUFFIXES, ".png", *JPEG_SUFFIXES)

MAX_BYTES = 2**31
"""No picture of a line is larger: a damaged header that says so must not take the machine's memory."""

_FORMATS = ("PNG", "JPEG")
# Pillow's modes that are brightness as it is. Before Pillow 11 a gray PNG of 16 bits was "I".
_STRIP_MODES = {"L": "L", "RGB": "RGB", "RGBA": "RGBA", "I;16": "I;16", "I": "I;16"}
# A mask may be drawn in any of these too; a palette's colours count, not its indices.
_MASK_MODES = {**_STRIP_MODES, "1": "L", "LA": "LA", "P": "RGBA", "PA": "RGBA"}
_WITH_ALPHA = (2, 4)
_LOSSY = (6, 7, 33003, 33005, 34712, 34892, 50001)
"""TIFF's numbers of JPEG (old, new, lossy DNG), JPEG 2000 (Aperio's two, its own) and WebP."""
_NOT_BRIGHTNESS = (tifffile.PHOTOMETRIC.MINISWHITE, tifffile.PHOTOMETRIC.PALETTE)

_WRITE_AGAIN = "write the file again, or remove it"
# What tifffile and Pillow were seen to raise for some thousand damaged files (bytes changed, ends cut off), beyond their own errors.
DAMAGED = (
    tifffile.TiffFileError,  # a ValueError in newer releases only
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    SyntaxError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    Image.DecompressionBombError,
)

# tifffile logs what it finds wrong with a file. Here that becomes a StripError; without a handler it would be printed as well.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def read_pixels(path: Path) -> NDArray[Any]:
    """The array in a picture file; do not write into it.

    Raises:
        StripError: The file is missing, empty, cut off, damaged, holds several pictures, is not made of plain brightness, or its
            compression has changed what is compared.
    """
    _refuse_absent(path)
    return _read_tiff(path, compared=True) if path.suffix.lower() in TIFF_SUFFIXES else _read_picture(path, _STRIP_MODES, compared=True)


def read_marks(path: Path, size: tuple[int, int]) -> NDArray[Any]:
    """The marked pixels of a mask: whatever is not black, in any colour; transparency marks nothing.

    Args:
        path: Gray, bilevel, colour or palette; not a JPEG, whose noise would mark pixels that nobody drew.
        size: (H, W) of its strip, which tells where the channels are.

    Returns:
        bool, (H, W) when the mask is of that size.

    Raises:
        StripError: As `read_pixels`, or the mask is a JPEG.
    """
    _refuse_absent(path)
    suffix = path.suffix.lower()
    if suffix in JPEG_SUFFIXES:
        raise StripError(f"{path}: a mask as JPEG", why="its noise marks pixels that nobody drew", fix="draw it again and save it as PNG")
    pixels = _read_tiff(path) if suffix in TIFF_SUFFIXES else _read_picture(path, _MASK_MODES)
    if pixels.ndim != 3:
        return np.asarray(pixels > 0)
    if pixels.shape[1:] == size:
        pixels = np.moveaxis(pixels, 0, -1)
    colours = pixels.shape[-1] - (pixels.shape[-1] in _WITH_ALPHA)
    return np.asarray((pixels[..., :colours] > 0).any(axis=-1))


def _refuse_absent(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError as exc:
        raise StripError(f"{path}: {reason(exc)}", why="a picture was expected there", fix="check the path") from exc
    if not path.is_file():
        raise StripError(f"{path}: not a file", why="a picture was expected there", fix="check the path")
    if size == 0:
        raise StripError(f"{path}: empty file", why="nothing was written into it", fix=_WRITE_AGAIN)


def _read_tiff(path: Path, *, compared: bool = False) -> NDArray[Any]:
    try:
        with tifffile.TiffFile(path) as file:
            _check_tiff(file, path)
            if compared:
                _look_beside(path, beside_pixels_of_tiff(file), lossy=_loss_of_tiff(file))
            series = file.series[0]
            offset = series.dataoffset
            if offset is None or offset % series.dtype.itemsize:  # compressed, in pieces or not aligned: read it into memory
                pixels = series.asarray()
            else:
                pixels = np.memmap(path, np.dtype(file.byteorder + series.dtype.char), "r", offset, series.shape)
            return np.asarray(pixels).squeeze()  # some programs write one gray page as (1, H, W)
    except DAMAGED as exc:
        if "imagecodecs" in str(exc):
            raise StripError(
                f"{path}: compressed TIFF ({exc})",
                why="tifffile reads this compression with the package imagecodecs only",
                fix="write the files without compression, which is also the fastest to read, or: pip install imagecodecs",
            ) from exc
        raise StripError(f"{path}: not a whole TIFF file", why=reason(exc), fix=_WRITE_AGAIN) from exc


def _check_tiff(file: tifffile.TiffFile, path: Path) -> None:
    """Refuse what tifffile would read, but not as the one picture that the file was meant to hold."""
    series = file.series
    # A file that was cut off between its pages looks like one with fewer pages, and one page like a gray strip: the last
    # page's link to a next one tells. tifffile only logs it.
    file.filehandle.seek(file.pages.next_page_offset or 0)  # 0 where even the link is missing: the header there is no end of pages
    link = file.filehandle.read(file.tiff.offsetsize)
    if len(link) < file.tiff.offsetsize or any(link):
        raise StripError(
            f"{path}: not a whole TIFF file", why=f"it ends after page {len(file.pages)}, which names a next one", fix=_WRITE_AGAIN
        )
    if len(series) != 1:
        shapes = ", ".join(f"{'x'.join(map(str, one.shape))} {one.dtype}" for one in series[:4])
        raise StripError(
            f"{path}: {len(series)} pictures in one file ({shapes})",
            why="which of them is the strip, or how they make one up, is not guessed",
            fix="write all channels as one array of shape (3, H, W) or (4, H, W)",
        )
    if series[0].nbytes > MAX_BYTES:
        raise StripError(f"{path}: says it holds {series[0].nbytes} bytes of pixels", why=f"at most {MAX_BYTES} are read", fix=_WRITE_AGAIN)
    meaning = file.pages.first.tags.valueof("PhotometricInterpretation")
    if meaning in _NOT_BRIGHTNESS:
        raise StripError(
            f"{path}: TIFF of kind {tifffile.PHOTOMETRIC(meaning).name}",
            why="its numbers are not brightness: nothing is converted in silence",
            fix="save it as gray (0 is black) or RGB",
        )


def _read_picture(path: Path, modes: dict[str, str], *, compared: bool = False) -> NDArray[Any]:
    try:
        with Image.open(path, formats=_FORMATS) as picture:
            # Pillow cuts a colour PNG of 16 bits down to 8; only what it decodes from tells.
            stored = f"{picture.mode} with 16 bits" if picture.mode in ("RGB", "RGBA") and "16" in str(picture.tile[0][3]) else picture.mode
            if stored in modes:
                if compared:
                    _look_beside(path, beside_pixels_of_picture(picture), lossy=_loss_of_picture(picture))
                return np.array(picture.convert(modes[stored]) if modes[stored] != stored else picture)
    except UnidentifiedImageError as exc:
        raise StripError(
            f"{path}: not a picture", why=f"its first bytes are not those of {' or '.join(_FORMATS)}", fix="check the file"
        ) from exc
    except DAMAGED as exc:
        raise StripError(f"{path}: damaged picture", why=reason(exc), fix=_WRITE_AGAIN) from exc
    raise StripError(
        f"{path}: picture of mode {stored}",
        why="only gray, RGB and RGBA of 8 bits and gray of 16 bits are read as they are; nothing is converted in silence",
        fix="save it as gray or RGB of 8 bits, or as TIFF",
    )


def _look_beside(path: Path, said: Iterable[str], *, lossy: bool | None) -> None:
    """Notice what a file says beside its pixels, and how it was compressed (`_loss_of_picture`). Raises: StripError."""
    if lossy and not lossy_allowed():
        raise StripError(
            f"{path}: a JPEG with colour at half its resolution",
            why="what JPEG takes for colour is the difference between Target and its references: defects fade",
            fix="save strips as PNG or TIFF, without loss; to read these files all the same: --allow-lossy",
        )
    if lossy is not None:
        notice(path, "compressed with loss, which changes small differences between the channels")
    for what in said:
        notice(path, what)


def _loss_of_picture(picture: Image.Image) -> bool | None:
    """None: compressed without loss. True: a JPEG that keeps colour at a lower resolution than brightness."""
    layers = getattr(picture, "layer", None)  # of a JPEG, whatever its file is called, and however many pictures follow
    return None if layers is None else len({(across, down) for _, across, down, _ in layers}) > 1


def _loss_of_tiff(file: tifffile.TiffFile) -> bool | None:
    """As `_loss_of_picture`."""
    page: Any = file.pages.first
    if page.compression not in _LOSSY:
        return None
    subsampling = page.tags.valueof("YCbCrSubSampling", (2, 2))
    return bool(page.photometric == tifffile.PHOTOMETRIC.YCBCR and tuple(subsampling) != (1, 1))


def reason(exc: BaseException) -> str:
    """What an error says, in one line."""
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror.lower()
    return str(exc).split("\n")[0] or type(exc).__name__

"""What a picture file says beside its pixels: nothing of it is applied, so all of it is named.

In:   an open TIFF, PNG or JPEG.
Out:  sentences, the same for every file that says the same.
Pixels count as they are stored. An orientation, a colour profile, a gamma, a resolution, a transparent colour or an axis of time would
change what they mean to another program.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tifffile
from PIL import Image

ORIENTATION = 274
"""EXIF's and TIFF's number of the tag; 1 is as stored."""
COLOUR_PROFILE, TRANSFER_FUNCTION = 34675, 301
RESOLUTION_UNIT, RESOLUTION_ACROSS, RESOLUTION_DOWN = 296, 282, 283
"""TIFF's numbers of these tags: tifffile finds a number at once, and looks through all names for a name."""
PNG_GAMMA = 0.45455
"""That of sRGB, which everybody assumes."""
_TIMELIKE = {"T": "time", "Z": "depth"}


def beside_pixels_of_picture(picture: Image.Image) -> Iterator[str]:
    """Of a PNG or JPEG."""
    facts = picture.info
    turned = picture.getexif().get(ORIENTATION, 1)
    if turned != 1:
        yield _turned(turned)
    if facts.get("icc_profile"):
        yield "a colour profile, which is not applied"
    gamma = facts.get("gamma")
    if gamma is not None and abs(gamma - PNG_GAMMA) > 1e-4:
        yield f"a gamma of {gamma:g}, which is not applied"
    if "transparency" in facts and picture.mode in ("L", "RGB"):
        yield "one colour is transparent, which is not applied"
    if "dpi" in facts:
        yield _resolution(facts["dpi"], "dpi")
    elif picture.format == "PNG" and "aspect" in facts:
        yield _resolution(facts["aspect"], "in no unit")


def beside_pixels_of_tiff(file: tifffile.TiffFile) -> Iterator[str]:
    """Of a TIFF, by its first page and its axes."""
    page: Any = file.pages.first
    tags = page.tags
    turned = tags.valueof(ORIENTATION, 1)
    if turned != 1:
        yield _turned(turned)
    if tags.valueof(COLOUR_PROFILE) is not None:
        yield "a colour profile, which is not applied"
    if tags.valueof(TRANSFER_FUNCTION) is not None:
        yield "a transfer function (gamma), which is not applied"
    unit, across, down = (tags.valueof(tag) for tag in (RESOLUTION_UNIT, RESOLUTION_ACROSS, RESOLUTION_DOWN))
    if unit not in (None, 1) and across is not None and down is not None:
        yield _resolution((_number(across), _number(down)), "dpi" if unit == 2 else "dots per centimetre")
    axis = file.series[0].axes[:1]
    if file.is_imagej and axis in _TIMELIKE and len(file.series[0].axes) > 2:
        yield f"its first axis is {_TIMELIKE[axis]}, which is taken for the channels"


def _turned(orientation: int) -> str:
    return f"an orientation ({orientation}) that would turn or mirror it, which is not applied"


def _resolution(values: tuple[float, float], unit: str) -> str:
    across, down = values
    shape = "" if across == down else "; its pixels are not square"
    return f"a resolution of {round(across, 1):g} x {round(down, 1):g} {unit}, which is not used: strips are counted in pixels{shape}"


def _number(value: Any) -> float:
    """TIFF's fractions."""
    return float(value[0] / value[1]) if isinstance(value, tuple) and value[1] else float(value if not isinstance(value, tuple) else 0)

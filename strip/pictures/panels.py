"""The picture of one inspected strip: what the camera saw, how that differs from the references, and what the model says.

In:   a strip (C, H, W) in 0..255 and a `Finding`.
Out:  a Pillow image. Target, Ref1, Ref2, |Target-Ref1|, |Target-Ref2|, double detection (the smaller of both differences: what is in
      neither reference), the heatmap with its regions framed, and the mask where there is one. A triangle beside every panel points
      at the rows of each region, so that a spot of 3 px is found in a strip of 976.
Tall strips stand side by side, wide ones lie below each other, others make two rows. What is larger than a screen is made smaller by a
whole factor, heat and differences by their maximum, never by their mean: a peak of one pixel stays visible.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lineside.spec import CHANNELS, FULL_SCALE

from .colormap import rgb_from_heat
from .contact_sheet import ALARM, BACKGROUND, RIGHT, TEXT, WRONG

Box = tuple[int, int, int, int]
"""Top, left, height and width in pixels of the strip."""

STRETCH = 3
"""Differences are shown this much brighter, and the captions say so: a faint defect of 25 grey levels is seen, noise stays dark."""
ELONGATED = 2.0
"""From this aspect on the panels make one row (tall strips) or one column (wide ones), else two rows."""
LONG_EDGE_PX = 1024
"""Longest edge of a panel in one row or column: a strip of 976 px is shown as it is."""
GRID_EDGE_PX = 512
"""Longest edge of a panel in two rows."""
FRAME_MARGIN_PX = 4
"""Between a region and its frame: one on its edge would hide a small region."""
NUMBERED = 20
"""So many regions get their number, 1 for the largest; with more of them the numbers would cover each other."""

_CAPTIONS = (
    *CHANNELS,
    f"|Target-Ref1| x{STRETCH}",
    f"|Target-Ref2| x{STRETCH}",
    f"double detection x{STRETCH}",
    "heatmap",
    "mask",
)
_HEATMAP = _CAPTIONS.index("heatmap")
_MARGIN_PX = 20
_GUTTER_PX = 16
_CAPTION_PX = 20
_HEADER_PX = 80
_FOOTER_PX = 50
_MARK_PX = 7
_BAR_WIDTH_PX, _BAR_HEIGHT_PX = 150, 12
_LEAST_WIDTH_PX = 640
"""What the numbers and the scales need, however narrow the panels are."""
_TITLE_FONT, _FONT, _SMALL_FONT = (ImageFont.load_default(size) for size in (22, 17, 13))
_CAPTION_WIDTH_PX = max(math.ceil(_SMALL_FONT.getlength(caption)) for caption in _CAPTIONS)


@dataclass(frozen=True, kw_only=True, eq=False)
class Finding:
    """What a model found, in plain values. `boxes` are the regions, the largest first; `verdict` is "OK" or "NG"."""

    name: str
    heatmap: NDArray[np.float32]
    score: float
    threshold: float
    verdict: str
    boxes: Sequence[Box]


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Where the panels lie; `reduction` pixels of the strip become one of a panel."""

    columns: int
    rows: int
    reduction: int
    panel_width: int
    panel_height: int

    @classmethod
    def of(cls, size: tuple[int, ...], panels: int) -> _Layout:
        height, width = size
        tall, wide = height >= ELONGATED * width, width >= ELONGATED * height
        columns = panels if tall else 1 if wide else math.ceil(panels / 2)
        reduction = math.ceil(max(height, width) / (LONG_EDGE_PX if tall or wide else GRID_EDGE_PX))
        return cls(
            columns=columns,
            rows=math.ceil(panels / columns),
            reduction=reduction,
            panel_width=math.ceil(width / reduction),
            panel_height=math.ceil(height / reduction),
        )

    @property
    def step(self) -> tuple[int, int]:
        """From one panel to the next: right, down."""
        return max(self.panel_width, _CAPTION_WIDTH_PX) + _GUTTER_PX, _CAPTION_PX + self.panel_height + _GUTTER_PX

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of all panels with their captions."""
        return self.columns * self.step[0] - _GUTTER_PX, self.rows * self.step[1] - _GUTTER_PX

    def corner(self, index: int) -> tuple[int, int]:
        """Left and top of a panel in the picture."""
        row, column = divmod(index, self.columns)
        return _MARGIN_PX + column * self.step[0], _HEADER_PX + row * self.step[1] + _CAPTION_PX


def draw_panels(strip: NDArray[Any], finding: Finding) -> Image.Image:
    """Draw the picture.

    Args:
        strip: (C, H, W) uint8 or float32 in 0..255, C = 3 or 4, any strides.
        finding: Its heatmap (H, W), and the rest of what was found.
    """
    layout = _Layout.of(finding.heatmap.shape, panels=len(_CAPTIONS) - (len(strip) == len(CHANNELS)))
    width, height = layout.size
    picture = Image.new("RGB", (max(width, _LEAST_WIDTH_PX) + 2 * _MARGIN_PX, _HEADER_PX + height + _FOOTER_PX), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    _draw_header(draw, finding, layout)
    for index, panel in enumerate(_panels(strip, finding.heatmap, layout.reduction)):
        left, top = layout.corner(index)
        draw.text((left, top - _CAPTION_PX + 1), _CAPTIONS[index], TEXT, _SMALL_FONT)
        picture.paste(panel, (left, top))
        _draw_marks(draw, finding.boxes, layout, left, top)
        if index == _HEATMAP:
            _draw_frames(draw, finding.boxes, layout, left, top)
    _draw_scales(picture, draw, finding.threshold)
    return picture


def _panels(strip: NDArray[Any], heatmap: NDArray[np.float32], reduction: int) -> Iterator[Image.Image]:
    """The panels in the order of `_CAPTIONS`."""
    target, ref1, ref2 = channels = strip[: len(CHANNELS)].astype(np.float32)
    first, second = np.abs(target - ref1), np.abs(target - ref2)
    for channel in channels:
        yield _gray(channel).reduce(reduction)
    for difference in (first, second, np.minimum(first, second)):
        yield _gray(_largest(difference, reduction) * STRETCH)
    yield Image.fromarray(rgb_from_heat(_largest(heatmap, reduction)))
    for mask in strip[len(CHANNELS) :]:
        values = np.nan_to_num(mask.astype(np.float32))  # nobody checks the channel that nobody uses
        yield _gray(values * (FULL_SCALE / max(1.0, float(values.max())))).reduce(reduction)  # 0 and 1, or 0 and 255: white is the highest


def _gray(values: NDArray[np.float32]) -> Image.Image:
    return Image.fromarray(np.clip(values, 0, FULL_SCALE).astype(np.uint8))


def _largest(values: NDArray[np.float32], reduction: int) -> NDArray[np.float32]:
    """(H, W) made smaller by a whole factor, each value the largest of those that it stands for."""
    for axis, length in enumerate(values.shape if reduction > 1 else ()):
        values = np.maximum.reduceat(values, np.arange(0, length, reduction), axis=axis)
    return values


def _draw_header(draw: ImageDraw.ImageDraw, finding: Finding, layout: _Layout) -> None:
    """The name, and below it the verdict and the numbers."""
    draw.text((_MARGIN_PX, 12), _fitting(finding.name, max(layout.size[0], _LEAST_WIDTH_PX)), TEXT, _TITLE_FONT)
    draw.text((_MARGIN_PX, 43), finding.verdict, RIGHT if finding.verdict == "OK" else WRONG, _TITLE_FONT)
    regions = "1 region" if len(finding.boxes) == 1 else f"{len(finding.boxes)} regions"
    shown = "" if layout.reduction == 1 else f"      shown 1:{layout.reduction}"
    facts = f"score {finding.score:.4f}      threshold {finding.threshold:.4f}      {regions}{shown}"
    draw.text((_MARGIN_PX + _TITLE_FONT.getlength(finding.verdict) + _GUTTER_PX, 47), facts, TEXT, _FONT)


def _draw_marks(draw: ImageDraw.ImageDraw, boxes: Sequence[Box], layout: _Layout, left: int, top: int) -> None:
    """A triangle at the left edge of a panel beside each region's middle row."""
    for box_top, _, box_height, _ in boxes:
        y = top + (box_top + box_height / 2) / layout.reduction
        draw.polygon([(left - 2, y), (left - 2 - _MARK_PX, y - _MARK_PX / 2), (left - 2 - _MARK_PX, y + _MARK_PX / 2)], fill=ALARM)


def _draw_frames(draw: ImageDraw.ImageDraw, boxes: Sequence[Box], layout: _Layout, left: int, top: int) -> None:
    """A frame around each region, which stays inside the panel, and its number."""
    right, bottom = left + layout.panel_width - 1, top + layout.panel_height - 1
    for number, (box_top, box_left, height, width) in enumerate(boxes, start=1):
        x0, y0 = left + box_left // layout.reduction, top + box_top // layout.reduction
        x1, y1 = left + (box_left + width - 1) // layout.reduction, top + (box_top + height - 1) // layout.reduction
        frame = (
            max(left, x0 - FRAME_MARGIN_PX),
            max(top, y0 - FRAME_MARGIN_PX),
            min(right, x1 + FRAME_MARGIN_PX),
            min(bottom, y1 + FRAME_MARGIN_PX),
        )
        draw.rectangle(frame, outline=ALARM)
        if len(boxes) <= NUMBERED:
            on_the_left = frame[2] + _CAPTION_PX > right
            place = (frame[0] - 3, frame[1]) if on_the_left else (frame[2] + 4, frame[1])
            draw.text(place, str(number), ALARM, _SMALL_FONT, anchor="rt" if on_the_left else "lt")


def _draw_scales(picture: Image.Image, draw: ImageDraw.ImageDraw, threshold: float) -> None:
    """What black and white mean in the differences, and the colours of the heat with the threshold marked."""
    ramp = np.tile(np.linspace(0, 1, _BAR_WIDTH_PX, dtype=np.float32), (_BAR_HEIGHT_PX, 1))
    bars = (
        ("difference   0", _gray(ramp * FULL_SCALE), f"{FULL_SCALE / STRETCH:.0f} grey levels or more"),
        ("heat   0", Image.fromarray(rgb_from_heat(ramp)), "1   (line: threshold)"),
    )
    x, y = _MARGIN_PX, picture.height - _FOOTER_PX // 2
    for low, bar, high in bars:
        draw.text((x, y), low, TEXT, _SMALL_FONT, anchor="lm")
        x += math.ceil(_SMALL_FONT.getlength(low)) + 8
        picture.paste(bar, (x, y - _BAR_HEIGHT_PX // 2))
        mark = x + round(threshold * (_BAR_WIDTH_PX - 1))
        x += _BAR_WIDTH_PX + 8
        draw.text((x, y), high, TEXT, _SMALL_FONT, anchor="lm")
        x += math.ceil(_SMALL_FONT.getlength(high)) + 2 * _MARGIN_PX
    # the last bar is the heat's
    draw.line([(mark, y - _BAR_HEIGHT_PX), (mark, y + _BAR_HEIGHT_PX)], ALARM)


def _fitting(text: str, width: int) -> str:
    """The text on one line, its beginning left out when it is too long: the end of a path tells more."""
    shown = text = text.encode(errors="replace").decode().replace("\n", " ")  # a file's name may be any bytes
    while _TITLE_FONT.getlength(shown) > width and text:
        text = text[1:]
        shown = "..." + text
    return shown

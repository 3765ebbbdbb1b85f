"""One picture of the worst strips of an evaluation, for the person who decides whether they matter.

In:   an `Evaluation` with its worst strips; Target and ground truth are read again from the data set.
Out:  a PNG. Per strip: name, label, verdict and score; Target and heatmap of the whole strip; and the place that matters enlarged
      in all channels, because a defect of 3 px cannot be seen in a strip of 976 px.
A heatmap is made smaller by its maximum, never by its mean: a peak of one pixel stays visible.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from lineside.dataset import read_sample
from lineside.files import file_being_written
from lineside.judge.evaluation import Evaluation, WorstStrip
from lineside.judge.pixel_metrics import label_regions
from lineside.judge.threshold import verdict_level
from lineside.spec import CHANNELS, StripSpec

from .colormap import rgb_from_heat

Colour = tuple[int, int, int]

BACKGROUND: Colour = (24, 25, 28)
TEXT: Colour = (235, 235, 235)
RIGHT: Colour = (120, 200, 120)
WRONG: Colour = (255, 120, 100)
TRUTH: Colour = (60, 220, 110)
ALARM: Colour = (80, 190, 255)
ENLARGED: Colour = (255, 255, 255)

EDGE_PX = 488
"""Long edge of a cell: half of a strip's 976 px."""
GAP_PX = 4
MARGIN_PX = 18
LINE_PX = 1.6
ELONGATED = 1.5
"""From this aspect on a strip is laid out as tall or wide, else as square."""
ENLARGED_PX = 40
"""Side of the part of a strip that is enlarged; more when the region there is larger."""
SHEET_ASPECT = 1.5
"""Width over height that the sheet comes close to: a screen's."""

NAME_FONT_PX, SMALL_FONT_PX, TITLE_FONT_PX = 16, 13, 24


@dataclass(frozen=True, kw_only=True)
class _Box:
    """A square part of a strip."""

    top: int
    left: int
    side: int

    @property
    def part(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.side), slice(self.left, self.left + self.side)


def save_contact_sheet(path: Path, evaluation: Evaluation, spec: StripSpec) -> None:
    """Draw the worst strips of `evaluation` and write the PNG. Raises: OutputError, StripError, DatasetError."""
    sheet = contact_sheet(evaluation, spec)
    with file_being_written(path) as temporary:
        sheet.save(temporary)


def contact_sheet(evaluation: Evaluation, spec: StripSpec) -> Image.Image:
    """The worst strips of `evaluation`, the worst first, row by row. Raises: StripError, DatasetError."""
    cells = [_cell(strip, spec, evaluation.threshold) for strip in evaluation.worst]
    title = _title(evaluation)
    if not cells:
        return title
    width, height = (side + MARGIN_PX for side in cells[0].size)
    columns = min(len(cells), max(1, round(math.sqrt(len(cells) * SHEET_ASPECT * height / width))))
    size = (max(MARGIN_PX + columns * width, title.width), title.height + -(-len(cells) // columns) * height)
    sheet = Image.new("RGB", size, BACKGROUND)
    sheet.paste(title, (0, 0))
    for index, cell in enumerate(cells):
        sheet.paste(cell, (MARGIN_PX + index % columns * width, title.height + index // columns * height))
    return sheet


def _title(evaluation: Evaluation) -> Image.Image:
    verdicts = evaluation.verdicts
    text = (
        f"{len(evaluation.worst)} worst of {len(evaluation.rows)} strips   "
        f"threshold {evaluation.threshold:.4g}   missed: {verdicts.defective_ok}   false alarms: {verdicts.good_ng}"
    )
    legend = (("ground truth", TRUTH), ("at or above the threshold", ALARM), ("enlarged", ENLARGED))
    small, large = _font(NAME_FONT_PX), _font(TITLE_FONT_PX)
    lengths = [small.getlength(name) + 3 * MARGIN_PX for name, _ in legend]
    image = Image.new("RGB", (round(2 * MARGIN_PX + max(large.getlength(text), sum(lengths))), 90), BACKGROUND)
    draw = ImageDraw.Draw(image)
    draw.text((MARGIN_PX, 12), text, TEXT, large)
    for index, (name, colour) in enumerate(legend):
        left = MARGIN_PX + sum(lengths[:index])
        draw.rectangle((left, 52, left + 14, 66), outline=colour, width=2)
        draw.text((left + 22, 49), name, TEXT, small)
    return image


def _cell(strip: WorstStrip, spec: StripSpec, threshold: float) -> Image.Image:
    """One strip: text, the whole strip, and the enlarged part."""
    pixels, truth = read_sample(strip.row.sample, spec)
    channels = np.clip(pixels[: len(CHANNELS)], 0, 255).astype(np.uint8)
    box = _box_that_matters(strip.heatmap, truth)

    tall, wide = spec.height_px >= ELONGATED * spec.width_px, spec.width_px >= ELONGATED * spec.height_px
    long_edge = EDGE_PX if tall or wide else (EDGE_PX - GAP_PX) // 2
    scale = long_edge / max(spec.height_px, spec.width_px)
    size = (max(1, round(spec.width_px * scale)), max(1, round(spec.height_px * scale)))
    overviews = [_scaled(channels[0], size), Image.fromarray(rgb_from_heat(_largest_of(strip.heatmap, size)))]
    for overview in overviews:
        _outline(overview, truth, TRUTH, distance_px=3)
        _outline(overview, strip.heatmap >= verdict_level(threshold), ALARM, distance_px=6)
        _frame(overview, box, scale)

    names = (*CHANNELS, "heatmap")
    parts = (*(channel[box.part] for channel in channels), rgb_from_heat(strip.heatmap[box.part]))
    side = (EDGE_PX - (len(names) - 1) * GAP_PX) // len(names)
    enlarged = [_captioned(_scaled(part, (side, side)), name) for part, name in zip(parts, names, strict=True)]
    pictures = _stack([_stack(overviews, down=wide), _stack(enlarged, down=tall)], down=not tall)
    return _stack([_heading(strip, pictures.width), pictures], down=True)


def _heading(strip: WorstStrip, width_px: int) -> Image.Image:
    row = strip.row
    verdict = "right" if row.right else "missed" if row.sample.defective else "false alarm"
    image = Image.new("RGB", (width_px, 44), BACKGROUND)
    draw = ImageDraw.Draw(image)
    draw.text((0, 0), _fitting(row.sample.path.name, width_px), TEXT, _font(NAME_FONT_PX))
    second = f"{row.sample.kind}, {row.verdict} {row.score:.4f}: {verdict}"
    draw.text((0, 21), _fitting(second, width_px), RIGHT if row.right else WRONG, _font(NAME_FONT_PX))
    return image


def _fitting(text: str, width_px: int) -> str:
    """The text, without its middle when it is too long for the width."""
    kept = len(text)
    shown = text
    while _font(NAME_FONT_PX).getlength(shown) > width_px and kept > 2:
        kept -= 1
        shown = text[: kept // 2] + "..." + text[len(text) - (kept - kept // 2) :]
    return shown


def _box_that_matters(heatmap: NDArray[np.float32], truth: NDArray[np.bool_]) -> _Box:
    """The square around the defect that the model sees least, or without one around the highest value."""
    rows, columns = (slice(int(place), int(place) + 1) for place in np.unravel_index(heatmap.argmax(), heatmap.shape))
    if truth.any():
        labels, count = label_regions(truth)
        peaks = ndimage.maximum(heatmap[truth], labels[truth], range(1, count + 1))  # the defects alone: it sorts what it gets
        rows, columns = ndimage.find_objects(labels)[int(np.argmin(peaks))]
    extent = max(rows.stop - rows.start, columns.stop - columns.start)
    side = min(max(ENLARGED_PX, round(ELONGATED * extent)), *heatmap.shape)
    top, left = (
        min(max(0, (part.start + part.stop - side) // 2), length - side)
        for part, length in zip((rows, columns), heatmap.shape, strict=True)
    )
    return _Box(top=top, left=left, side=side)


def _scaled(pixels: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    """A picture of (width, height); enlarged pixels stay squares."""
    return Image.fromarray(pixels).convert("RGB").resize(size, Image.Resampling.BOX)


def _largest_of(values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """(H, W) made (height, width) of `size`, each value the largest of those that it stands for."""
    for axis, length in enumerate(reversed(size)):
        # of two equal indices, as in an enlargement, reduceat gives the value there
        values = np.maximum.reduceat(values, np.arange(length) * values.shape[axis] // length, axis=axis)
    return values


def _outline(image: Image.Image, mask: NDArray[np.bool_], colour: Colour, *, distance_px: int) -> None:
    """Draw a line around the regions of a mask, at a distance so that it hides nothing of them."""
    if mask.any():
        distance = ndimage.distance_transform_edt(~_largest_of(mask, image.size))
        image.paste(colour, (0, 0), Image.fromarray(np.abs(distance - distance_px) <= LINE_PX / 2))


def _frame(image: Image.Image, box: _Box, scale: float) -> None:
    corners = (box.left, box.top, box.left + box.side, box.top + box.side)
    left, top, right, bottom = (round(corner * scale) for corner in corners)
    ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), outline=ENLARGED)


def _captioned(image: Image.Image, text: str) -> Image.Image:
    ImageDraw.Draw(image).text((4, 2), text, TEXT, _font(SMALL_FONT_PX), stroke_width=2, stroke_fill=BACKGROUND)
    return image


@cache
def _font(size_px: int) -> Any:
    return ImageFont.load_default(size_px)


def _stack(images: Iterable[Image.Image], *, down: bool) -> Image.Image:
    """Pictures below one another, or side by side."""
    parts = list(images)
    lengths = [part.height if down else part.width for part in parts]
    across = max(part.width if down else part.height for part in parts)
    along = sum(lengths) + GAP_PX * (len(parts) - 1)
    stacked = Image.new("RGB", (across, along) if down else (along, across), BACKGROUND)
    for index, part in enumerate(parts):
        offset = sum(lengths[:index]) + GAP_PX * index
        stacked.paste(part, (0, offset) if down else (offset, 0))
    return stacked

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lineside.pictures.contact_sheet import ALARM, BACKGROUND
from lineside.pictures.panels import STRETCH, Box, Finding, draw_panels

MARGIN = 20
HEADER = 100  # header and caption above the first row of panels


def finding(height: int = 976, width: int = 176, boxes: tuple[Box, ...] = (), **changes: Any) -> Finding:
    values: dict[str, Any] = {
        "name": "spot/000",
        "heatmap": np.zeros((height, width), np.float32),
        "score": 0.9,
        "threshold": 0.5,
        "verdict": "NG" if boxes else "OK",
        "boxes": boxes,
    }
    return Finding(**{**values, **changes})


def strip_of(height: int = 976, width: int = 176, channels: int = 3, level: float = 100) -> NDArray[np.float32]:
    return np.full((channels, height, width), level, np.float32)


def pixels(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image)


def places(image: Image.Image, colour: tuple[int, int, int]) -> NDArray[np.int64]:
    """Rows and columns of a colour."""
    return np.argwhere((pixels(image) == colour).all(axis=-1))


@pytest.mark.parametrize("channels", [3, 4])
def test_a_tall_strip_stands_in_one_row_pixel_by_pixel(channels: int) -> None:
    strip = strip_of(channels=channels)
    strip[0] = np.arange(976)[:, None] % 200  # a pattern that no scaling would keep
    image = draw_panels(strip, finding())
    target = pixels(image)[HEADER : HEADER + 976, MARGIN : MARGIN + 176]
    assert np.array_equal(target, np.repeat(strip[0][:, :, None], 3, axis=2).astype(np.uint8))
    assert image.width == 2 * MARGIN + (channels + 4) * (176 + 16) - 16


def test_the_panels_come_in_their_order_with_stretched_differences() -> None:
    strip = np.stack([np.full((976, 176), level, np.uint8) for level in (100, 110, 80, 255)])
    image = draw_panels(strip, finding(heatmap=np.ones((976, 176), np.float32)))
    across = pixels(image)[HEADER + 488, MARGIN + 88 :: 176 + 16][:8].tolist()
    gray = [[level] * 3 for level in (100, 110, 80, 10 * STRETCH, 20 * STRETCH, 10 * STRETCH)]
    assert across == [*gray, [252, 255, 164], [255] * 3]  # the colour of heat 1, and the mask


def test_double_detection_is_the_smaller_difference_and_stays_zero_for_what_is_in_a_reference() -> None:
    strip = strip_of()
    strip[1, 50, 50] = 200  # in Ref1 alone
    strip[0, 60, 60] = 140  # in Target alone
    panel = pixels(draw_panels(strip, finding()))[HEADER : HEADER + 976, MARGIN + 5 * 192 : MARGIN + 5 * 192 + 176]
    assert np.argwhere(panel[..., 0] > 0).tolist() == [[60, 60]]
    assert panel[60, 60].tolist() == [40 * STRETCH] * 3


def test_a_spot_of_three_pixels_is_framed_at_a_distance_and_marked_at_every_panel() -> None:
    heatmap = np.zeros((976, 176), np.float32)
    heatmap[400:403, 80:83] = 1
    image = draw_panels(strip_of(), finding(boxes=((400, 80, 3, 3),), heatmap=heatmap))
    left = MARGIN + 6 * 192
    inside = pixels(image)[HEADER + 400 - 3 : HEADER + 403 + 3, left + 80 - 3 : left + 83 + 3]
    assert not (inside == ALARM).all(axis=-1).any()  # the frame hides nothing of it
    rows, columns = places(image, ALARM).T
    beside = {column for row, column in zip(rows, columns, strict=True) if row == HEADER + 401}
    assert {MARGIN + index * 192 - 4 for index in range(7)} <= beside  # a triangle at every panel
    assert {left + 80 - 4, left + 82 + 4} <= beside  # the frame's two sides


def test_a_region_at_the_corner_has_its_frame_inside_the_panel() -> None:
    heatmap = np.zeros((976, 176), np.float32)
    image = draw_panels(strip_of(), finding(boxes=((0, 0, 2, 2), (974, 174, 2, 2)), heatmap=heatmap))
    framed = places(image, ALARM)
    last = MARGIN + 6 * 192 + 175
    assert framed[:, 1].max() == last
    assert [HEADER + 975, last] in framed.tolist()


@pytest.mark.parametrize(("height", "width", "side"), [(256, 256, 256), (1024, 1024, 512), (1500, 1100, 500)])
def test_a_square_strip_makes_two_rows_smaller_by_a_whole_factor(height: int, width: int, side: int) -> None:
    image = draw_panels(strip_of(height, width), finding(height, width))
    panel_width = -(-width // (height // side))
    assert image.width == 2 * MARGIN + 4 * (panel_width + 16) - 16
    assert tuple(pixels(image)[HEADER + side + 16 + 20, MARGIN]) == (0, 0, 0)  # the fifth panel, below the first


def test_a_wide_strip_makes_one_column() -> None:
    image = draw_panels(strip_of(176, 976), finding(176, 976))
    assert image.width == 2 * MARGIN + 976
    assert image.height > 7 * 176


def test_one_hot_pixel_survives_when_the_picture_is_made_smaller() -> None:
    heatmap = np.zeros((1024, 1024), np.float32)
    heatmap[501, 703] = 1
    strip = strip_of(1024, 1024)
    strip[0, 501, 703] = 200
    image = pixels(draw_panels(strip, finding(1024, 1024, heatmap=heatmap)))
    second_row = HEADER + 512 + 16 + 20
    assert image[second_row + 250, MARGIN + 2 * 528 + 351].tolist() == [252, 255, 164]
    assert image[second_row + 250, MARGIN + 1 * 528 + 351].tolist() == [255] * 3  # 100 grey levels x 3


def test_small_strips_have_room_for_captions_and_numbers() -> None:
    image = draw_panels(strip_of(32, 32), finding(32, 32))
    assert image.width >= 600


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_bytes_and_floats_of_any_strides_look_the_same(kind: type[np.generic]) -> None:
    strip = np.random.default_rng(0).integers(0, 256, (976, 176, 4)).astype(np.uint8)
    expected = pixels(draw_panels(np.ascontiguousarray(strip.transpose(2, 0, 1)), finding()))
    assert np.array_equal(pixels(draw_panels(strip.astype(kind).transpose(2, 0, 1), finding())), expected)


@pytest.mark.parametrize("mask", [0.0, 1.0, 255.0, np.nan, np.inf])
def test_any_mask_can_be_drawn(mask: float) -> None:
    strip = strip_of(channels=4)
    strip[3] = 0
    strip[3, 100:200] = mask
    panel = pixels(draw_panels(strip, finding()))[HEADER : HEADER + 976, MARGIN + 7 * 192 : MARGIN + 7 * 192 + 176, 0]
    if mask in (1.0, 255.0):
        assert panel[150, 0] > panel[300, 0]


def test_many_regions_and_odd_names_can_be_drawn() -> None:
    boxes = tuple((row, column, 1, 1) for row in range(0, 976, 8) for column in range(0, 176, 8))
    image = draw_panels(strip_of(), finding(boxes=boxes, name="\udcff\n" + "long/" * 100 + "000"))
    assert tuple(pixels(image)[5, 5]) == BACKGROUND


def test_verdicts_have_colours_of_their_own() -> None:
    ok, ng = (draw_panels(strip_of(), finding(verdict=verdict, score=0.5)) for verdict in ("OK", "NG"))
    colours = [set(map(tuple, pixels(image)[40:70, MARGIN : MARGIN + 40].reshape(-1, 3).tolist())) for image in (ok, ng)]
    assert (120, 200, 120) in colours[0] - colours[1]
    assert (255, 120, 100) in colours[1] - colours[0]

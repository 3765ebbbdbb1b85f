"""The contact sheet: every shape of strip, and nothing of what matters is lost on the way down."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from lineside.dataset import Sample
from lineside.errors import OutputError
from lineside.judge.evaluation import Evaluation, evaluate
from lineside.pictures.colormap import rgb_from_heat
from lineside.pictures.contact_sheet import ALARM, TRUTH, WRONG, contact_sheet, save_contact_sheet
from lineside.spec import PRESETS, StripSpec


class Answers:
    """A stand-in model with a given heatmap."""

    threshold = 0.5
    threshold_rule = None

    def __init__(self, spec: StripSpec, heatmap: NDArray[np.float32]) -> None:
        self.spec = spec
        self._heatmap = heatmap

    def heatmap(self, strip: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._heatmap


def evaluation(
    folder: Path, spec: StripSpec, heat: dict[tuple[int, int], float], *, truth: tuple[int, int] | None, strips: int = 1
) -> Evaluation:
    """Gray strips with heat at some pixels; with `truth` they are defective there."""
    heatmap = np.zeros((spec.height_px, spec.width_px), np.float32)
    for place, value in heat.items():
        heatmap[place] = value
    mask = None
    if truth is not None:
        pixels = np.zeros(heatmap.shape, np.uint8)
        pixels[truth] = 255
        mask = folder / "mask.png"
        Image.fromarray(pixels).save(mask)
    path = folder / "a_strip_with_a_name_that_is_much_too_long_for_the_width_of_one_cell_of_the_sheet.tif"
    tifffile.imwrite(path, np.full((3, *heatmap.shape), 90, np.uint8), photometric="minisblack")
    sample = Sample(path=path, kind="good" if truth is None else "spot", mask=mask)
    one = evaluate(Answers(spec, heatmap), [sample])
    return replace(one, worst=one.worst * strips)


def pixels_of(sheet: Image.Image, colour: tuple[int, ...]) -> int:
    return int((np.asarray(sheet) == np.array(colour)).all(axis=2).sum())


SPECS = [PRESETS["strip"], PRESETS["square"], PRESETS["mvtec"], StripSpec.of_size(96, 600), StripSpec.of_size(32, 32)]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.size)
def test_strips_of_any_shape_give_a_sheet_of_a_screens_size(tmp_path: Path, spec: StripSpec) -> None:
    sheet = contact_sheet(evaluation(tmp_path, spec, {(20, 20): 1.0}, truth=(20, 20), strips=20), spec)
    assert 1500 < sheet.width < 3000
    assert 0.9 < sheet.width / sheet.height < 2.2


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.size)
def test_a_peak_of_one_pixel_is_visible_in_the_whole_strip_and_enlarged(tmp_path: Path, spec: StripSpec) -> None:
    sheet = contact_sheet(evaluation(tmp_path, spec, {(20, 20): 1.0}, truth=None), spec)
    hot = tuple(int(part) for part in rgb_from_heat(np.ones((1, 1)))[0, 0])
    side = min(40, spec.height_px, spec.width_px)
    assert pixels_of(sheet, hot) >= 1 + int(119 / side) ** 2


def test_ground_truth_is_outlined_where_the_model_sees_nothing(tmp_path: Path) -> None:
    spec = PRESETS["strip"]
    missed = contact_sheet(evaluation(tmp_path, spec, {}, truth=(500, 100)), spec)
    good = contact_sheet(evaluation(tmp_path, spec, {}, truth=None), spec)
    assert pixels_of(missed, TRUTH) > pixels_of(good, TRUTH) + 20  # a circle in both overviews; the legend is in both sheets
    assert pixels_of(missed, WRONG) > 50  # the words
    assert pixels_of(good, WRONG) == 0


def test_alarms_are_outlined(tmp_path: Path) -> None:
    spec = PRESETS["strip"]
    below = contact_sheet(evaluation(tmp_path, spec, {(500, 100): 0.49}, truth=None), spec)
    above = contact_sheet(evaluation(tmp_path, spec, {(500, 100): 0.51}, truth=None), spec)
    assert pixels_of(above, ALARM) > pixels_of(below, ALARM) + 50


def test_nothing_bad_makes_a_sheet_with_its_title_alone(tmp_path: Path) -> None:
    spec = PRESETS["square"]
    assert contact_sheet(evaluation(tmp_path, spec, {}, truth=None, strips=0), spec).height < 100


def test_the_sheet_is_written_as_png_or_not_at_all(tmp_path: Path) -> None:
    spec = PRESETS["square"]
    result = evaluation(tmp_path, spec, {}, truth=None, strips=3)
    save_contact_sheet(tmp_path / "worst.png", result, spec)
    with Image.open(tmp_path / "worst.png") as sheet:
        assert sheet.size == contact_sheet(result, spec).size
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        save_contact_sheet(tmp_path / "file" / "worst.png", result, spec)

"""What a strip is, and what cannot be one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from lineside import PRESETS, ConfigError, StripSpec


@pytest.mark.parametrize(
    ("name", "height", "width", "tile"), [("strip", 976, 176, 128), ("square", 256, 256, 256), ("mvtec", 1024, 1024, 256)]
)
def test_the_presets_are_those_of_the_design(name: str, height: int, width: int, tile: int) -> None:
    preset = StripSpec.parse(name)
    assert (preset.name, preset.height_px, preset.width_px, preset.tile_px) == (name, height, width, tile)
    assert preset.size == f"{height}x{width}"
    assert StripSpec.parse(f"{height}x{width}") == preset


def test_the_strip_has_nine_rows_and_two_columns_of_tiles() -> None:
    assert (PRESETS["strip"].rows, PRESETS["strip"].columns, len(PRESETS["strip"].grid)) == (9, 2, 18)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 1000), (97, 33), (500, 300)])
def test_another_size_has_tiles_that_fit_and_overlap(height: int, width: int) -> None:
    spec = StripSpec.of_size(height, width)
    assert spec.name == "custom"
    assert spec.tile_px == max(side for side in (32, 64, 96, 128) if side <= min(height, width))
    assert (spec.grid.height_px, spec.grid.width_px) == (height, width)


def test_a_tile_of_the_users_own_makes_another_spec_of_a_preset() -> None:
    spec = StripSpec.parse("strip", tile_px=64)
    assert (spec.name, spec.height_px, spec.width_px, spec.tile_px) == ("custom", 976, 176, 64)
    assert StripSpec.parse("strip", tile_px=128) == PRESETS["strip"]


@pytest.mark.parametrize(
    ("tile", "fix"),
    [(100, "use --tile 96 or --tile 128"), (0, "use --tile 32 or --tile 64"), (31, "use --tile 32 or --tile 64"), (170, "use --tile 160")],
)
def test_a_tile_that_the_network_cannot_halve_is_refused_with_one_that_fits(tile: int, fix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        StripSpec.parse("strip", tile_px=tile)
    assert f"tile of {tile} px" in caught.value.what
    assert "multiple of 32" in caught.value.why
    assert caught.value.fix == fix


@pytest.mark.parametrize(
    ("size", "tile", "fix"),
    [("100x300", 128, "use --tile 96"), ("31x300", None, "strips smaller than 32 px"), ("0x0", None, "strips smaller")],
)
def test_a_tile_larger_than_the_strip_is_refused(size: str, tile: int | None, fix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        StripSpec.parse(size, tile_px=tile)
    assert fix in caught.value.fix


@pytest.mark.parametrize("text", ["", "stripe", "976", "976x", "976 x 176", "-1x5", "9.5x10", "976x176x3"])
def test_a_size_that_is_neither_a_preset_nor_two_numbers_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="HEIGHTxWIDTH"):
        StripSpec.parse(text)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"rows": 7}, "7 x 2 tiles"),
        ({"columns": 0}, "9 x 0 tiles"),
        ({"rows": 2000}, "2000 tiles"),
        ({"full_scale": 0.0}, "full scale 0.0"),
        ({"full_scale": float("nan")}, "full scale nan"),
        ({"layout": "whc"}, "layout 'whc'"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(change: dict[str, Any], found: str) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(PRESETS["strip"], **change)
    assert found in caught.value.what
    assert caught.value.fix


@pytest.mark.parametrize("spec", [*PRESETS.values(), StripSpec.of_size(300, 200).with_files(full_scale=4095, layout="hwc")])
def test_a_spec_survives_json(spec: StripSpec) -> None:
    assert StripSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize(
    "change",
    [
        {"height_px": "976"},
        {"tile_px": 128.0},
        {"rows": True},
        {"full_scale_given": 1},
        {"more": 1},
        {"layout": "diagonal"},
        {"tile_px": 100},
    ],
)
def test_a_damaged_spec_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        StripSpec.from_json({**PRESETS["strip"].to_json(), **change})


@pytest.mark.parametrize("value", [{}, [], "strip", None])
def test_what_is_no_spec_at_all_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="its keys are name, height_px"):
        StripSpec.from_json(value)


def test_the_files_of_a_line_may_have_another_white_and_order() -> None:
    spec = PRESETS["strip"].with_files(full_scale=4095.0, layout="hwc")
    assert (spec.full_scale, spec.full_scale_given, spec.layout, spec.grid) == (4095.0, True, "hwc", PRESETS["strip"].grid)
    assert PRESETS["strip"].with_files() == PRESETS["strip"]
    assert PRESETS["strip"].with_files(full_scale=255.0).full_scale_given

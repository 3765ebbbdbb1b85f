"""Which patches are calibrated on, and that a list of them is enough to see the same pixels again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tifffile

from lineside.calibration.ranges.sampler import Patch, SampleOptions, position_class, read_patches, sample, sha256_of_images
from lineside.errors import ConfigError, StripError
from lineside.spec import PRESETS, StripSpec

ROOT = Path("data")
PATHS = [ROOT / "train" / "good" / f"{index}.tif" for index in range(7)]
SMALL = StripSpec.of_size(100, 70, tile_px=64)


def chosen(spec: StripSpec, patches: int, seed: int = 0, defects: bool = True) -> tuple[Patch, ...]:
    return sample(PATHS, ROOT, spec.grid, SampleOptions(patches=patches, seed=seed, defects=defects))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (PRESETS["strip"], {"corner": 4, "edge": 14}),  # two columns, both at the side
        (PRESETS["mvtec"], {"corner": 4, "edge": 12, "inner": 9}),
        (PRESETS["square"], {"corner": 1}),
    ],
)
def test_the_tiles_of_a_grid_are_at_corners_edges_or_within(spec: StripSpec, expected: dict[str, int]) -> None:
    grid = spec.grid
    assert Counter(position_class((row, column), grid) for row in range(spec.rows) for column in range(spec.columns)) == expected


def test_half_of_the_patches_carry_defects_and_every_strip_and_tile_is_used_alike() -> None:
    patches = chosen(PRESETS["strip"], 256)
    assert sum(patch.defects is not None for patch in patches) == 128
    assert set(Counter(patch.file for patch in patches).values()) == {256 // 7, 256 // 7 + 1}
    for with_defects in (True, False):
        tiles = Counter((patch.row, patch.column) for patch in patches if (patch.defects is not None) == with_defects)
        assert len(tiles) == 18
        assert set(tiles.values()) == {128 // 18, 128 // 18 + 1}


@pytest.mark.parametrize("spec", PRESETS.values(), ids=str)
@pytest.mark.parametrize("seed", range(5))
def test_the_fewest_patches_show_every_class_of_positions_with_and_without_defects(spec: StripSpec, seed: int) -> None:
    classes = {position_class((row, column), spec.grid) for row in range(spec.rows) for column in range(spec.columns)}
    patches = chosen(spec, 2 * len(classes), seed)
    for with_defects in (True, False):
        assert {position_class((p.row, p.column), spec.grid) for p in patches if (p.defects is not None) == with_defects} == classes
    with pytest.raises(ConfigError, match=f"--patches {2 * len(classes)}"):
        chosen(spec, 2 * len(classes) - 1, seed)


def test_the_seed_alone_decides() -> None:
    assert chosen(SMALL, 20, 3) == chosen(SMALL, 20, 3)
    assert chosen(SMALL, 20, 3) != chosen(SMALL, 20, 4)
    assert len({patch.defects for patch in chosen(SMALL, 40)}) == 21, "every patch has defects of its own"


def test_an_experiment_can_leave_the_defects_out() -> None:
    clean = chosen(SMALL, 20, defects=False)
    assert all(patch.defects is None for patch in clean)
    places = [Counter((patch.file, patch.row, patch.column) for patch in patches) for patches in (clean, chosen(SMALL, 20))]
    assert places[0] == places[1], "the same patches, so that the defects are the only difference"


@pytest.mark.parametrize(("values", "named"), [({"patches": 0}, "--patches 256"), ({"seed": -1}, "--seed 0")])
def test_options_that_cannot_be_are_refused(values: dict[str, int], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        SampleOptions(**values)  # type: ignore[arg-type]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "train" / "good"
    folder.mkdir(parents=True)
    for index in range(2):
        strip = np.random.default_rng(index).integers(0, 256, (4, 100, 70)).astype(np.uint8)
        tifffile.imwrite(folder / f"{index}.tif", strip, photometric="minisblack")
    return tmp_path


def test_a_clean_patch_is_its_tile_of_the_strip(data: Path) -> None:
    patch = Patch(file="train/good/1.tif", row=1, column=1, defects=None)
    ((record, pixels),) = read_patches([patch], data, SMALL)
    assert record is patch
    strip = tifffile.imread(data / patch.file)
    np.testing.assert_array_equal(pixels, strip[:3, 36:100, 6:70] / np.float32(255))
    assert pixels.dtype == np.float32


def test_defects_are_added_by_their_seed_and_stay_in_their_own_patch(data: Path) -> None:
    clean, dirty, other = (Patch(file="train/good/0.tif", row=0, column=0, defects=defects) for defects in (None, 5, 6))
    pixels = [pixels for _, pixels in read_patches([clean, dirty, clean, other, dirty], data, SMALL)]
    np.testing.assert_array_equal(pixels[0], pixels[2])
    np.testing.assert_array_equal(pixels[1], pixels[4])
    changed = [int(np.count_nonzero((array != pixels[0]).any(axis=0))) for array in (pixels[1], pixels[3])]
    assert all(3 * 9 <= pixels_changed <= 8 * 15 for pixels_changed in changed), "3 to 8 kernels of 9 or 15 pixels"
    assert (pixels[1] != pixels[3]).any()
    assert all(array.min() >= 0 and array.max() <= 1 for array in pixels)


def test_a_strip_of_another_size_is_refused(data: Path) -> None:
    with pytest.raises(StripError, match="100 x 80 px"):
        list(read_patches([Patch(file="train/good/0.tif", row=0, column=0, defects=None)], data, StripSpec.of_size(100, 80, tile_px=64)))


def test_the_images_of_the_patches_are_fingerprinted(data: Path) -> None:
    patch = Patch(file="train/good/0.tif", row=0, column=0, defects=None)
    before = sha256_of_images([patch, patch], data)
    assert list(before) == ["train/good/0.tif"]
    (data / "train/good/0.tif").write_bytes((data / "train/good/1.tif").read_bytes())
    assert sha256_of_images([patch], data) != before

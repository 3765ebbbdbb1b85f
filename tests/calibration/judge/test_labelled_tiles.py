"""Which tiles of labelled strips are looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lineside.calibration.judge.labelled_tiles import read_labelled_tiles
from lineside.dataset import Dataset, Sample
from lineside.errors import DatasetError
from lineside.reader import read_strip
from lineside.spec import StripSpec

SPEC = StripSpec.of_size(100, 70, tile_px=64)


def samples(root: Path) -> tuple[Sample, ...]:
    return Dataset.open(root, spec=SPEC).test


def test_half_of_the_tiles_hold_a_defect_where_it_counts(labelled: Path) -> None:
    tiles = read_labelled_tiles(samples(labelled), SPEC, count=10, seed=0)
    assert tiles.pixels.shape == (10, 3, 64, 64)
    assert tiles.pixels.dtype == np.float32
    assert tiles.defective.sum() == 5
    # a defect is the only place where Target differs from Ref1
    differs = (np.abs(tiles.pixels[:, 0] - tiles.pixels[:, 1]) * tiles.keep).any(axis=(1, 2))
    np.testing.assert_array_equal(differs, tiles.defective)


def test_with_enough_tiles_every_pixel_of_the_good_strips_counts_once(labelled: Path) -> None:
    chosen = [sample for sample in samples(labelled) if not sample.defective]
    tiles = read_labelled_tiles(chosen, SPEC, count=1000, seed=0)
    assert tiles.keep.sum() == len(chosen) * 100 * 70
    total = sum(float(read_strip(sample.path, SPEC)[:3].astype(np.float64).sum()) for sample in chosen) / 255
    assert (tiles.pixels * tiles.keep[:, np.newaxis]).sum(dtype=np.float64) == pytest.approx(total)


def test_the_first_tiles_are_of_as_many_strips_as_there_are(labelled: Path) -> None:
    tiles = read_labelled_tiles(samples(labelled), SPEC, count=10, seed=3)
    defective = [tile.tobytes() for tile in tiles.pixels[tiles.defective]]
    # the five defective strips have different pixels, so five tiles of five strips share none
    assert len({tile[:256] for tile in defective}) == 5


def test_the_same_seed_gives_the_same_tiles_and_another_one_others(labelled: Path) -> None:
    first, again, other = (read_labelled_tiles(samples(labelled), SPEC, count=6, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert not np.array_equal(first.pixels, other.pixels)


def test_defective_strips_without_ground_truth_are_left_out(labelled: Path) -> None:
    unknown = [Sample(path=sample.path, kind=sample.kind) for sample in samples(labelled)]
    assert not read_labelled_tiles(unknown, SPEC, count=8, seed=0).defective.any()
    with pytest.raises(DatasetError, match="no strip of 5 whose defects are known"):
        read_labelled_tiles([sample for sample in unknown if sample.defective], SPEC, count=8, seed=0)


def test_a_defect_on_a_seam_belongs_to_both_tiles(labelled: Path, tmp_path: Path) -> None:
    mask = np.zeros((100, 70), np.uint8)
    mask[5, :] = 255
    Image.fromarray(mask).save(tmp_path / "wide.png")
    wide = Sample(path=samples(labelled)[0].path, kind="wide", mask=tmp_path / "wide.png")
    assert read_labelled_tiles([wide], SPEC, count=8, seed=0).defective.sum() == 2

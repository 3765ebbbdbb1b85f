"""A data set that trains in seconds: 72 x 64 px strips, tiles of 32 px."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from lineside.dataset import Dataset
from lineside.spec import StripSpec
from lineside.train.config import TrainOptions


def good_strip(rng: np.random.Generator) -> NDArray[np.float32]:
    """Three noisy pictures of one random pattern, and a mask channel."""
    pattern = rng.uniform(80, 180, (9, 8)).repeat(8, axis=0).repeat(8, axis=1)
    pictures = pattern + rng.normal(0, 1.5, (3, 72, 64))
    return np.concatenate([pictures, np.full((1, 72, 64), 255.0)]).astype(np.float32)


def _make_dataset(root: Path) -> Dataset:
    rng = np.random.default_rng(1)
    for folder in ("train/good", "valid/good", "valid/spot", "ground_truth/spot"):
        (root / folder).mkdir(parents=True)
    for index in range(4):
        tifffile.imwrite(root / f"train/good/t{index}.tif", good_strip(rng), photometric="minisblack")
    for index in range(2):
        tifffile.imwrite(root / f"valid/good/g{index}.tif", good_strip(rng), photometric="minisblack")
        strip, mask = good_strip(rng), np.zeros((72, 64), np.uint8)
        row, column = rng.integers(4, 60, 2)
        strip[0, row : row + 3, column : column + 3] += 70
        mask[row : row + 3, column : column + 3] = 255
        tifffile.imwrite(root / f"valid/spot/s{index}.tif", strip, photometric="minisblack")
        Image.fromarray(mask).save(root / f"ground_truth/spot/s{index}.png")
    return Dataset.open(root, spec=StripSpec.of_size(72, 64, tile_px=32))


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Read it, never write into it."""
    return _make_dataset(tmp_path_factory.mktemp("tiny") / "dataset")


@pytest.fixture
def own_dataset(dataset: Dataset, tmp_path: Path) -> Dataset:
    """A copy that a test may change."""
    shutil.copytree(dataset.root, tmp_path / "dataset")
    return Dataset.open(tmp_path / "dataset", spec=dataset.spec)


@pytest.fixture
def options() -> TrainOptions:
    """Three epochs of three steps, without workers."""
    return TrainOptions(epochs=3, steps_per_epoch=3, batch_size=4, base_channels=2, workers=0, device="cpu")

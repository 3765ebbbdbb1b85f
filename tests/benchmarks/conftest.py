"""Strips as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile


@pytest.fixture(scope="session")
def write_strips() -> Callable[..., Path]:
    """A function that writes so many `SMALL` strips of noise into a folder, and gives it."""

    def write(folder: Path, count: int, *, dtype: str = "float32", size: tuple[int, int] = (64, 96)) -> Path:
        rng = np.random.default_rng(0)
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            strip = rng.integers(0, 256, (4, *size)).astype(dtype)
            tifffile.imwrite(folder / f"{index:03d}.tif", strip, photometric="minisblack")
        return folder

    return write

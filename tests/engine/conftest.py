"""The tiny models of models/make.py, and a strip with a known answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lineside import StripSpec


@pytest.fixture
def models() -> Path:
    """The folder of the models; all inspect `small` strips but line.onnx, which takes the preset."""
    return Path(__file__).parent / "models"


@pytest.fixture
def small() -> StripSpec:
    return StripSpec(height_px=64, width_px=96, tile_px=32, rows=3, columns=4)


@pytest.fixture
def strip() -> NDArray[np.uint8]:
    """(4, 64, 96) uint8: a defect of 3 x 4 px at row 10, column 20, 100 grey levels above the references; a mask that is not zero."""
    pixels = np.full((4, 64, 96), 120, np.uint8)
    pixels[0, 10:13, 20:24] = 220
    pixels[:2, 40:43, 50:53] = 200  # in Ref1 too, so not a defect
    return pixels


@pytest.fixture
def heat_of() -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """What the models compute, in numpy."""

    def heat(strip: NDArray[Any]) -> NDArray[np.float32]:
        target, ref1, ref2 = strip[:3].astype(np.float32) / np.float32(255)
        return np.maximum(target - np.maximum(ref1, ref2), 0)

    return heat

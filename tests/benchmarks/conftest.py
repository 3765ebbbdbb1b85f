"""A network as a file, and strips as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from lineside.manifest import ModelManifest, Tiling
from lineside.spec import StripSpec

SMALL = StripSpec(height_px=64, width_px=96, tile_px=32, rows=3, columns=4)
"""What the models of tests/engine/models inspect."""


@pytest.fixture(scope="session")
def write_detector(detector: Any) -> Callable[[Path, Tiling], Path]:
    """A function that writes the detector as a full-image ONNX file of `SMALL` strips."""
    onnx = pytest.importorskip("onnx", reason="it writes the file")
    from lineside.export.graph import ExportOptions, onnx_model

    def write(path: Path, tiling: Tiling) -> Path:
        manifest = ModelManifest(
            spec=SMALL, tiling=tiling, io="production", base_channels=2, weights_sha256="0" * 64, checkpoint_sha256="1" * 64
        )
        onnx.save(onnx_model(detector, manifest, ExportOptions(tiling=tiling)), path)
        return path

    return write


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

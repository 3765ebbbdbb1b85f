"""ONNX files of the lively network, tables of its ranges, and a data set of small strips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from lineside.calibration.network import TILES, Network
from lineside.calibration.table import METHODS, HistogramSummary, RangesTable, TensorRange, network_sha256
from lineside.manifest import ModelManifest
from lineside.spec import StripSpec

SMALL = StripSpec.of_size(100, 70, tile_px=64)
"""2 x 2 tiles: all of them corners."""


@pytest.fixture(scope="session")
def write_model(lively_network: Any) -> Callable[..., Path]:
    """A function that writes the network as a full-image ONNX file of `SMALL` strips, in any form."""
    onnx = pytest.importorskip("onnx", reason="ONNX files are read and written with it")
    from lineside.export.graph import ExportOptions, onnx_model

    def write(path: Path, *, network: Any = None, spec: StripSpec = SMALL, **options: Any) -> Path:
        form = ExportOptions(**options)
        manifest = ModelManifest(
            spec=spec, tiling=form.tiling, io=form.io, base_channels=2, weights_sha256="0" * 64, checkpoint_sha256="1" * 64
        )
        onnx.save(onnx_model(network or lively_network, manifest, form), str(path))
        return path

    return write


@pytest.fixture(scope="session")
def ranges_of() -> Callable[..., RangesTable]:
    """A function that gives a model a table by running it over random patches: minimum and maximum for every method."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="it runs the model")

    def ranges(network: Network, spec: StripSpec = SMALL, **reached: float) -> RangesTable:
        """`reached` says how far a tensor came instead: decoder_0_concat=9000."""
        names = [name for name in network.activations if name != TILES]
        session = onnxruntime.InferenceSession(network.patch_model(names).SerializeToString(), providers=["CPUExecutionProvider"])
        tiles = np.random.default_rng(2).uniform(0, 1, (8, 3, spec.tile_px, spec.tile_px)).astype(np.float32)
        values = dict(zip(names, session.run(names, {TILES: tiles}), strict=True)) | {TILES: tiles}
        tensors = {}
        for name in network.activations:
            low, high = float(values[name].min()), reached.get(name.replace(".", "_"), float(values[name].max()))
            amax = max(-low, high) or 1.0
            tensors[name] = TensorRange(
                low=low,
                high=high,
                amax=dict.fromkeys(METHODS, amax),
                clipped=dict.fromkeys(METHODS, 0.0),
                histogram=HistogramSummary(limit=amax, zeros=0, counts=(1,)),
            )
        return RangesTable(
            model="strip.onnx",
            network_sha256=network_sha256(network),
            weights_sha256="0" * 64,
            spec=spec,
            method="minmax",
            percentile=99.99,
            seed=0,
            tensors=tensors,
            patches=(),
            images={},
        )

    return ranges


@pytest.fixture(scope="session")
def strips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of six good strips, and of two good and two defective ones in test/; not to be changed."""
    root = tmp_path_factory.mktemp("strips")
    rng = np.random.default_rng(0)
    for folder, count in (("train/good", 6), ("test/good", 2), ("test/spot", 2)):
        (root / folder).mkdir(parents=True)
        for index in range(count):
            strip = np.tile(rng.integers(60, 200, (1, 100, 70)), (3, 1, 1)).astype(np.uint8)
            if folder == "test/spot":
                strip[0, 40:43, 30:33] += 50
            tifffile.imwrite(root / folder / f"{index}.tif", strip, photometric="minisblack")
    return root

"""Export in half precision: the same file to its callers, and checked as the float one is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from lineside.errors import ConfigError, ModelError
from lineside.export.check import check
from lineside.export.graph import ExportOptions, onnx_model
from lineside.manifest import ModelManifest
from lineside.spec import StripSpec
from lineside.train.unet import UNet

SMALL = StripSpec.of_size(100, 70, tile_px=64)


@pytest.fixture(scope="module")
def network() -> UNet:
    """A UNet of 2 base channels with batch statistics of random patches, and logits of some size."""
    torch.manual_seed(0)
    network = UNet(2).train()
    for _ in range(20):
        network(torch.rand(4, 3, 64, 64))
    network.logits.weight.data *= 8
    return network.eval()


def model(network: UNet, options: ExportOptions) -> Any:
    manifest = ModelManifest(
        spec=SMALL, tiling=options.tiling, io=options.io, base_channels=2, weights_sha256="0" * 64, checkpoint_sha256="1" * 64
    )
    return onnx_model(network, manifest, options)


def strips(count: int = 2) -> Any:
    return np.rint(np.random.default_rng(0).uniform(0, 255, (count, 3, SMALL.height_px, SMALL.width_px))).astype(np.float32)


@pytest.mark.parametrize("opset", [11, 18, 23])
@pytest.mark.parametrize("tiling", ["batched", "unrolled", "full"])
@pytest.mark.parametrize(("io", "raw_dtype"), [("production", "float32"), ("raw", "uint8")])
def test_every_form_passes_the_check_in_half(network: UNet, tmp_path: Path, tiling: Any, io: Any, raw_dtype: Any, opset: int) -> None:
    options = ExportOptions(tiling=tiling, io=io, raw_dtype=raw_dtype, opset=opset, precision="fp16")
    path = tmp_path / "model.onnx"
    onnx.save(model(network, options), str(path))
    report = check(path, network, SMALL, options, strips())
    assert 1e-5 < report.max_difference < 1e-2, "below: not in half; above: not what half explains"


def test_a_half_that_computes_something_else_fails_the_check(network: UNet, tmp_path: Path) -> None:
    options = ExportOptions(precision="fp16")
    made = model(network, options)
    bias = next(tensor for tensor in made.graph.initializer if tensor.name == "logits.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float16([0, 0.2]), "logits.bias"))
    onnx.save(made, str(tmp_path / "model.onnx"))
    with pytest.raises(ModelError, match="differs from PyTorch's by"):
        check(tmp_path / "model.onnx", network, SMALL, options, strips())


def test_the_check_of_a_float_model_is_as_strict_as_before(network: UNet, tmp_path: Path) -> None:
    onnx.save(model(network, ExportOptions(precision="fp16")), str(tmp_path / "model.onnx"))
    with pytest.raises(ModelError, match=r"allowed: 0\.0001"):
        check(tmp_path / "model.onnx", network, SMALL, ExportOptions(), strips())


def test_the_same_network_gives_the_same_bytes(network: UNet) -> None:
    first, second = (model(network, ExportOptions(precision="fp16")).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_int8_is_not_for_export() -> None:
    with pytest.raises(ConfigError, match="fp16"):
        ExportOptions(precision="int8")  # type: ignore[arg-type]

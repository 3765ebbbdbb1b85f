"""INT8 weights on CPUs that add two products in 16 bits."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineside.calibration.place.pair_sums import LARGEST_SUM, worst_pair_sum
from lineside.calibration.place.quantize import QuantizeOptions, quantized
from lineside.calibration.ranges.table import RangesTable
from lineside.errors import ConfigError
from lineside.graph.float_model import FloatModel
from lineside.graph.precision_mark import PrecisionMark

onnx = pytest.importorskip("onnx", reason="the files are ONNX files")
pytest.importorskip("onnxruntime", reason="it measures the ranges")


def exhaustive(weights: Any) -> int:
    """Every pair of weights of a channel with every extreme of two activations."""
    rows = weights.reshape(len(weights), -1).astype(int)
    return max(abs(a * x + b * y) for row in rows for x, y in combinations(row, 2) for a in (0, 255) for b in (0, 255))


@pytest.mark.parametrize("seed", range(8))
def test_the_worst_pair_sum_is_that_of_all_pairs(seed: int) -> None:
    weights = np.random.default_rng(seed).integers(-127, 128, (3, 2, 2, 3)).astype(np.int8)
    assert worst_pair_sum(weights) == exhaustive(weights)


def test_weights_of_one_sign_and_channels_of_one_weight_count_too() -> None:
    assert worst_pair_sum(np.array([[-127, -3, -90]], np.int8)) == 255 * 217
    assert worst_pair_sum(np.array([[-127], [5]], np.int8)) == 255 * 127


@pytest.fixture(scope="module")
def source(write_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> FloatModel:
    return FloatModel.read(write_model(tmp_path_factory.mktemp("model") / "strip.onnx"))


@pytest.fixture(scope="module")
def table(source: FloatModel, ranges_of: Callable[..., RangesTable]) -> RangesTable:
    return ranges_of(source.network)


def made(source: FloatModel, table: RangesTable, **options: Any) -> Any:
    return quantized(source.network.model, table, QuantizeOptions(**{"target": "onnxruntime", **options}), path=source.path)


def stored_weights(model: Any) -> list[Any]:
    return [
        onnx.numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4
    ]


def saturating(pixels: Any, rows: Any) -> Any:
    """(K,) uint8 times (C, K) int8 as vpmaddubsw does it: sums of two neighbours, cut off at 16 bits, then added in 32."""
    pairs = (pixels.astype(int) * rows.astype(int)).reshape(len(rows), -1, 2).sum(axis=2)
    return np.clip(pairs, -(2**15), 2**15 - 1).sum(axis=1)


@pytest.mark.parametrize(("cpu", "cut_off"), [(None, False), ("vnni", True)])
def test_a_file_for_any_cpu_computes_the_same_in_16_bits_and_one_for_vnni_does_not(
    source: FloatModel, table: RangesTable, cpu: Any, cut_off: bool
) -> None:
    differences = []
    for weights in stored_weights(made(source, table, cpu=cpu)):
        rows = np.sort(weights.reshape(len(weights), -1), axis=1)[:, weights[0].size % 2 :]  # the largest meet each other
        for pixels in (np.where(row > 0, 255, 0).astype(np.uint8) for row in rows):
            differences.append(np.abs(saturating(pixels, rows) - rows.astype(int) @ pixels.astype(int)).max())
    assert bool(max(differences) > 0) is cut_off


def test_eight_bits_would_not(source: FloatModel, table: RangesTable) -> None:
    assert max(map(exhaustive, stored_weights(made(source, table, cpu="vnni")))) > LARGEST_SUM


def test_the_file_says_for_which_cpus_it_is_and_which_layers_have_seven_bits(source: FloatModel, table: RangesTable) -> None:
    on_any, with_vnni = (PrecisionMark.of(made(source, table, cpu=cpu), path=source.path) for cpu in (None, "vnni"))
    assert on_any is not None
    assert with_vnni is not None
    assert (on_any.cpu, with_vnni.cpu) == ("any", "vnni")
    assert with_vnni.seven_bits == ()
    assert on_any.seven_bits
    assert set(on_any.seven_bits) <= set(source.network.convolutions)


def test_tensorrt_keeps_eight_bits_and_takes_no_cpu(source: FloatModel, table: RangesTable) -> None:
    assert max(np.abs(weights).max() for weights in stored_weights(made(source, table, target="tensorrt"))) == 127
    with pytest.raises(ConfigError, match="--cpu any for tensorrt"):
        QuantizeOptions(target="tensorrt", cpu="any")

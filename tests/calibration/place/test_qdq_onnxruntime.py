"""ONNX Runtime's rules, proven by what ONNX Runtime makes of the written graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineside.calibration.place.quantize import QuantizeOptions, quantized
from lineside.calibration.ranges.table import RangesTable
from lineside.graph.float_model import FloatModel

onnx = pytest.importorskip("onnx", reason="INT8 files are ONNX")
onnxruntime = pytest.importorskip("onnxruntime", reason="it optimises them")

Write = Callable[..., Path]
TILINGS = pytest.mark.parametrize("tiling", ["batched", "unrolled", "full"])
ENDS = {"encoder.0.convs.0.conv", "logits"}


@pytest.fixture(scope="module")
def float_model(write_model: Write, tmp_path_factory: pytest.TempPathFactory) -> FloatModel:
    return FloatModel.read(write_model(tmp_path_factory.mktemp("float") / "m.onnx"))


@pytest.fixture(scope="module")
def table(float_model: FloatModel, ranges_of: Callable[..., RangesTable]) -> RangesTable:
    return ranges_of(float_model.network)


def written(model: FloatModel, table: RangesTable, **options: Any) -> Any:
    return quantized(model.network.model, table, QuantizeOptions(target="onnxruntime", **options), path=model.path)


def optimized(model: Any, folder: Path) -> Counter[str]:
    """The nodes of the graph that ONNX Runtime really runs."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3  # it warns that the file is for this machine alone
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node)


@TILINGS
def test_every_layer_but_the_ends_runs_on_integers(
    write_model: Write, ranges_of: Callable[..., RangesTable], tmp_path: Path, tiling: str
) -> None:
    model = FloatModel.read(write_model(tmp_path / "m.onnx", tiling=tiling))
    found = optimized(written(model, ranges_of(model.network)), tmp_path)
    copies = model.network.copies
    assert found["QLinearConv"] == 26 * copies
    assert found["Conv"] + found["FusedConv"] == 2 * copies
    assert found["QLinearConcat"] == 5 * copies
    assert found["MaxPool"] + found["NhwcMaxPool"] == 5 * copies
    assert not found["Relu"], "ReLU is part of the convolution: its zero point is the lowest integer"
    # into integers behind the first layer and out of them before the logits, and around each of the five upsamplings,
    # which ONNX Runtime does in float
    assert found["QuantizeLinear"] == found["DequantizeLinear"] == 6 * copies


def test_with_its_ends_the_whole_network_runs_on_integers(float_model: FloatModel, table: RangesTable, tmp_path: Path) -> None:
    found = optimized(written(float_model, table, first_and_last=True), tmp_path)
    assert found["QLinearConv"] == 28
    assert not found["Conv"] + found["FusedConv"]


@pytest.mark.parametrize("keep", ["encoder.1.convs.0.conv", "encoder.2.convs.1.conv", "decoder.1.reduce.conv", "decoder.2.merge.0.conv"])
def test_a_kept_layer_stays_float_with_its_weights(float_model: FloatModel, table: RangesTable, tmp_path: Path, keep: str) -> None:
    """ONNX Runtime would quantise the weights of a float convolution between two quantised ones by itself."""
    found = optimized(written(float_model, table, keep=frozenset({keep})), tmp_path)
    assert found["QLinearConv"] == 25
    assert found["Conv"] + found["FusedConv"] == 3


def test_an_fp16_rest_leaves_the_integers_alone(float_model: FloatModel, table: RangesTable, tmp_path: Path) -> None:
    model = written(float_model, table, rest="fp16")
    assert optimized(model, tmp_path)["QLinearConv"] == 26
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    halves = {node.name for node in model.graph.node if node.op_type == "Conv" and kinds[node.output[0]] == onnx.TensorProto.FLOAT16}
    assert halves == ENDS
    # the first layer and the logits have one cast in and one cast out each
    assert sum(node.op_type == "Cast" for node in model.graph.node) == 4


def test_activations_are_uint8_from_0_and_weights_symmetric_int8_per_channel(float_model: FloatModel, table: RangesTable) -> None:
    model = written(float_model, table)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    quantize = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert {(constants[node.input[2]].dtype.name, int(constants[node.input[2]])) for node in quantize} == {("uint8", 0)}
    np.testing.assert_allclose(constants["encoder.1.convs.0.relu.scale"], table.tensors["encoder.1.convs.0.relu"].high / 255, rtol=1e-6)
    weights = [name for name in constants if name.endswith(".weight.quantized")]
    assert len(weights) == 26
    for name in weights:
        assert constants[name].dtype == np.int8
        assert not constants[name.replace("quantized", "zero_point")].any()
        assert constants[name.replace("quantized", "scale")].shape == (len(constants[name]),)


def test_the_bias_is_int32_in_steps_of_the_products(float_model: FloatModel, table: RangesTable) -> None:
    """QLinearConv adds it to the products before anything is rounded: its scale is not ours to choose."""
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in written(float_model, table).graph.initializer}
    given = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in float_model.network.model.graph.initializer}
    conv = "encoder.1.convs.1.conv"
    steps = constants["encoder.1.convs.0.relu.scale"] * constants[f"{conv}.weight.scale"]
    np.testing.assert_allclose(constants[f"{conv}.bias.scale"], steps, rtol=1e-6)
    assert constants[f"{conv}.bias.quantized"].dtype == np.int32
    assert (np.abs(constants[f"{conv}.bias.quantized"] * steps.astype(np.float64) - given[f"{conv}.bias"]) <= 0.51 * steps).all()


def test_tensors_that_are_moved_share_a_scale_and_those_that_are_joined_do_not(float_model: FloatModel, table: RangesTable) -> None:
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in written(float_model, table).graph.initializer}
    for block in range(1, 6):
        assert constants[f"encoder.{block}.pool.scale"] == constants[f"encoder.{block - 1}.convs.1.relu.scale"]
    assert constants["decoder.0.resize.scale"] == constants["encoder.5.convs.1.relu.scale"]
    for block in range(5):
        parts = (f"encoder.{4 - block}.convs.1.relu", f"decoder.{block}.reduce.relu")
        assert constants[f"decoder.{block}.concat.scale"] >= max(constants[f"{name}.scale"] for name in parts)
        assert len({float(constants[f"{name}.scale"]) for name in parts}) == 2


def test_logits_of_both_signs_use_all_steps_from_the_lowest_to_the_highest(float_model: FloatModel, table: RangesTable) -> None:
    model = written(float_model, table, first_and_last=True)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    scale, zero_point = constants["logits.scale"], int(constants["logits.zero_point"])
    reached = table.tensors["logits"]
    assert reached.low < 0 < reached.high
    np.testing.assert_allclose((0 - zero_point) * scale, reached.low, atol=scale)
    np.testing.assert_allclose((255 - zero_point) * scale, reached.high, atol=scale)


def test_a_bias_far_beyond_its_weights_does_not_overflow(
    lively_network: Any, write_model: Write, ranges_of: Callable[..., RangesTable], tmp_path: Path
) -> None:
    """A channel that training switched off: no weights to speak of, all bias; and one with nothing at all."""
    import copy

    network = copy.deepcopy(lively_network)
    unit = network.encoder[2].convs[0]
    unit.conv.weight.data[:2] *= 1e-12
    unit.norm.running_mean.data[:2] = 0
    unit.norm.bias.data[:2] = 3.0
    unit.conv.weight.data[2] = 0
    unit.norm.running_mean.data[2] = unit.norm.bias.data[2] = 0
    path = write_model(tmp_path / "m.onnx", network=network)
    model = FloatModel.read(path)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in written(model, ranges_of(model.network)).graph.initializer}
    bias = constants["encoder.2.convs.0.conv.bias.quantized"] * constants["encoder.2.convs.0.conv.bias.scale"].astype(np.float64)
    np.testing.assert_allclose(bias[:3], [3, 3, 0], rtol=1e-6)

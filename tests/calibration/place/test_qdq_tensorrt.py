"""TensorRT's rules, each by counting nodes in the written graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineside.calibration.place.quantize import QuantizeOptions, quantized
from lineside.calibration.ranges.table import RangesTable
from lineside.graph.float_model import FloatModel

onnx = pytest.importorskip("onnx", reason="INT8 files are ONNX")
pytest.importorskip("onnxruntime", reason="it measures the ranges")

Write = Callable[..., Path]
FLOAT, FLOAT16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
ENDS = {"encoder.0.convs.0.conv", "logits"}
RESTS = pytest.mark.parametrize("rest", ["fp16", "fp32"])


class Graph:
    """A written graph, to be asked."""

    def __init__(self, model: Any) -> None:
        self.nodes = list(model.graph.node)
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        values = (*model.graph.input, *model.graph.output, *model.graph.value_info)
        self.types = {value.name: value.type.tensor_type.elem_type for value in values}
        self.types |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}

    def of(self, *kinds: str) -> list[Any]:
        return [node for node in self.nodes if node.op_type in kinds]

    def maker(self, name: str) -> str:
        return self.makers[name].op_type if name in self.makers else "constant"

    def scale(self, name: str) -> Any:
        """Of the DequantizeLinear that makes the tensor."""
        return self.constants[self.makers[name].input[1]]


@pytest.fixture(scope="module")
def float_model(write_model: Write, tmp_path_factory: pytest.TempPathFactory) -> FloatModel:
    return FloatModel.read(write_model(tmp_path_factory.mktemp("float") / "m.onnx"))


@pytest.fixture(scope="module")
def table(float_model: FloatModel, ranges_of: Callable[..., RangesTable]) -> RangesTable:
    return ranges_of(float_model.network)


@pytest.fixture(scope="module")
def write(float_model: FloatModel, table: RangesTable) -> Callable[..., Graph]:
    """A function that gives the graph written with some options."""

    def graph(**options: Any) -> Graph:
        return Graph(quantized(float_model.network.model, table, QuantizeOptions(target="tensorrt", **options), path=float_model.path))

    return graph


@RESTS
def test_every_quantised_convolution_reads_dequantised_integers_alone(write: Callable[..., Graph], rest: str) -> None:
    graph = write(rest=rest)
    convs = [node for node in graph.of("Conv") if node.name not in ENDS]
    assert len(convs) == 26
    assert {graph.maker(name) for conv in convs for name in conv.input[:2]} == {"DequantizeLinear"}
    # one pair per convolution's input, one DequantizeLinear per weight, and nothing else
    assert len(graph.of("QuantizeLinear")) == 26
    assert len(graph.of("DequantizeLinear")) == 2 * 26


@RESTS
def test_no_output_of_a_convolution_is_quantised_but_behind_its_activation(write: Callable[..., Graph], rest: str) -> None:
    graph = write(rest=rest)
    assert {graph.maker(node.input[0]) for node in graph.of("QuantizeLinear")} == {"Relu", "MaxPool", "Concat", "Resize"}


@RESTS
def test_all_zero_points_are_0_and_int8(write: Callable[..., Graph], rest: str) -> None:
    graph = write(rest=rest)
    points = [graph.constants[node.input[2]] for node in graph.of("QuantizeLinear", "DequantizeLinear")]
    assert len(points) == 78
    assert {point.dtype for point in points} == {np.dtype(np.int8)}
    assert not any(point.any() for point in points)


@RESTS
def test_activations_have_one_scale_and_weights_one_per_output_channel(write: Callable[..., Graph], rest: str) -> None:
    graph = write(rest=rest)
    assert {graph.constants[node.input[1]].shape for node in graph.of("QuantizeLinear")} == {()}
    for node in graph.of("DequantizeLinear"):
        if node.input[0] in graph.constants:
            weights = graph.constants[node.input[0]]
            assert graph.constants[node.input[1]].shape == (len(weights),)
            assert [attribute.i for attribute in node.attribute if attribute.name == "axis"] == [0]


def test_a_scale_is_the_range_by_127(write: Callable[..., Graph], table: RangesTable) -> None:
    graph = write(rest="fp32")
    found = graph.scale("encoder.1.convs.0.relu.dequantized")
    np.testing.assert_allclose(found, table.tensors["encoder.1.convs.0.relu"].high / 127, rtol=1e-6)


@RESTS
def test_weights_are_stored_as_int8_and_come_back_within_half_a_step(
    write: Callable[..., Graph], float_model: FloatModel, rest: str
) -> None:
    graph = write(rest=rest)
    given = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in float_model.network.model.graph.initializer}
    for conv in (node for node in graph.of("Conv") if node.name not in ENDS):
        stored = graph.makers[conv.input[1]].input[0]
        assert graph.constants[stored].dtype == np.int8
        assert f"{conv.name}.weight" not in graph.constants, "the float weights are still in the file"
        expected = given[f"{conv.name}.weight"]
        scales = graph.scale(conv.input[1]).astype(np.float64).reshape(-1, 1, 1, 1)
        # an FP16 scale may be rounded down by 2^-11 of itself: the largest weight then lies 127 * 2^-11 of a step beyond 127
        assert (np.abs(graph.constants[stored] * scales - expected) <= scales * (0.5 + (0.07 if rest == "fp16" else 1e-5))).all()
        assert np.abs(graph.constants[stored]).max(axis=(1, 2, 3)).min() >= 126, "a channel does not use its range"


@RESTS
def test_the_bias_stays_float(write: Callable[..., Graph], rest: str) -> None:
    graph = write(rest=rest)
    assert {graph.maker(conv.input[2]) for conv in graph.of("Conv")} == {"constant"}
    assert {graph.types[conv.input[2]] for conv in graph.of("Conv")} == {FLOAT16 if rest == "fp16" else FLOAT}


@RESTS
def test_nothing_is_quantised_before_a_resize_but_behind_it(write: Callable[..., Graph], rest: str) -> None:
    graph = write(rest=rest, first_and_last=True)
    assert len(graph.of("Resize")) == 5
    for node in graph.of("Resize"):
        assert graph.maker(node.input[0]) == "Relu"
        assert [reader.op_type for reader in graph.nodes if node.output[0] in reader.input] == ["QuantizeLinear"]


def test_what_goes_into_a_concatenation_shares_the_scale_of_what_comes_out(write: Callable[..., Graph], table: RangesTable) -> None:
    graph = write(rest="fp32")
    for below in range(5):
        concat, skip = f"decoder.{below}.concat", 4 - below
        scale = graph.scale(f"{concat}.dequantized")
        widest = max(table.tensors[concat].high, table.tensors[f"encoder.{skip}.convs.1.relu"].high)
        np.testing.assert_allclose(scale, widest / 127, rtol=1e-6)
        # the skip is pooled too, and quantised once for both
        assert graph.scale(f"encoder.{skip + 1}.pool.dequantized") == scale


def test_a_concatenation_that_stays_float_does_not_widen_the_scale_of_its_skip(write: Callable[..., Graph], table: RangesTable) -> None:
    graph = write(rest="fp32", keep=frozenset({"decoder.4.merge.0.conv"}))
    np.testing.assert_allclose(graph.scale("encoder.1.pool.dequantized"), table.tensors["encoder.0.convs.1.relu"].high / 127, rtol=1e-6)


@RESTS
def test_the_first_and_the_last_convolution_stay_unless_asked(write: Callable[..., Graph], rest: str) -> None:
    graph = write(rest=rest)
    for conv in (node for node in graph.of("Conv") if node.name in ENDS):
        assert "DequantizeLinear" not in {graph.maker(name) for name in conv.input}
    graph = write(rest=rest, first_and_last=True)
    assert len(graph.of("QuantizeLinear")) == 28
    assert {graph.maker(name) for conv in graph.of("Conv") for name in conv.input[:2]} == {"DequantizeLinear"}


def test_everything_else_is_fp16(write: Callable[..., Graph]) -> None:
    graph = write()
    for node in graph.of("Conv", "Relu", "MaxPool", "Resize", "DequantizeLinear"):
        assert graph.types[node.output[0]] == FLOAT16, node.name
    assert {graph.types[node.input[0]] for node in graph.of("QuantizeLinear")} == {FLOAT16}
    assert {graph.types[node.input[1]] for node in graph.of("QuantizeLinear", "DequantizeLinear")} == {FLOAT16}
    # one where the network begins and one where it ends: nothing stands between a DequantizeLinear and its convolution
    assert len(graph.of("Cast")) == 2


def test_fp16_scales_need_opset_19(float_model: FloatModel, table: RangesTable) -> None:
    opsets = {
        rest: quantized(float_model.network.model, table, QuantizeOptions(target="tensorrt", rest=rest), path=float_model.path).opset_import
        for rest in ("fp16", "fp32")
    }
    assert opsets["fp16"][0].version == 19
    assert opsets["fp32"][0].version == 18


def test_a_channel_without_weights_has_a_scale_above_0(
    lively_network: Any, write_model: Write, ranges_of: Callable[..., RangesTable], tmp_path: Path
) -> None:
    """TensorRT refuses a scale of 0."""
    import copy

    network = copy.deepcopy(lively_network)
    network.encoder[2].convs[0].conv.weight.data[1] = 0
    path = write_model(tmp_path / "m.onnx", network=network)
    opened = FloatModel.read(path)
    graph = Graph(quantized(opened.network.model, ranges_of(opened.network), QuantizeOptions(target="tensorrt"), path=path))
    assert all((graph.constants[node.input[1]] > 0).all() for node in graph.of("QuantizeLinear", "DequantizeLinear"))

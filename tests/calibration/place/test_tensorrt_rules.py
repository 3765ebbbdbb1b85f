"""Each rule of TensorRT's for Q/DQ nodes, broken once, in graphs of a few nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="graphs are ONNX")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from lineside.calibration.place.tensorrt_rules import broken_rules  # noqa: E402


def graph(nodes: list[Any], **constants: Any) -> Any:
    """A model of `nodes` with numpy constants."""
    made = helper.make_graph(
        nodes,
        "rules",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 19)])


def pair(source: str, target: str, scale: str = "s", point: str = "z") -> list[Any]:
    """A Q/DQ pair."""
    return [
        helper.make_node("QuantizeLinear", [source, scale, point], [f"{target}.q"], name=f"{target}.Q"),
        helper.make_node("DequantizeLinear", [f"{target}.q", scale, point], [target], name=f"{target}.DQ"),
    ]


S, Z = np.float32(0.5), np.int8(0)
WEIGHTS = np.zeros((3, 2, 1, 1), np.int8)


def weights(axis: int = 0) -> Any:
    return helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], name="weights", axis=axis)


def test_a_convolution_of_quantised_inputs_keeps_all_rules() -> None:
    nodes = [*pair("x", "xd"), weights(), helper.make_node("Conv", ["xd", "wd"], ["y"], name="conv")]
    assert broken_rules(graph(nodes, s=S, z=Z, w=WEIGHTS, ws=np.full(3, S), wz=np.zeros(3, np.int8))) == ()


@pytest.mark.parametrize(
    ("constants", "found"),
    [
        ({"z": np.int8(3)}, "zero point 3"),
        ({"z": np.uint8(0)}, "uint8"),
        ({"s": np.float32(0)}, "scale of 0"),
        ({"s": np.full(2, S), "z": np.zeros(2, np.int8)}, "one per tensor"),
    ],
)
def test_an_activation_has_one_positive_scale_and_the_zero_point_0(constants: dict[str, Any], found: str) -> None:
    sentences = broken_rules(graph(pair("x", "y"), **{"s": S, "z": Z, **constants}))
    assert len(sentences) == 2  # of the quantiser and of the dequantiser
    assert all(found in sentence and sentence.startswith("y.") for sentence in sentences)


def test_without_a_zero_point_onnx_means_uint8() -> None:
    (sentence,) = broken_rules(graph([helper.make_node("QuantizeLinear", ["x", "s"], ["y"], name="q")], s=S))
    assert "uint8" in sentence


@pytest.mark.parametrize(("scales", "axis"), [(np.full(2, S), 1), (np.full(1, S), 0)])
def test_weights_have_a_scale_per_output_channel(scales: Any, axis: int) -> None:
    nodes = [weights(axis), helper.make_node("Conv", ["x", "wd"], ["y"], name="conv")]
    sentences = broken_rules(graph(nodes, w=WEIGHTS, ws=scales, wz=np.zeros(len(scales), np.int8)))
    assert ["output channel" in sentence for sentence in sentences] == [True]


def test_a_bias_stays_float() -> None:
    nodes = [helper.make_node("DequantizeLinear", ["b", "bs", "bz"], ["y"], name="bias", axis=0)]
    (sentence,) = broken_rules(graph(nodes, b=np.zeros(3, np.int32), bs=np.full(3, S), bz=np.zeros(3, np.int32)))
    assert "bias as float" in sentence


def test_no_pair_stands_before_a_resize() -> None:
    resize = helper.make_node("Resize", ["xd", "", "two"], ["y"], name="up")
    (sentence,) = broken_rules(graph([*pair("x", "xd"), resize], s=S, z=Z, two=np.float32([1, 1, 2, 2])))
    assert sentence.startswith("up:")


def test_the_inputs_of_a_concat_share_a_scale() -> None:
    nodes = [*pair("x", "a"), *pair("x", "b", scale="t"), helper.make_node("Concat", ["a", "b"], ["y"], name="join", axis=1)]
    assert broken_rules(graph(nodes, s=S, t=S, z=Z)) == ()
    (sentence,) = broken_rules(graph(nodes, s=S, t=np.float32(0.25), z=Z))
    assert "0.25, 0.5" in sentence


def test_computed_scales_are_refused() -> None:
    nodes = [helper.make_node("ReduceMax", ["x"], ["s"], name="max", keepdims=0), *pair("x", "y")]
    assert ["computed scale" in sentence for sentence in broken_rules(graph(nodes, z=Z))] == [True, True]

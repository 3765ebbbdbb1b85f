"""Make the tiny models that the tests of engine/ inspect with: python tests/engine/models/make.py

They hold no weights: heat = max(0, Target - max(Ref1, Ref2)), which a test computes again in numpy. They are committed, because the line
PC that the tests stand for has no `onnx`. Opset 13 and IR 8, so that every supported ONNX Runtime takes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from lineside.manifest import ModelManifest
from lineside.spec import PRESETS, StripSpec

HERE = Path(__file__).parent
SMALL = StripSpec(height_px=64, width_px=96, tile_px=32, rows=3, columns=4)
THRESHOLD = 0.25


def manifest(spec: StripSpec = SMALL, io: Any = "production") -> dict[str, str]:
    """Metadata as the exporter writes it, with hashes that no model has."""
    made = ModelManifest(
        spec=spec,
        tiling="full",
        io=io,
        threshold=THRESHOLD,
        base_channels=1,
        weights_sha256="0" * 64,
        checkpoint_sha256="1" * 64,
        versions={},
    )
    return made.to_properties()


def heat(source: str) -> list[onnx.NodeProto]:
    """`heat` (N, 1, H, W) from the first three of four channels of `source`."""
    nodes = [
        helper.make_node("Split", [source], ["target", "ref1", "ref2", "mask"], axis=1)
        if source == "scaled"
        else helper.make_node("Split", [source], ["target", "ref1", "ref2"], axis=1)
    ]
    return [
        *nodes,
        helper.make_node("Max", ["ref1", "ref2"], ["reference"]),
        helper.make_node("Sub", ["target", "reference"], ["difference"]),
        helper.make_node("Relu", ["difference"], ["heat"]),
    ]


def save(name: str, nodes: list[onnx.NodeProto], inputs: list[Any], outputs: list[Any], properties: dict[str, str]) -> None:
    """Write one model."""
    constants = [helper.make_tensor("white", TensorProto.FLOAT, [], [255.0]), helper.make_tensor("four", TensorProto.FLOAT, [], [4.0])]
    constants.append(helper.make_tensor("half", TensorProto.FLOAT, [], [0.5]))
    used = {taken for node in nodes for taken in node.input}
    graph = helper.make_graph(nodes, name, inputs, outputs, [constant for constant in constants if constant.name in used])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name="lineside tests")
    helper.set_model_props(model, properties)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, HERE / f"{name}.onnx")


def production(
    name: str,
    *,
    spec: StripSpec = SMALL,
    batch: int | str = "N",
    properties: dict[str, str] | None = None,
    last: list[onnx.NodeProto] | None = None,
    input_name: str = "input",
) -> None:
    """`input` -> `output` = heat, zeros, zeros; `last` makes `answer` from `heat` (default: the same)."""
    size = [spec.height_px, spec.width_px]
    nodes = [
        *heat(input_name),
        *(last or [helper.make_node("Identity", ["heat"], ["answer"])]),
        helper.make_node("Sub", ["heat", "heat"], ["zero"]),
        helper.make_node("Concat", ["answer", "zero", "zero"], ["output"], axis=1),
    ]
    save(
        name,
        nodes,
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, [batch, 3, *size])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, 3, *size])],
        manifest(spec) if properties is None else properties,
    )


def raw(name: str, kind: int, *, score: str = "ReduceMax") -> None:
    """`strip` -> `heatmap`, `score`."""
    size = [SMALL.height_px, SMALL.width_px]
    nodes = [
        helper.make_node("Cast", ["strip"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["values", "white"], ["scaled"]),
        *heat("scaled"),
        helper.make_node("Identity", ["heat"], ["heatmap"]),
        helper.make_node(score, ["heat"], ["score"], axes=[1, 2, 3], keepdims=0),
    ]
    save(
        name,
        nodes,
        [helper.make_tensor_value_info("strip", kind, ["N", 4, *size])],
        [
            helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, ["N", 1, *size]),
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
        ],
        manifest(io="raw"),
    )


if __name__ == "__main__":
    production("production")
    production("line", spec=PRESETS["strip"])
    production("fixed", batch=4)
    production("bare", properties={})
    production("resized", properties=manifest(PRESETS["strip"]))
    production("renamed", input_name="image")
    production("old_schema", properties={"lineside.schema": "0"})
    production("nan", last=[helper.make_node("Div", ["heat", "heat"], ["answer"])])
    production("loud", last=[helper.make_node("Mul", ["heat", "four"], ["answer"])])
    production("dim", last=[helper.make_node("Mul", ["heat", "half"], ["answer"])])
    production("other", properties={**manifest(), "lineside.weights_sha256": "2" * 64})
    raw("raw", TensorProto.UINT8)
    raw("raw_float", TensorProto.FLOAT)
    raw("lying", TensorProto.UINT8, score="ReduceMin")

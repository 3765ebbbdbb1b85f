"""Put a changed network back into the model that it was taken from, into every copy.

In:   a `Network`, and its `patch_model` after it was changed: `tiles` float32 in, `logits` float32 out.
Out:  the whole model with that network in place of the old one. What is around the network keeps its nodes, names and
      types: cutting, softmax, stitching, inputs and outputs.
Every tensor of a further copy of an unrolled model carries the copy's number; the weights stay shared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lineside._optional import require

from .network import TILES, Network

if TYPE_CHECKING:
    import onnx

AXES_ARE_INPUTS = 18
"""From this opset on ReduceMax takes its axes as an input: the one operator of ours whose form changed after opset 13."""


def spliced(network: Network, patch: onnx.ModelProto, properties: Mapping[str, str]) -> onnx.ModelProto:
    """A copy of `network.model` that computes the network as `patch` does.

    Args:
        network: Where the patch was taken from.
        patch: The changed `network.patch_model()`, of the same opset or a newer one, which the whole model then has.
        properties: Metadata of the result, beside what is there.
    """
    helper = require("onnx.helper", extra="export")
    model: onnx.ModelProto = type(patch)()
    model.CopyFrom(network.model)
    raise_opset(model, patch.opset_import[0].version)
    inside = {node.name for node in network.nodes}
    starts = _first_nodes(network)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.name in starts:
            nodes.extend(_copy(patch, network, starts[node.name]))
        elif node.name not in inside:
            nodes.append(node)
    # where both have an initializer of one name, the patch's is the changed one
    initializers = {tensor.name: tensor for tensor in (*model.graph.initializer, *patch.graph.initializer)}
    # what a node of the patch makes under the name of an old initializer takes its place
    used = {name for node in nodes for name in node.input} - {name for node in nodes for name in node.output}
    replace(model.graph.node, nodes)
    replace(model.graph.initializer, [tensor for name, tensor in initializers.items() if name in used])
    helper.set_model_props(model, {entry.key: entry.value for entry in model.metadata_props} | dict(properties))
    return with_shapes(model)


def raise_opset(model: onnx.ModelProto, version: int) -> None:
    """Make `model`, of opset 13 or newer, one of opset `version` in place, if it is older."""
    helper = require("onnx.helper", extra="export")
    (opset,) = model.opset_import
    if opset.version >= version:
        return
    if opset.version < AXES_ARE_INPUTS:
        for node in model.graph.node:
            if node.op_type == "ReduceMax":
                _axes_to_input(node, model.graph)
    opset.version = version
    model.ir_version = max(model.ir_version, helper.find_min_ir_version_for([opset]))


def with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with the type and shape of every tensor worked out again; types that do not fit raise, as a bug of ours."""
    inference = require("onnx.shape_inference", extra="export")
    del model.graph.value_info[:]
    inferred: onnx.ModelProto = inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    return inferred


def _first_nodes(network: Network) -> dict[str, int]:
    """The name of the node that each copy begins with -> the number of the copy."""
    starts: dict[int, str] = {}
    for node in network.nodes:
        starts.setdefault(int(node.name.partition("@")[2] or 0), node.name)
    return {name: number for number, name in starts.items()}


def _copy(patch: onnx.ModelProto, network: Network, number: int) -> list[onnx.NodeProto]:
    """The nodes of `patch` as copy `number` of the network."""
    shared = {"", *(tensor.name for tensor in patch.graph.initializer)}

    def renamed(name: str) -> str:
        if name in shared:
            return name
        if name == TILES:
            return network.inputs[number]
        return f"{name}@{number}" if number else name

    nodes = []
    for node in patch.graph.node:
        copy: Any = type(node)()
        copy.CopyFrom(node)
        copy.name = renamed(node.name)
        copy.input[:] = map(renamed, node.input)
        copy.output[:] = map(renamed, node.output)
        nodes.append(copy)
    return nodes


def _axes_to_input(node: onnx.NodeProto, graph: onnx.GraphProto) -> None:
    numpy_helper = require("onnx.numpy_helper", extra="export")
    (attribute,) = (attribute for attribute in node.attribute if attribute.name == "axes")
    name = f"{node.name}.axes"
    graph.initializer.append(numpy_helper.from_array(np.array(attribute.ints, np.int64), name))
    node.input.append(name)
    node.attribute.remove(attribute)


def replace(field: Any, values: list[Any]) -> None:
    """Set a repeated field of a protobuf message, whose own elements may be among `values`."""
    kept = [type(value).FromString(value.SerializeToString()) for value in values]
    del field[:]
    field.extend(kept)

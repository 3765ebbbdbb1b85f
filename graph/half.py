"""Give a network half precision: FP16 inside, float32 around it.

In:   a float32 model of `lineside export`.
Out:  the model with the network's tensors and weights in FP16, except the layers that are to stay float32. Cutting,
      softmax, stitching, inputs and outputs stay float32: a caller sees no difference but speed.
The casting is ONNX Runtime's float16 tool. It runs on the network alone: given the whole model it would round the outputs
through FP16. What it leaves behind is put right here: nodes out of order, casts written twice, values of two float32
layers that go through FP16 on the way from one to the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from lineside._optional import require

from .float_model import FloatModel
from .layers import before_convolutions, layers_of
from .names import Names
from .network import TILES, Network
from .precision_mark import PrecisionMark

if TYPE_CHECKING:
    import onnx

FLOAT = 1
FLOAT16 = 10
"""ONNX's numbers of the two types."""


def halved(source: FloatModel, kept: Mapping[str, str] | None = None) -> onnx.ModelProto:
    """The model with its network in FP16, in a new model whose manifest says which layers were kept and why.

    Args:
        source: A float32 model of ours or of another program; it is not changed.
        kept: Names of convolutions whose layers stay float32 -> why.
    """
    kept = dict(kept or {})
    patch = source.network.patch_model()
    in_float = {node.name for layer in layers_of(patch) if layer.name in kept for node in layer.nodes}
    patch = in_half(patch, keep=in_float | behind_the_network(source.network))
    return source.with_network(patch, PrecisionMark(precision="fp16", kept=kept))


def behind_the_network(network: Network) -> set[str]:
    """Names of the nodes behind the last convolutions of another program's graph: its softmax, or whatever it has. They stay float32."""
    if not network.whole:
        return set()
    needed = before_convolutions(network.nodes)
    return {node.name for node in network.nodes if node.op_type != "Conv" and needed.isdisjoint(node.output)}


def in_half(patch: onnx.ModelProto, *, keep: Collection[str] = ()) -> onnx.ModelProto:
    """A patch model with FP16 inside and float32 at both ends.

    Args:
        patch: A float32 patch model, with or without Q/DQ nodes. It is not changed.
        keep: Names of nodes that stay float32.
    """
    tool = require("onnxruntime.transformers.float16", extra="export")
    converted: onnx.ModelProto = tool.convert_float_to_float16(
        patch, keep_io_types=True, op_block_list=[], node_block_list=list(keep), disable_shape_infer=False
    )
    ends = [value.name for value in patch.graph.output]
    nodes = _without_detours(list(converted.graph.node), ends)
    _give_names(nodes, ends, patch)
    nodes = _in_order(_with_own_constants(nodes, converted.graph, patch.graph.initializer), converted.graph)
    del converted.graph.node[:], converted.graph.value_info[:]
    converted.graph.node.extend(nodes)
    return converted


def _without_detours(nodes: Iterable[onnx.NodeProto], ends: Collection[str]) -> list[onnx.NodeProto]:
    """Each cast once, and none where a float32 value would go through FP16 to a float32 node: no rounding, no overflow."""
    once = {node.output[0]: node for node in nodes}
    halved = {name: node.input[0] for name, node in once.items() if _casts_to(node, FLOAT16)}
    restored = {name: halved[node.input[0]] for name, node in once.items() if _casts_to(node, FLOAT) and node.input[0] in halved}
    for name in restored:
        del once[name]
    # a value goes by the name it had before the detour, except that the network's outputs keep their own
    straight = {before: before for before in restored.values()} | {restored[end]: end for end in ends if end in restored}
    straight |= {name: straight[before] for name, before in restored.items()}
    _rename(once.values(), straight)
    read = {name for node in once.values() for name in node.input}
    return [node for name, node in once.items() if name in read or name in ends or not _casts_to(node, FLOAT16)]


def _give_names(nodes: Collection[onnx.NodeProto], ends: Iterable[str], patch: onnx.ModelProto) -> None:
    """The tool's casts by our rule: what they make is TENSOR.float32 or TENSOR.float16."""
    wanted = {"graph_input_cast_0": f"{TILES}.float16"} | {f"graph_output_cast_{at}": f"{end}.float16" for at, end in enumerate(ends)}
    for name in (name for node in nodes for name in (*node.input, *node.output)):
        for ending in ("_cast_to_fp32", "_cast_to_fp16"):
            if name.endswith(ending):
                wanted[name] = f"{name.removesuffix(ending)}.float32"
    names = Names.of(patch.graph)
    _rename(nodes, {name: names.fresh(ours) for name, ours in wanted.items()})
    for node in nodes:
        if node.op_type == "Cast":
            node.name = names.fresh(f"{node.output[0]}.cast")


def _with_own_constants(nodes: Iterable[onnx.NodeProto], graph: onnx.GraphProto, given: Iterable[onnx.TensorProto]) -> list[onnx.NodeProto]:
    """A float32 node that shares a constant with FP16 ones gets the constant as it was given, in place of a cast of it."""
    constants = {tensor.name: tensor for tensor in given}
    kept = []
    for node in nodes:
        if _casts_to(node, FLOAT) and node.input[0] in constants:
            own = graph.initializer.add()
            own.CopyFrom(constants[node.input[0]])
            own.name = node.output[0]
        else:
            kept.append(node)
    return kept


def _in_order(nodes: Iterable[onnx.NodeProto], graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes so that each one follows those that it reads; otherwise in the order they had."""
    known = {"", *(value.name for value in (*graph.input, *graph.initializer))}
    waiting, ordered = list(nodes), []
    while waiting:
        ready = []
        for node in waiting:
            if known.issuperset(node.input):
                known.update(node.output)
                ready.append(node)
        assert ready, "a network has no circles, and reads nothing that is not there"
        ordered += ready
        done = {id(node) for node in ready}
        waiting = [node for node in waiting if id(node) not in done]
    return ordered


def _casts_to(node: onnx.NodeProto, kind: int) -> bool:
    return node.op_type == "Cast" and any(attribute.name == "to" and attribute.i == kind for attribute in node.attribute)


def _rename(nodes: Iterable[onnx.NodeProto], names: Mapping[str, str]) -> None:
    for node in nodes:
        for values in (node.input, node.output):
            values[:] = [names.get(value, value) for value in values]

"""Turn the modules of this folder into ONNX nodes, by tracing them with torch.fx.

In:   a module tree of `modules.py`, batch norms folded, and a GraphWriter.
Out:  nodes in the writer, and the names of the graph's outputs.

Why not torch.onnx.export: its TorchDynamo path writes opset 18 and up only, its TorchScript path is deprecated, and both
name tensors by counting. Callers need opset 11 (design 4), and calibration needs a tensor to have the same name in every
tiling and io form (design 5). The modules stay the only description of the model: tracing them takes a dozen operations,
and `check.py` compares every file with PyTorch before it is kept. An operation that is not among them is a bug of ours
and raises NotImplementedError with its name.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from .writer import GraphWriter

NETWORK = "network."
"""Scopes are named from here on, so that what is around the network does not change the names within it."""
WHOLE = 2**63 - 1

Call = Any
"""An fx.Node. Its arguments may be anything, which is all that its type says of them."""
Names = dict[Call, str]
_Write = Callable[[Call, Names, GraphWriter], str]


def write_graph(model: nn.Module, writer: GraphWriter, *, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Trace `model` and write its nodes; the graph's inputs and outputs get these names.

    The tensors of `writer.integer_values` are cast where the model says `.float()`; all others are float32 already.

    Raises:
        NotImplementedError: The model uses an operation that has no ONNX form here.
    """
    names: Names = {}
    given = iter(inputs)
    traced = fx.symbolic_trace(model)
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            names[node] = next(given)
        elif node.op == "output":
            _name_outputs(node.args[0], names, writer, outputs)
        elif node.op == "call_module":
            names[node] = _module(node, model.get_submodule(node.target), names, writer)
        elif node.op == "get_attr":
            names[node] = _constant(operator.attrgetter(node.target)(traced), writer)
        else:
            names[node] = _operation(node)(node, names, writer)


def _name_outputs(results: Any, names: Names, writer: GraphWriter, outputs: Sequence[str]) -> None:
    """Give the nodes that make the outputs their public names, wherever those are read."""
    results = results if isinstance(results, tuple) else (results,)
    public = {names[result]: output for result, output in zip(results, outputs, strict=True)}
    for node in writer.nodes:
        for values in (node.input, node.output):
            values[:] = [public.get(value, value) for value in values]


def _scope(node: Call) -> str:
    """Where the node stands, from the network on: "encoder.0.convs.1", or the whole path outside of it."""
    stack = list(node.meta.get("nn_module_stack", {}))
    path = stack[-1].split("@")[0] if stack else ""  # fx counts the calls of one module behind an @; so does the writer
    return path.split(NETWORK, 1)[1] if NETWORK in path else path.removesuffix(".network")


def _name(node: Call, operation: str) -> str:
    scope = _scope(node)
    return f"{scope}.{operation}" if scope else operation


def _constant(values: Tensor, writer: GraphWriter) -> str:
    """Named after what it holds: the same constant stands in the file once."""
    array = values.detach().numpy()
    return writer.constant(f"float32.{hashlib.sha256(array.tobytes()).hexdigest()[:12]}", array)


def _module(node: Call, module: nn.Module, names: Names, writer: GraphWriter) -> str:
    source = names[node.args[0]]
    if isinstance(module, nn.Identity):
        return source
    if not isinstance(module, nn.Conv2d) or module.bias is None:
        raise NotImplementedError(f"no ONNX form for {type(module).__name__}")
    name = _scope(node)
    return writer.conv(source, name, module.weight.detach().numpy(), module.bias.detach().numpy(), weights=name)


def _operation(node: Call) -> _Write:
    if node.target not in _OPERATIONS:
        raise NotImplementedError(f"no ONNX form for {node.op} {node.target}")
    return _OPERATIONS[node.target]


def _max_pool(node: Call, names: Names, writer: GraphWriter) -> str:
    side = node.args[1]
    return writer.add("MaxPool", [names[node.args[0]]], _name(node, "pool"), kernel_shape=[side, side], strides=[side, side])


def _interpolate(node: Call, names: Names, writer: GraphWriter) -> str:
    if node.kwargs["mode"] != "bilinear" or not node.kwargs["align_corners"]:
        raise NotImplementedError(f"no ONNX form for interpolate with {node.kwargs}")
    return writer.resize_bilinear(names[node.args[0]], _name(node, "resize"), float(node.kwargs["scale_factor"]))


def _concat(node: Call, names: Names, writer: GraphWriter) -> str:
    return writer.add("Concat", [names[part] for part in node.args[0]], _name(node, "concat"), axis=node.kwargs["dim"])


def _slice(node: Call, names: Names, writer: GraphWriter) -> str:
    ranges = {
        axis: (part.start or 0, WHOLE if part.stop is None else part.stop, part.step or 1)
        for axis, part in enumerate(node.args[1])
        if part != slice(None)
    }
    source = names[node.args[0]]
    name = writer.slice(source, _name(node, "slice"), ranges)
    if source in writer.integer_values:
        writer.integer_values.add(name)
    return name


def _reshape(node: Call, names: Names, writer: GraphWriter) -> str:
    return writer.add("Reshape", [names[node.args[0]], writer.integers(*node.args[1:])], _name(node, "reshape"))


def _softmax(node: Call, names: Names, writer: GraphWriter) -> str:
    return writer.softmax_of_channels(names[node.args[0]], _name(node, "softmax"))


def _pad(node: Call, names: Names, writer: GraphWriter) -> str:
    # PyTorch lists (before, after) from the last axis to the first; ONNX all befores, then all afters, from the first axis on
    flat: tuple[int, ...] = node.args[1]
    pairs = [(0, 0)] * (4 - len(flat) // 2) + list(zip(flat[-2::-2], flat[::-2], strict=True))
    mode = {"constant": "constant", "replicate": "edge"}[node.kwargs.get("mode", "constant")]
    before, after = zip(*pairs, strict=True)
    return writer.pad(names[node.args[0]], _name(node, "pad"), before=before, after=after, mode=mode)


def _to_float(node: Call, names: Names, writer: GraphWriter) -> str:
    source = names[node.args[0]]
    if source not in writer.integer_values:
        return source
    return writer.add("Cast", [source], _name(node, "float"), to=1)


def _value(operand: Any, names: Names, writer: GraphWriter) -> str:
    """The name of an operand: what a node made, or a number of the module."""
    if isinstance(operand, fx.Node):
        return names[operand]
    return writer.constant(f"float32.{operand:.9g}", np.array(operand, np.float32))


def _plain(op: str, name: str = "") -> _Write:
    """An operator whose inputs are the operands, in their order, and nothing else."""

    def write(node: Call, names: Names, writer: GraphWriter) -> str:
        return writer.add(op, [_value(operand, names, writer) for operand in node.args], _name(node, name or op.lower()))

    return write


def _transpose(node: Call, names: Names, writer: GraphWriter) -> str:
    source, first, second = node.args
    perm = list(range(max(first, second) + 1))  # the modules swap the last two axes alone
    perm[first], perm[second] = second, first
    return writer.add("Transpose", [names[source]], _name(node, "transpose"), perm=perm)


def _average(node: Call, names: Names, writer: GraphWriter) -> str:
    side = node.args[1]
    return writer.add("AveragePool", [names[node.args[0]]], _name(node, "average"), kernel_shape=[side, side], strides=[side, side])


def _reduce(what: str) -> _Write:
    def write(node: Call, names: Names, writer: GraphWriter) -> str:
        keep = node.kwargs.get("keepdim", False)
        return writer.reduce(what, names[node.args[0]], _name(node, what.lower()), node.kwargs["dim"], keep=keep)

    return write


_OPERATIONS: dict[Any, _Write] = {
    F.relu: _plain("Relu"),
    F.max_pool2d: _max_pool,
    F.interpolate: _interpolate,
    F.pad: _pad,
    torch.cat: _concat,
    torch.softmax: _softmax,
    torch.amax: _reduce("Max"),
    torch.minimum: _plain("Min"),
    torch.sin: _plain("Sin"),
    torch.sqrt: _plain("Sqrt"),
    F.avg_pool2d: _average,
    operator.getitem: _slice,
    operator.add: _plain("Add"),
    operator.sub: _plain("Sub"),
    operator.mul: _plain("Mul"),
    operator.matmul: _plain("MatMul"),
    operator.truediv: _plain("Div", "divide"),
    # a constant of the module on the left makes methods of the operators
    "add": _plain("Add"),
    "sub": _plain("Sub"),
    "mul": _plain("Mul"),
    "matmul": _plain("MatMul"),
    "div": _plain("Div", "divide"),
    "abs": _plain("Abs"),
    "amax": _reduce("Max"),
    "clamp": _plain("Clip"),
    "float": _to_float,
    "reshape": _reshape,
    "sum": _reduce("Sum"),
    "transpose": _transpose,
}

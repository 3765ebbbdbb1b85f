"""What a graph has to do at least: multiply-adds and bytes.

In:   an ONNX file, and the shapes of its inputs; or a `Network` with shapes, of any precision.
Out:  `Work` of one call: the multiply-adds of its convolutions and matrix products, by the kind of number that they are made on, and the
      bytes that have to move when everything between the layers stays in the caches: the weights, the inputs and the outputs, each once.
      `multiply_adds` of each convolution, for one tile, or for one strip where the network sees it whole.
Runs nothing. Additions, activations, resizing and softmax are not counted: beside the products they are little.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lineside._optional import require
from lineside.errors import ModelError

from .model_file import parse_model
from .network import Network

if TYPE_CHECKING:
    import onnx

Kind = Literal["float32", "int8"]
"""What a CPU multiplies: float16 weights are made float32 first. INT8 is what ONNX Runtime can fuse to it: Q/DQ all around a layer."""
FLOAT32: Kind = "float32"
INT8: Kind = "int8"
_DEQUANTIZE = "DequantizeLinear"
_STANDARD = ("", "ai.onnx")
_UNCOUNTED = ("Attention", "DeformConv", "Einsum", "GRU", "If", "LSTM", "Loop", "RNN", "Scan", "SequenceMap")
"""Operators that multiply, or that hold others which do."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """Of one call."""

    multiply_adds: Mapping[Kind, int]
    nbytes: int

    @property
    def total(self) -> int:
        """Multiply-adds of every kind."""
        return sum(self.multiply_adds.values())

    @property
    def intensity(self) -> float:
        """Multiply-adds per byte."""
        return self.total / self.nbytes


def count_work(path: Path, shapes: Callable[[str], tuple[int, ...] | None], batch: int) -> Work:
    """Count the work of one call.

    Args:
        path: An ONNX file.
        shapes: Of an input, by name; None: what the file says, with `batch` for a first axis that it leaves open.
        batch: Strips, or rows, of one call.

    Raises:
        ModelError: There is nothing to count, or something that multiplies and cannot be counted.
        MissingPackageError: onnx is not installed.
    """
    model = parse_model(path)
    _refuse_uncounted(model.graph, path)
    graph = _with_shapes(model, shapes, batch, path).graph
    sizes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    values = (*graph.input, *graph.output, *graph.value_info)
    sizes |= {value.name: size for value in values if (size := _size(value)) is not None}
    found: Counter[Kind] = Counter()
    quantised = _quantised(graph)
    for node in graph.node:
        counted = _COUNTED.get(node.op_type)
        if counted is not None:
            try:
                found[INT8 if node.op_type in _INTEGER or node.output[0] in quantised else FLOAT32] += counted(node, sizes)
            except KeyError as exc:
                raise _uncountable(path, f"the shape of {exc} cannot be inferred") from exc
    if not found.total():
        raise _uncountable(path, "it has no convolution and no matrix product")
    return Work(multiply_adds=dict(found), nbytes=_least_bytes(path, graph))


def multiply_adds(network: Network) -> dict[str, int]:
    """Multiply-adds of every convolution of one copy, by name, in order."""
    values = (*network.model.graph.value_info, *network.model.graph.output)
    shapes = {value.name: [side.dim_value for side in value.type.tensor_type.shape.dim] for value in values}
    shapes |= {tensor.name: list(tensor.dims) for tensor in network.model.graph.initializer}
    shapes |= {node.output[0]: shapes[node.input[0]] for node in network.nodes if node.op_type == _DEQUANTIZE and node.input[0] in shapes}
    return {
        node.name: prod(shapes[node.input[1]]) * prod(shapes[node.output[0]][2:]) for node in network.first_copy if node.op_type == "Conv"
    }


def _refuse_uncounted(graph: onnx.GraphProto, path: Path) -> None:
    foreign = sorted({f"{node.domain}.{node.op_type}" for node in graph.node if node.domain not in _STANDARD})
    uncounted = foreign or sorted({node.op_type for node in graph.node if node.op_type in _UNCOUNTED})
    if uncounted:
        raise _uncountable(path, f"it holds {', '.join(uncounted)}, whose multiply-adds are not counted")


def _with_shapes(model: onnx.ModelProto, shapes: Callable[[str], tuple[int, ...] | None], batch: int, path: Path) -> onnx.ModelProto:
    """The model with every shape that follows from those of its inputs; it is changed. Raises: ModelError."""
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name in weights or not dims:
            continue
        given = shapes(value.name) or (dims[0].dim_value or batch, *(side.dim_value for side in dims[1:]))
        for side, length in zip(dims, given, strict=True):
            side.dim_value = length
    for value in model.graph.output:  # what they say of open axes is in the way
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    inference = require("onnx.shape_inference", extra="export")
    try:
        inferred: onnx.ModelProto = inference.infer_shapes(model, data_prop=True)
    except inference.InferenceError as exc:
        raise _uncountable(path, f"shapes cannot be inferred: {str(exc).splitlines()[0]}") from exc
    return inferred


def _size(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    """None where a side is not known."""
    shape = value.type.tensor_type.shape
    known = value.type.tensor_type.HasField("shape") and all(side.HasField("dim_value") for side in shape.dim)
    return tuple(side.dim_value for side in shape.dim) if known else None


_Sizes = Mapping[str, tuple[int, ...]]


def _conv(node: onnx.NodeProto, sizes: _Sizes, *, weights: int = 1) -> int:
    """Every output value is a sum over the channels of its group and over the kernel."""
    return prod(sizes[node.output[0]]) * prod(sizes[node.input[weights]][1:])


def _conv_transpose(node: onnx.NodeProto, sizes: _Sizes) -> int:
    """Every input value goes into the channels of its group, over the kernel."""
    return prod(sizes[node.input[0]]) * prod(sizes[node.input[1]][1:])


def _product(node: onnx.NodeProto, sizes: _Sizes) -> int:
    """Every output value is a sum over the last axis of the left side."""
    return prod(sizes[node.output[0]]) * sizes[node.input[0]][-1]


def _gemm(node: onnx.NodeProto, sizes: _Sizes) -> int:
    turned = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return prod(sizes[node.output[0]]) * sizes[node.input[0]][0 if turned else -1]


_COUNTED: Mapping[str, Callable[[Any, _Sizes], int]] = {
    "Conv": _conv,
    "ConvInteger": _conv,
    "QLinearConv": lambda node, sizes: _conv(node, sizes, weights=3),
    "ConvTranspose": _conv_transpose,
    "MatMul": _product,
    "MatMulInteger": _product,
    "QLinearMatMul": _product,
    "Gemm": _gemm,
}
_INTEGER = ("ConvInteger", "QLinearConv", "MatMulInteger", "QLinearMatMul")


def _quantised(graph: onnx.GraphProto) -> set[str]:
    """Outputs of layers that read DequantizeLinear alone and are read by QuantizeLinear alone, or by a Relu that is."""
    made = {name: node.op_type for node in graph.node for name in node.output}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def read_as_integers(name: str) -> bool:
        kinds = {node.op_type for node in readers.get(name, [])}
        return kinds == {"QuantizeLinear"} or (kinds == {"Relu"} and all(read_as_integers(node.output[0]) for node in readers[name]))

    return {
        node.output[0]
        for node in graph.node
        if node.op_type in _COUNTED
        and all(made.get(name) == _DEQUANTIZE for name in node.input if name)
        and read_as_integers(node.output[0])
    }


def _least_bytes(path: Path, graph: onnx.GraphProto) -> int:
    helper = require("onnx.helper", extra="export")

    def itemsize(kind: int) -> int:
        return int(helper.tensor_dtype_to_np_dtype(kind).itemsize)

    weights = {tensor.name: prod(tensor.dims) * itemsize(tensor.data_type) for tensor in graph.initializer}
    moved: int = sum(weights.values())
    for value in (*graph.input, *graph.output):
        if value.name not in weights:
            size = _size(value)
            if size is None:
                raise _uncountable(path, f"the shape of {value.name} cannot be inferred")
            moved += prod(size) * itemsize(value.type.tensor_type.elem_type)
    return moved


def _uncountable(path: Path, why: str) -> ModelError:
    return ModelError(f"{path}: its work cannot be counted", why=why, fix="leave --roofline out")

"""Write quantisation into a network: what a target's rules decide, as QuantizeLinear and DequantizeLinear nodes.

In:   a float32 patch model and a `Placement`, which the rules of `qdq_tensorrt` or `qdq_onnxruntime` make.
Out:  the patch model with Q/DQ pairs at activations, weights stored as integers behind a DequantizeLinear.
Decides nothing: which tensors, which scales and who reads them is in the placement.

Names: TENSOR.quantized, TENSOR.dequantized, and the initializers TENSOR.scale and TENSOR.zero_point; with a number behind them where the
graph has such a name already. A weight that several convolutions share is stored once, and each reads it through a node of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lineside._optional import require
from lineside.graph.layers import Layer
from lineside.graph.names import Names
from lineside.graph.network import TILES

if TYPE_CHECKING:
    import onnx

Rest = Literal["fp16", "fp32"]
"""What is not quantised."""

INT8_MAX = 127
"""Symmetric: -128 is not used for weights, so that a range and its negative round alike."""
INT32_MAX = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Grid:
    """How the values of one activation become integers: value = (integer - zero_point) * scale."""

    scale: float
    zero_point: int
    dtype: str


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where Q/DQ nodes go.

    Attributes:
        activations: Tensor -> its grid; each gets a Q/DQ pair.
        readers: Names of the nodes that read the dequantised values; all others read the float ones.
        weights: Convolution -> the scale of every output channel, (C,) float32; its weights become int8.
        biases: Convolution -> the scale of every output channel of its bias, which becomes int32; others stay float.
        unjoined: Names of Relu nodes that a runtime is not to join with the QuantizeLinear behind them.
        seven_bits: Convolutions whose weights use 7 bits (`pair_sums`).
    """

    activations: Mapping[str, Grid]
    readers: frozenset[str]
    weights: Mapping[str, NDArray[np.float32]]
    biases: Mapping[str, NDArray[np.float32]]
    unjoined: frozenset[str] = frozenset()
    seven_bits: tuple[str, ...] = ()


def groups_of(tensors: Iterable[str], same: Iterable[Collection[str]]) -> list[set[str]]:
    """Tensors that must share a scale, joined: sets of `same` that overlap become one, every other tensor is alone."""
    groups = [{name} for name in tensors]
    for names in same:
        joined = set(names).union(*(group for group in groups if not group.isdisjoint(names)))
        groups = [joined, *(group for group in groups if group.isdisjoint(names))]
    return groups


def convolution_parameters(
    patch: onnx.ModelProto, layers: Iterable[Layer]
) -> Iterator[tuple[Layer, NDArray[np.float32], NDArray[np.float32]]]:
    """For each layer the largest magnitude of the weights of every output channel, (C,) float32, and its bias, (C,) float32."""
    to_array = require("onnx.numpy_helper", extra="export").to_array
    given = {tensor.name: tensor for tensor in patch.graph.initializer}
    for layer in layers:
        weights, bias = (to_array(given[name]) for name in layer.conv.input[1:])
        yield layer, np.abs(weights).max(axis=tuple(range(1, weights.ndim))), bias


def shared_scales(layers: Sequence[Layer], scales: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Convolutions that share their weights share the widest of their scales, channel by channel: the weights are stored once."""
    widest: dict[str, NDArray[np.float32]] = {}
    for layer in layers:
        weights = layer.conv.input[1]
        widest[weights] = np.maximum(widest.get(weights, np.float32(0)), scales[layer.name])
    return {layer.name: widest[layer.conv.input[1]] for layer in layers}


def integers_of(values: NDArray[np.float32], scales: NDArray[np.float32], *, limit: int) -> NDArray[np.float64]:
    """What is stored of weights or a bias: whole numbers in -limit..limit, of the same shape.

    Args:
        values: (C, ...): the first axis is the output channel.
        scales: (C,), of each channel.
    """
    steps = np.rint(values.astype(np.float64) / scales.astype(np.float64).reshape(-1, *[1] * (values.ndim - 1)))
    return np.asarray(np.clip(steps, -limit, limit))


def with_qdq(patch: onnx.ModelProto, placement: Placement) -> onnx.ModelProto:
    """A copy of the patch model with Q/DQ nodes where the placement says."""
    writer = _Writer(patch)
    writer.quantize_activation(TILES, placement)
    for node in patch.graph.node:
        writer.copy(node, placement)
        for name in node.output:
            writer.quantize_activation(name, placement)
    return writer.model()


class _Writer:
    """Collects the nodes and initializers of the new graph."""

    def __init__(self, patch: onnx.ModelProto) -> None:
        self._patch = patch
        self._helper = require("onnx.helper", extra="export")
        self._numpy_helper = require("onnx.numpy_helper", extra="export")
        self._given = {tensor.name: tensor for tensor in patch.graph.initializer}
        self._names = Names.of(patch.graph)
        self._nodes: list[onnx.NodeProto] = []
        self._made: list[onnx.TensorProto] = []
        self._restored: dict[str, str] = {}  # activation -> its dequantised values
        self._stored: dict[tuple[str, bytes], list[str]] = {}  # weights and their scales -> what a DequantizeLinear reads

    def quantize_activation(self, name: str, placement: Placement) -> None:
        """A Q/DQ pair behind the tensor, if it has a grid."""
        grid = placement.activations.get(name)
        if grid is None:
            return
        parameters = [
            self._constant(f"{name}.scale", np.float32(grid.scale)),
            self._constant(f"{name}.zero_point", np.array(grid.zero_point, grid.dtype)),
        ]
        quantized = self._add("QuantizeLinear", [name, *parameters], f"{name}.quantized")
        self._restored[name] = self._add("DequantizeLinear", [quantized, *parameters], f"{name}.dequantized")

    def copy(self, node: onnx.NodeProto, placement: Placement) -> None:
        """The node itself, behind its dequantised inputs."""
        copy: Any = type(node)()
        copy.CopyFrom(node)
        if node.name in placement.readers:
            copy.input[:] = [self._restored.get(name, name) for name in node.input]
        if node.name in placement.weights:
            copy.input[1] = self._dequantized(node.input[1], placement.weights[node.name], np.int8, limit=INT8_MAX)
        if node.name in placement.biases:
            copy.input[2] = self._dequantized(node.input[2], placement.biases[node.name], np.int32, limit=INT32_MAX)
        if node.name in placement.unjoined:
            copy.op_type = "LeakyRelu"  # of slope 0 the same function, under a name that no rule for Q/DQ knows
            copy.attribute.append(self._helper.make_attribute("alpha", 0.0))
        self._nodes.append(copy)

    def model(self) -> onnx.ModelProto:
        """The patch model of what was collected."""
        model: Any = type(self._patch)()
        model.CopyFrom(self._patch)
        for end in (value.name for value in self._patch.graph.output):
            if end in self._restored:
                self._rename({end: self._names.fresh(f"{end}.float"), self._restored[end]: end})  # the network gives what was quantised
        read = {name for node in self._nodes for name in node.input}
        del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
        model.graph.node.extend(self._nodes)
        model.graph.initializer.extend([*(tensor for name, tensor in self._given.items() if name in read), *self._made])
        return model  # type: ignore[no-any-return]

    def _rename(self, names: Mapping[str, str]) -> None:
        for node in self._nodes:
            for values in (node.input, node.output):
                values[:] = [names.get(value, value) for value in values]

    def _dequantized(self, name: str, scales: NDArray[np.float32], dtype: type[np.integer[Any]], *, limit: int) -> str:
        """Store an initializer as integers and return the name of its float values; the first axis is the output channel."""
        key = (name, scales.tobytes())
        if key not in self._stored:
            steps = integers_of(self._numpy_helper.to_array(self._given[name]), scales, limit=limit)
            self._stored[key] = [
                self._constant(f"{name}.quantized", steps.astype(dtype)),
                self._constant(f"{name}.scale", scales),
                self._constant(f"{name}.zero_point", np.zeros(len(scales), dtype)),
            ]
        return self._add("DequantizeLinear", self._stored[key], f"{name}.dequantized", axis=0)

    def _constant(self, name: str, values: Any) -> str:
        free = self._names.fresh(name)
        self._made.append(self._numpy_helper.from_array(np.asarray(values), free))
        return free

    def _add(self, op: str, inputs: Iterable[str], output: str, **attributes: Any) -> str:
        free = self._names.fresh(output)
        self._nodes.append(self._helper.make_node(op, list(inputs), [free], name=free, **attributes))
        return free

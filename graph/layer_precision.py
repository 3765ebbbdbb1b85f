"""The Q/DQ doctor: in which precision each convolution of a file runs, and why not in INT8.

In:   an ONNX file of `lineside export` or `quantize`; of another program's, one that `quantize` made.
Out:  an `Executed` report: per layer the precision as the file's target sees it, the rule that put it out of INT8, and its
      share of the multiply-adds.
Reads the graph and believes it: the metadata only say who asked for a layer to be kept. Runs nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from lineside._optional import require
from lineside.manifest import Precision

from .cost import multiply_adds
from .network import Network, base_name
from .precision_mark import PrecisionMark, is_foreign

if TYPE_CHECKING:
    import onnx

_TYPES: dict[int, Precision] = {1: "fp32", 10: "fp16"}
"""ONNX's numbers of the types that a convolution may have; INT8 is read off its Q/DQ nodes."""

INPUTS = ("input", "weights", "bias")
"""Of a convolution; one of another program whose weights are computed may have no bias."""


@dataclass(frozen=True, kw_only=True)
class ExecutedLayer:
    """One convolution, in all its copies.

    Attributes:
        name: Of the convolution.
        precision: What it runs in.
        why: What keeps it out of the file's precision: the rule that it breaks, or who asked; empty when nothing does.
        share: Of the network's multiply-adds.
    """

    name: str
    precision: Precision
    why: str
    share: float


@dataclass(frozen=True, kw_only=True)
class Executed:
    """How a file runs.

    Attributes:
        target: "tensorrt" or "onnxruntime"; empty for a file without INT8.
        layers: In order.
        cpu: On which CPUs a file for ONNX Runtime computes rightly: "any", "vnni"; empty where it does not say.
        seven_bits: Its convolutions whose weights use 7 bits.
    """

    target: str
    layers: tuple[ExecutedLayer, ...]
    cpu: str = ""
    seven_bits: tuple[str, ...] = ()

    def share(self, precision: Precision) -> float:
        """The share of the multiply-adds that run in `precision`."""
        return sum(layer.share for layer in self.layers if layer.precision == precision)

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        return {
            "target": self.target,
            "cpu": self.cpu,
            "seven_bits": list(self.seven_bits),
            "shares": {precision: self.share(precision) for precision in get_args(Precision)},
            "layers": [asdict(layer) for layer in self.layers],
        }


def executed(model: onnx.ModelProto, *, path: Path) -> Executed:
    """The report on a model of ours, or one of another program that was given a precision here, which was read from `path`.

    Raises:
        ModelError: It has no network of ours.
    """
    mark = PrecisionMark.of(model, path=path)
    target, kept = (mark.target, mark.kept) if mark else ("", {})
    network = Network.all_of(model) if is_foreign(model) else Network.of(model, path=path)
    graph = _Graph.of(model)
    costs = multiply_adds(network)
    broken = dict.fromkeys(costs, "")
    for conv in network.nodes:
        if conv.op_type == "Conv" and target:
            broken[base_name(conv.name)] = broken[base_name(conv.name)] or _BROKEN[target](conv, graph)
    layers = []
    for conv in network.first_copy:
        if conv.op_type == "Conv":
            name, rule = conv.name, broken[conv.name]
            is_int8 = bool(target) and not rule
            layers.append(
                ExecutedLayer(
                    name=name,
                    precision="int8" if is_int8 else graph.types[conv.output[0]],
                    why="" if is_int8 else kept.get(name, rule),
                    share=costs[name] / sum(costs.values()),
                )
            )
    return Executed(target=target, layers=tuple(layers), cpu=mark.cpu if mark else "", seven_bits=mark.seven_bits if mark else ())


@dataclass(frozen=True, kw_only=True)
class _Graph:
    """Who makes and who reads a tensor, its type if it is a float one, and the values of constants."""

    makers: Mapping[str, onnx.NodeProto]
    readers: Mapping[str, Sequence[onnx.NodeProto]]
    types: Mapping[str, Precision]
    constants: Mapping[str, onnx.TensorProto]

    @classmethod
    def of(cls, model: onnx.ModelProto) -> _Graph:
        readers = defaultdict(list)
        for node in model.graph.node:
            for name in node.input:
                readers[name].append(node)
        types = {value.name: _TYPES.get(value.type.tensor_type.elem_type) for value in (*model.graph.value_info, *model.graph.output)}
        return cls(
            makers={name: node for node in model.graph.node for name in node.output},
            readers=readers,
            types={name: kind for name, kind in types.items() if kind is not None},
            constants={tensor.name: tensor for tensor in model.graph.initializer},
        )

    def zero_points(self, name: str) -> NDArray[np.integer[Any]] | None:
        """Those of the DequantizeLinear that makes a tensor; None when none makes it."""
        maker = self.makers.get(name)
        if maker is None or maker.op_type != "DequantizeLinear":
            return None
        if len(maker.input) < 3:
            return np.zeros((), np.uint8)  # ONNX's default
        values: NDArray[np.integer[Any]] = require("onnx.numpy_helper", extra="export").to_array(self.constants[maker.input[2]])
        return values

    def is_quantized(self, name: str) -> bool:
        """Whether QuantizeLinear alone reads a tensor, or an activation that QuantizeLinear alone reads."""
        readers = self.readers.get(name, ())
        if [node.op_type for node in readers] == ["Relu"]:
            readers = self.readers.get(readers[0].output[0], ())
        return {node.op_type for node in readers} == {"QuantizeLinear"}


def _broken_for_tensorrt(conv: onnx.NodeProto, graph: _Graph) -> str:
    """The rule of TensorRT's that a convolution breaks; empty when it runs in INT8."""
    points = dict.fromkeys(INPUTS) | {what: graph.zero_points(name) for what, name in zip(INPUTS, conv.input, strict=False)}
    for what in INPUTS[:2]:
        found = points[what]
        if found is None:
            return f"{what} not quantised: a convolution runs in INT8 when it reads INT8 alone"
        if found.dtype != np.int8 or found.any():
            return f"{what} {found.dtype} with zero point {found.flat[0]}: TensorRT knows int8 with zero point 0 alone"
    return "" if points["bias"] is None else "bias quantised: TensorRT takes it as float"


def _broken_for_onnxruntime(conv: onnx.NodeProto, graph: _Graph) -> str:
    """The rule of ONNX Runtime's that a convolution breaks; empty when it becomes a QLinearConv."""
    for what, name in zip(INPUTS, conv.input, strict=False):
        if graph.zero_points(name) is None:
            return f"{what} not quantised: QLinearConv takes integers alone"
    return "" if graph.is_quantized(conv.output[0]) else "output not quantised: QLinearConv gives integers alone"


_BROKEN: Mapping[str, Callable[[onnx.NodeProto, _Graph], str]] = {
    "tensorrt": _broken_for_tensorrt,
    "onnxruntime": _broken_for_onnxruntime,
}

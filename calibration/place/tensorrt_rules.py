"""Does a graph keep TensorRT's rules for Q/DQ nodes (design 5), wherever it comes from?

In:   an ONNX file that TensorRT is to build.
Out:  one sentence per rule that a node breaks, with the node's name; none when all are kept.
`executed` says which convolutions run in INT8; this says what else TensorRT would refuse or slow down. Reads the graph alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lineside._optional import require

if TYPE_CHECKING:
    import onnx

_Q, _DQ = "QuantizeLinear", "DequantizeLinear"


def broken_rules(model: onnx.ModelProto) -> tuple[str, ...]:
    """What the graph does that TensorRT's explicit quantisation does not take."""
    graph = _Graph(model)
    return tuple(sentence for node in model.graph.node for rule in _RULES.get(node.op_type, ()) for sentence in rule(node, graph))


class _Graph:
    """Who makes a tensor, and the values of constants."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.makers = {name: node for node in model.graph.node for name in node.output}
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._to_array = require("onnx.numpy_helper", extra="export").to_array

    def constant(self, name: str) -> NDArray[Any] | None:
        """The values of a constant; None when the tensor is computed."""
        return self._to_array(self._constants[name]) if name in self._constants else None

    def dequantizer(self, name: str) -> onnx.NodeProto | None:
        """The DequantizeLinear that makes a tensor; None when none does."""
        maker = self.makers.get(name)
        return maker if maker is not None and maker.op_type == _DQ else None


def _zero_point(node: onnx.NodeProto, graph: _Graph) -> Iterator[str]:
    points = graph.constant(node.input[2]) if len(node.input) > 2 else np.zeros((), np.uint8)  # ONNX's default
    if points is None:
        yield f"{node.name}: a computed zero point; TensorRT takes constants"
    elif points.dtype == np.int32:
        yield f"{node.name}: dequantises int32; TensorRT takes a bias as float"
    elif points.dtype != np.int8 or points.any():
        yield f"{node.name}: {points.dtype} with zero point {points.flat[0]}; TensorRT takes int8 with zero point 0"


def _scale(node: onnx.NodeProto, graph: _Graph) -> Iterator[str]:
    scale = graph.constant(node.input[1])
    if scale is None:
        yield f"{node.name}: a computed scale; TensorRT takes constants"
        return
    if not (scale > 0).all():
        yield f"{node.name}: a scale of {scale.min():g}; TensorRT takes positive ones"
    weights = graph.constant(node.input[0])
    if weights is None:
        if scale.size > 1:
            yield f"{node.name}: {scale.size} scales for an activation; TensorRT takes one per tensor"
    elif weights.dtype == np.int8 and weights.ndim == 4:
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        if scale.shape != weights.shape[:1] or axis != 0:
            yield f"{node.name}: {scale.size} scales along axis {axis}; weights have one per output channel (axis 0), or lose precision"


def _resize(node: onnx.NodeProto, graph: _Graph) -> Iterator[str]:
    if graph.dequantizer(node.input[0]) is not None:
        yield f"{node.name}: Q/DQ before a Resize; put it behind"


def _concat(node: onnx.NodeProto, graph: _Graph) -> Iterator[str]:
    quantized = [maker for name in node.input if (maker := graph.dequantizer(name)) is not None]
    scales = {float(scale.flat[0]) for maker in quantized if (scale := graph.constant(maker.input[1])) is not None}
    if len(scales) > 1:
        yield f"{node.name}: its inputs have the scales {', '.join(f'{scale:g}' for scale in sorted(scales))}; they have to share one"


_RULES: dict[str, tuple[Callable[[onnx.NodeProto, _Graph], Iterator[str]], ...]] = {
    _Q: (_zero_point, _scale),
    _DQ: (_zero_point, _scale),
    "Resize": (_resize,),
    "Concat": (_concat,),
}

"""Where ONNX Runtime wants Q/DQ nodes on a CPU, one function per rule.

In:   a float32 patch model, the layers of it that are to run in INT8, a table of ranges, and the type of the rest.
Out:  a `Placement`.

ONNX Runtime joins DequantizeLinear, operator and QuantizeLinear to one integer operator (QLinearConv, QLinearConcat, ...)
only where all inputs and the output are quantised (onnxruntime/core/optimizer/qdq_transformer). So outputs are quantised
too, and the chain of integers breaks nowhere between two layers.

Types: uint8 activations and symmetric int8 weights are what MLAS has its fastest convolution for on x86 (MlasConvSym,
vpdpbusd of AVX-VNNI). A CPU without VNNI adds two products in 16 bits and may saturate: see `pair_sums`. QLinearConv's
scales are float32, so the integer part is float32 in an FP16 rest too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lineside.calibration.ranges.table import RangesTable
from lineside.graph.layers import Layer, layers_of
from lineside.graph.opsets import SCALES_PER_CHANNEL

from .qdq import INT8_MAX, Grid, Placement, Rest, convolution_parameters, groups_of, shared_scales

if TYPE_CHECKING:
    import onnx

OPSETS: dict[Rest, int] = {"fp32": SCALES_PER_CHANNEL, "fp16": SCALES_PER_CHANNEL}
"""The oldest opset that can say what is written here: scales per channel."""
DEFAULT_REST: Rest = "fp32"
"""A CPU computes FP16 in float32, with casts around it."""
INTEGERS_AMONG_HALF = False
"""QLinearConv has float32 scales: Q/DQ nodes and the layers between them are float32 also where the rest is not."""
CONCAT = "Concat"
SATURATES_WITHOUT_VNNI = True
UINT8_MAX = 255
FINEST_BIAS = 2.0**30
"""A bias of a channel is at most this many steps: half of what int32 holds."""


def placement(patch: onnx.ModelProto, layers: Sequence[Layer], table: RangesTable, *, rest: Rest) -> Placement:
    """What ONNX Runtime needs to run `layers` in INT8."""
    tensors = quantized_tensors(layers)
    groups = groups_of(tensors, same_scale(layers))
    grids = {name: activation_grid(group, table) for group in groups for name in group.intersection(tensors)}
    steps = {layer.name: grids[layer.conv.input[0]].scale for layer in layers}
    weights = shared_scales(
        layers,
        {layer.name: weight_scales(largest, bias, steps[layer.name]) for layer, largest, bias in convolution_parameters(patch, layers)},
    )
    biases = {name: bias_scales(scales, steps[name]) for name, scales in weights.items()}
    return Placement(
        activations=grids, readers=readers(patch, layers), weights=weights, biases=biases, unjoined=unjoined(patch, layers, tensors)
    )


def quantized_tensors(layers: Sequence[Layer]) -> set[str]:
    """What a layer takes, what its convolution reads, and what it gives: no float value between two layers."""
    return {name for layer in layers for name in (*layer.takes, layer.conv.input[0], layer.gives)}


def readers(patch: onnx.ModelProto, layers: Sequence[Layer]) -> frozenset[str]:
    """Who reads dequantised values: all, because a layer whose float output is read does not run on integers."""
    return frozenset(node.name for node in patch.graph.node)


def same_scale(layers: Sequence[Layer]) -> list[set[str]]:
    """What goes in and what comes out of a pooling or an upsampling shares a scale: ONNX Runtime has no other form of them.

    A concatenation brings its inputs to the scale of its output, so each may have its own, finer one.
    """
    moved = (layer for layer in layers if layer.before is not None and layer.before.op_type != CONCAT)
    return [{*layer.takes, layer.conv.input[0]} for layer in moved]


def unjoined(patch: onnx.ModelProto, layers: Sequence[Layer], tensors: Collection[str]) -> frozenset[str]:
    """The activations of layers that are kept between quantised ones.

    ONNX Runtime from 1.21 on takes a float convolution between a DequantizeLinear and a QuantizeLinear for one that was
    forgotten, and quantises its weights itself, with one scale for all channels (onnxruntime#22969,
    WeightBiasQuantization). To that end it joins the activation with the QuantizeLinear first.
    """
    integer = {layer.name for layer in layers}
    kept = (layer for layer in layers_of(patch) if layer.name not in integer and not set(layer.takes).isdisjoint(tensors))
    return frozenset(layer.relu.name for layer in kept if layer.relu is not None)


def activation_grid(group: Iterable[str], table: RangesTable) -> Grid:
    """One scale per tensor, all 256 steps from the lowest to the highest value: behind a ReLU from 0 on, zero point 0."""
    low = min(0.0, *(max(table.tensors[name].low, -table.amax(name)) for name in group))
    high = max(0.0, *(min(table.tensors[name].high, table.amax(name)) for name in group))
    scale = (high - low) / UINT8_MAX or 1.0  # a dead tensor
    return Grid(scale=scale, zero_point=round(-low / scale), dtype="uint8")


def weight_scales(largest: NDArray[np.float32], bias: NDArray[np.float32], step: float) -> NDArray[np.float32]:
    """One scale per output channel, not so small that the bias in steps of it and of the input's scale `step` overflows."""
    scales = np.maximum(largest / np.float32(INT8_MAX), np.abs(bias) / np.float32(step * FINEST_BIAS))
    usable: NDArray[np.float32] = np.where(scales > 0, scales, np.float32(1.0)).astype(np.float32)
    return usable


def bias_scales(weight_scales: NDArray[np.float32], step: float) -> NDArray[np.float32]:
    """That of the products: the bias is added to them in int32."""
    scales: NDArray[np.float32] = weight_scales * np.float32(step)
    return scales

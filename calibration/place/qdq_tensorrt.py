"""Where TensorRT wants Q/DQ nodes (design 5), one function per rule.

In:   a float32 patch model, the layers of it that are to run in INT8, a table of ranges, and the type of the rest.
Out:  a `Placement`.

A convolution runs in INT8 when it reads dequantised INT8 alone; its output is not quantised: TensorRT joins the next
layer's QuantizeLinear to it. ("Explicit Quantization", section "Q/DQ Layer-Placement Recommendations", in NVIDIA's
documentation of TensorRT.)

Types: in a strongly typed network a DequantizeLinear gives the type of its scale (onnx-tensorrt's
QuantDequantLinearHelper, 10.0 to 10.x), and the convolution takes that type. So an FP16 rest means FP16 scales, which
ONNX has from opset 19 on; NVIDIA's Model Optimizer raises models to 19 for that (modelopt.onnx.utils). Float32 scales
and a cast behind them would stand between the DequantizeLinear and the convolution it has to be joined with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lineside.calibration.ranges.table import RangesTable
from lineside.graph.layers import Layer
from lineside.graph.opsets import HALF_SCALES, SCALES_PER_CHANNEL

from .qdq import INT8_MAX, Grid, Placement, Rest, convolution_parameters, groups_of

if TYPE_CHECKING:
    import onnx

OPSETS: dict[Rest, int] = {"fp32": SCALES_PER_CHANNEL, "fp16": HALF_SCALES}
"""The oldest opset that can say what is written here: scales per channel, and FP16 scales."""
DEFAULT_REST: Rest = "fp16"
"""Everything that is not quantised is FP16, not FP32 (design 5)."""
INTEGERS_AMONG_HALF = True
"""Q/DQ nodes and the layers between them are FP16 where the rest is: see above."""
SATURATES_WITHOUT_VNNI = False
"""A GPU adds in 32 bits."""
RESIZE = "Resize"
SMALLEST = {"fp32": float(np.finfo(np.float32).tiny), "fp16": float(np.finfo(np.float16).smallest_subnormal)}
"""TensorRT refuses a scale of 0, which a channel without weights would have."""


def placement(patch: onnx.ModelProto, layers: Sequence[Layer], table: RangesTable, *, rest: Rest) -> Placement:
    """What TensorRT needs to run `layers` in INT8."""
    tensors = quantized_tensors(layers)
    groups = groups_of(tensors, same_scale(layers))
    return Placement(
        activations={name: activation_grid(group, table, rest) for group in groups for name in group.intersection(tensors)},
        readers=readers(patch, layers),
        weights={layer.name: weight_scales(largest, rest) for layer, largest, _ in convolution_parameters(patch, layers)},
        biases={},  # bias stays float: TensorRT rejects a DequantizeLinear of int32 (design 5)
    )


def quantized_tensors(layers: Sequence[Layer]) -> set[str]:
    """What a convolution reads, and no output of one; behind a Resize, therefore, and never before one."""
    return {layer.conv.input[0] for layer in layers}


def readers(patch: onnx.ModelProto, layers: Sequence[Layer]) -> frozenset[str]:
    """Who reads dequantised values: the convolutions. All others read the exact ones."""
    return frozenset(layer.name for layer in layers)


def same_scale(layers: Sequence[Layer]) -> list[set[str]]:
    """What goes in and what comes out of a pooling or a concatenation shares a scale.

    Both move values about and change none. TensorRT moves the QuantizeLinear behind them before them, where it joins it
    to the convolutions; a skip connection, which is pooled and concatenated, is then quantised once for both.
    """
    return [{*layer.takes, layer.conv.input[0]} for layer in layers if layer.before is not None and layer.before.op_type != RESIZE]


def activation_grid(group: Iterable[str], table: RangesTable, rest: Rest) -> Grid:
    """Symmetric, one scale per tensor, zero point 0: TensorRT knows no other. -128 stays unused."""
    return Grid(scale=_rounded(max(map(table.amax, group)) / INT8_MAX, rest), zero_point=0, dtype="int8")


def weight_scales(largest: NDArray[np.float32], rest: Rest) -> NDArray[np.float32]:
    """One scale per output channel. Rounded to FP16 first where it will be FP16: then the integers fit the scale that is used."""
    return np.array([_rounded(float(value) / INT8_MAX, rest) for value in largest], np.float32)


def _rounded(scale: float, rest: Rest) -> float:
    return max(float(np.float16(scale)) if rest == "fp16" else scale, SMALLEST[rest])

"""INT8 weights that are right on every CPU: no sum of two products leaves 16 bits.

In:   where ONNX Runtime's Q/DQ nodes go, and the layers that run in INT8.
Out:  the same with wider scales for the layers that could saturate: their weights use 7 of the 8 bits.

A CPU with VNNI multiplies 8-bit activations with 8-bit weights and adds four products in 32 bits (vpdpbusd). One without adds them
two by two in 16 bits (vpmaddubsw, Intel's manual, volume 2), and what leaves -32768..32767 is cut off there, in silence. Activations
are uint8 and may be 255 whatever their range is, since a brighter strip is clipped to it; so the worst pair of a channel is 255 times
the sum of its two largest weights of one sign. Which two meet depends on how ONNX Runtime lays the weights out, which no document
promises: any two count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lineside._optional import require
from lineside.graph.layers import Layer

from .qdq import INT8_MAX, Placement, integers_of

if TYPE_CHECKING:
    import onnx

LARGEST_ACTIVATION = 255
LARGEST_SUM = 2**15 - 1
INT7_MAX = 63
"""Two of them times 255 are 32130: they fit, and 8 bits, with 64770, do not."""


def worst_pair_sum(weights: NDArray[np.integer[Any]]) -> int:
    """The largest magnitude that the products of two uint8 activations with two weights of a channel can sum up to.

    Args:
        weights: (C, ...) int8: the first axis is the output channel.
    """
    rows = np.sort(weights.reshape(len(weights), -1).astype(np.int64), axis=1)
    positive, negative = rows[:, -2:].clip(min=0).sum(axis=1), rows[:, :2].clip(max=0).sum(axis=1)
    return LARGEST_ACTIVATION * int(max(positive.max(), -negative.min()))


def could_saturate(patch: onnx.ModelProto, layers: Iterable[Layer], placement: Placement) -> tuple[str, ...]:
    """The layers, by name, that a CPU without VNNI may compute wrongly with the scales of `placement`."""
    to_array = require("onnx.numpy_helper", extra="export").to_array
    given = {tensor.name: tensor for tensor in patch.graph.initializer}
    found = []
    for layer in layers:
        weights = integers_of(to_array(given[layer.conv.input[1]]), placement.weights[layer.name], limit=INT8_MAX)
        if worst_pair_sum(weights.astype(np.int8)) > LARGEST_SUM:
            found.append(layer.name)
    return tuple(found)


def with_seven_bits(patch: onnx.ModelProto, layers: Sequence[Layer], placement: Placement) -> Placement:
    """The placement with scales so wide that none of `layers` can saturate, and the names of those that it took."""
    narrow = could_saturate(patch, layers, placement)
    wider = np.float32(INT8_MAX / INT7_MAX)
    return replace(
        placement,
        weights={name: scales * wider if name in narrow else scales for name, scales in placement.weights.items()},
        biases={name: scales * wider if name in narrow else scales for name, scales in placement.biases.items()},
        seven_bits=narrow,
    )

"""What the ranges of a table cut off: tensor by tensor, and of the network's answer.

In:   activations of tiles, and the ranges -amax..amax.
Out:  `Reach` of a tensor on tiles of one kind; the share of its response to defects that is lost; a model that clips.
Clipping is the one thing that calibration decides. Rounding comes on top, and is what `sensitivity` measures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lineside._optional import require

if TYPE_CHECKING:
    import onnx

Values = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How far the values of a tensor went: the greatest magnitude in units of the range, and the share of values outside of it."""

    peak: float
    outside: float


class ReachTally:
    """Collects the `Reach` of one tensor, and the greatest magnitude of each of its channels."""

    def __init__(self, amax: float) -> None:
        self.channels: NDArray[np.float32] = np.zeros(0, np.float32)
        self._amax = amax
        self._outside = 0
        self._total = 0

    def add(self, values: Values) -> None:
        """Count (B, C, h, w)."""
        magnitudes = np.abs(values)
        channels = magnitudes.max(axis=(0, 2, 3))
        self.channels = np.maximum(self.channels, channels) if self.channels.size else channels
        self._outside += int(np.count_nonzero(magnitudes > np.float32(self._amax)))
        self._total += values.size

    @property
    def reach(self) -> Reach | None:
        """What came so far; None when nothing did."""
        if not self._total:
            return None
        return Reach(peak=float(self.channels.max()) / self._amax, outside=self._outside / self._total)


class ResponseTally:
    """Collects how much of a tensor's response to defects its range leaves.

    The response is the difference between a tile with defects and the same tile without them; its size is the sum of squares.
    """

    def __init__(self, amax: float) -> None:
        self._amax = np.float32(amax)
        self._whole = 0.0
        self._kept = 0.0

    def add(self, clean: Values, defective: Values) -> None:
        """Compare the same tiles, (B, C, h, w) each."""
        self._whole += _size(defective - clean)
        self._kept += _size(np.clip(defective, -self._amax, self._amax) - np.clip(clean, -self._amax, self._amax))

    @property
    def lost(self) -> float:
        """The share that the range cuts off; 0 for a tensor that does not respond."""
        return max(0.0, 1.0 - self._kept / self._whole) if self._whole else 0.0


def clipping(patch: onnx.ModelProto, ranges: Mapping[str, float]) -> onnx.ModelProto:
    """The patch model with the tensors of `ranges` held within -amax..amax, wherever they are read."""
    helper = require("onnx.helper", extra="export")
    from_array = require("onnx.numpy_helper", extra="export").from_array
    clipped: Any = type(patch)()
    clipped.CopyFrom(patch)
    del clipped.graph.node[:]
    added: set[str] = set()
    for node in patch.graph.node:
        for name in dict.fromkeys(node.input):
            if name in ranges and name not in added:
                added.add(name)
                ends = [f"{name}.{end}" for end in ("low", "high")]
                clipped.graph.node.append(helper.make_node("Clip", [name, *ends], [f"{name}.clipped"], name=f"{name}.clip"))
                for end, value in zip(ends, (-ranges[name], ranges[name]), strict=True):
                    clipped.graph.initializer.append(from_array(np.array(value, np.float32), end))
        copy = clipped.graph.node.add()
        copy.CopyFrom(node)
        copy.input[:] = [f"{name}.clipped" if name in ranges else name for name in node.input]
    return clipped  # type: ignore[no-any-return]  # onnx may lack types


def _size(values: Values) -> float:
    return float(np.vdot(values, values))

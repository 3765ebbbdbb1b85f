"""An ONNX graph while it is being written: nodes, initializers and names, for one opset.

In:   ONNX operators with their attributes, in order.
Out:  nodes and initializers for `onnx.helper.make_graph`.
What differs between the opsets is in the operators here and nowhere else: a caller says `reduce_max`, and gets axes as
an attribute before opset 18 and as an input from there on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lineside._optional import require

if TYPE_CHECKING:
    import onnx

AXES_ARE_INPUTS = {"Sum": 13, "Max": 18}
"""From this opset on a reduction takes its axes as an input."""
SOFTMAX_OF_ONE_AXIS = 13
"""Before this opset Softmax flattened everything behind its axis into one."""


class GraphWriter:
    """Collects the nodes of one graph. `scope` names what comes next: a node's name is its scope and its operation."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.integer_values: set[str] = set()
        self._helper = require("onnx.helper", extra="export")
        self._numpy_helper = require("onnx.numpy_helper", extra="export")
        self._uses: dict[str, int] = {}

    def add(self, op: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add one node with one output and return the output's name, which is the node's name too.

        The second node of a name becomes NAME@1, and so on: the copies of an unrolled network.
        """
        name = self._unique(name)
        self.nodes.append(self._helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add an initializer once and return its name; the copies of an unrolled network share their weights."""
        if name not in self.initializers:
            self.initializers[name] = self._numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def integers(self, *values: int) -> str:
        """A shared int64 vector."""
        return self.constant("int64." + "_".join(str(value) for value in values), np.array(values, np.int64))

    def conv(self, x: str, name: str, weight: NDArray[Any], bias: NDArray[Any], *, weights: str) -> str:
        """A 3x3 convolution with padding 1; `weights` is the base name of its initializers."""
        inputs = [x, self.constant(f"{weights}.weight", weight), self.constant(f"{weights}.bias", bias)]
        return self.add("Conv", inputs, name, kernel_shape=list(weight.shape[2:]), pads=[side // 2 for side in weight.shape[2:]] * 2)

    def slice(self, x: str, name: str, ranges: dict[int, tuple[int, int, int]]) -> str:
        """`ranges`: axis -> (start, stop, step)."""
        starts, stops, steps = ([part[place] for part in ranges.values()] for place in range(3))
        inputs = [x, self.integers(*starts), self.integers(*stops), self.integers(*ranges)]
        return self.add("Slice", inputs if set(steps) == {1} else [*inputs, self.integers(*steps)], name)

    def resize_bilinear(self, x: str, name: str, scale: float) -> str:
        """Height and width times `scale`, corners aligned, as PyTorch's align_corners=True."""
        scales = self.constant(f"float32.scale_{scale:g}", np.array([1, 1, scale, scale], np.float32))
        # opset 11 demands the region of interest even where nothing reads it
        roi = self.constant("float32.empty", np.zeros(0, np.float32)) if self.opset < SOFTMAX_OF_ONE_AXIS else ""
        return self.add("Resize", [x, roi, scales], name, mode="linear", coordinate_transformation_mode="align_corners")

    def pad(self, x: str, name: str, *, before: Sequence[int], after: Sequence[int], mode: str) -> str:
        """Pad every axis of `x`; mode "constant" (zeros) or "edge"."""
        return self.add("Pad", [x, self.integers(*before, *after)], name, mode=mode)

    def softmax_of_channels(self, x: str, name: str) -> str:
        """Softmax over axis 1 of (N, C, H, W)."""
        if self.opset >= SOFTMAX_OF_ONE_AXIS:
            return self.add("Softmax", [x], name, axis=1)
        last = self.add("Transpose", [x], f"{name}.channels_last", perm=[0, 2, 3, 1])
        return self.add("Transpose", [self.add("Softmax", [last], f"{name}.nhwc", axis=3)], name, perm=[0, 3, 1, 2])

    def reduce(self, what: str, x: str, name: str, axes: int | Sequence[int], *, keep: bool) -> str:
        """The sum or the maximum ("Sum", "Max") over `axes`, which go or become 1."""
        axes = [axes] if isinstance(axes, int) else list(axes)
        if self.opset >= AXES_ARE_INPUTS[what]:
            return self.add(f"Reduce{what}", [x, self.integers(*axes)], name, keepdims=int(keep))
        return self.add(f"Reduce{what}", [x], name, axes=axes, keepdims=int(keep))

    def _unique(self, name: str) -> str:
        uses = self._uses.get(name, 0)
        self._uses[name] = uses + 1
        return f"{name}@{uses}" if uses else name

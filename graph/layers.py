"""The layers of a network: what is quantised, or kept, as one.

In:   the nodes of one copy of the network, of a float32 `patch_model`.
Out:  a `Layer` per convolution, in order.
A layer is a convolution with the activation behind it and what prepares its input: pooling, upsampling or concatenation.
Those have no weights, one reader each, and run in the precision of the convolution that reads them. What else another program's
graph has between two convolutions (additions, other activations) is part of no layer, and is never quantised.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


PREPARING = ("MaxPool", "Resize", "Concat")


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One convolution and what runs with it.

    Attributes:
        before: What makes its input of other layers' outputs: MaxPool, Resize or Concat; None for nothing.
        conv: The convolution.
        relu: The activation behind it; None behind the logits.
        is_first: Whether no other convolution comes before it.
        is_last: Whether no other one comes behind it.
    """

    before: onnx.NodeProto | None
    conv: onnx.NodeProto
    relu: onnx.NodeProto | None
    is_first: bool
    is_last: bool

    @property
    def name(self) -> str:
        """The convolution's."""
        return self.conv.name

    @property
    def nodes(self) -> tuple[onnx.NodeProto, ...]:
        """All that are there, in order."""
        return tuple(node for node in (self.before, self.conv, self.relu) if node is not None)

    @property
    def takes(self) -> tuple[str, ...]:
        """The tensors that come from other layers, or the tiles."""
        return activations_of(self.nodes[0])

    @property
    def gives(self) -> str:
        """The tensor that other layers read."""
        name: str = self.nodes[-1].output[0]
        return name

    @property
    def tensors(self) -> tuple[str, ...]:
        """All tensors that are computed or read here."""
        return (*self.takes, *(node.output[0] for node in self.nodes))


def activations_of(node: onnx.NodeProto) -> tuple[str, ...]:
    """The inputs of a node of the network that are neither weights nor settings."""
    return tuple(node.input) if node.op_type == "Concat" else (node.input[0],)


def layers_of(patch: onnx.ModelProto) -> tuple[Layer, ...]:
    """The layers of a float32 patch model: its convolutions whose weights are stored in it, and that look at something."""
    stored = {tensor.name for tensor in patch.graph.initializer}
    makers = {name: node for node in patch.graph.node for name in node.output}
    readers = defaultdict(list)
    for node in patch.graph.node:
        for name in node.input:
            readers[name].append(node)
    behind, before = behind_convolutions(patch.graph.node), before_convolutions(patch.graph.node)
    layers = []
    for conv in patch.graph.node:
        if conv.op_type == "Conv" and stored.issuperset(conv.input[1:]) and conv.input[0] not in stored:
            maker, next_nodes = makers.get(conv.input[0]), readers[conv.output[0]]
            joined = maker is not None and maker.op_type in PREPARING and len(readers[conv.input[0]]) == 1
            layers.append(
                Layer(
                    before=maker if maker is not None and joined and stored.isdisjoint(activations_of(maker)) else None,
                    conv=conv,
                    relu=next_nodes[0] if [node.op_type for node in next_nodes] == ["Relu"] else None,
                    is_first=conv.input[0] not in behind,
                    is_last=conv.output[0] not in before,
                )
            )
    return tuple(layers)


def behind_convolutions(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    """The tensors that depend on a convolution's output."""
    found: set[str] = set()
    for node in nodes:
        if node.op_type == "Conv" or not found.isdisjoint(node.input):
            found.update(node.output)
    return found


def before_convolutions(nodes: Sequence[onnx.NodeProto]) -> set[str]:
    """The tensors that a convolution's input depends on."""
    found: set[str] = set()
    for node in reversed(nodes):
        if node.op_type == "Conv" or not found.isdisjoint(node.output):
            found.update(node.input)
    return found

"""The layers of a network: what is quantised, or kept, as one.

In:   the nodes of one copy of the network, of a float32 `patch_model`.
Out:  a `Layer` per convolution, in order.
A layer is a convolution with the activation behind it and what prepares its input: pooling, upsampling or concatenation.
Those have no weights, one reader each, and run in the precision of the convolution that reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .network import LOGITS, TILES

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One convolution and what runs with it.

    Attributes:
        before: What makes its input of other layers' outputs: MaxPool, Resize or Concat; None for nothing.
        conv: The convolution.
        relu: The activation behind it; None behind the logits.
    """

    before: onnx.NodeProto | None
    conv: onnx.NodeProto
    relu: onnx.NodeProto | None

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
    def is_first(self) -> bool:
        """Whether it reads the tiles."""
        return self.takes == (TILES,)

    @property
    def is_last(self) -> bool:
        """Whether it gives the logits."""
        return LOGITS in self.conv.output

    @property
    def tensors(self) -> tuple[str, ...]:
        """All tensors that are computed or read here."""
        return (*self.takes, *(node.output[0] for node in self.nodes))


def activations_of(node: onnx.NodeProto) -> tuple[str, ...]:
    """The inputs of a node of the network that are neither weights nor settings."""
    return tuple(node.input) if node.op_type == "Concat" else (node.input[0],)


def layers_of(patch: onnx.ModelProto) -> tuple[Layer, ...]:
    """The layers of a float32 patch model."""
    made_by = {node.output[0]: node for node in patch.graph.node}
    relus = {node.input[0]: node for node in patch.graph.node if node.op_type == "Relu"}
    layers = []
    for conv in patch.graph.node:
        if conv.op_type == "Conv":
            before = made_by.get(conv.input[0])
            layers.append(
                Layer(before=before if before is not None and before.op_type != "Relu" else None, conv=conv, relu=relus.get(conv.output[0]))
            )
    return tuple(layers)

"""Find the network inside a full-image ONNX model, whatever its tiling and io form.

In:   a model of `lineside export`, or one of another program in the form of `foreign`.
Out:  `Network`: its nodes, the tensors where it begins and ends, its convolutions; and `patch_model`, the network alone.
The exporter names the network's tensors after their place in it (encoder.0.convs.0.conv, logits, ...), the same in every
tiling; what is around the network is named full_image.*, so that one table of ranges serves all of them. The copies of
an unrolled model are NAME@1, NAME@2, ...; `base_name` takes that off. Of another program's model the whole graph is the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineside._optional import require
from lineside.errors import ModelError
from lineside.spec import CHANNELS

if TYPE_CHECKING:
    import onnx

LOGITS = "logits"
"""The network's last convolution and its output."""
FIRST = "encoder.0.convs.0.conv"
"""Its first convolution."""
TILES = "tiles"
"""The input of a patch model."""
BATCH = "B"
COPY_MARK = "@"
"""Between a name and the number of the copy."""
_FLOAT = 1
"""ONNX's number of float32."""


def base_name(name: str) -> str:
    """A tensor's or node's name without the number of the copy: what a table of ranges has it under."""
    return name.split(COPY_MARK)[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """The network within `model`. Nothing is copied: the nodes are the model's own.

    Attributes:
        model: The whole model, with shapes (value_info) for every tensor.
        nodes: The network's nodes in order; those of all copies for an unrolled model.
        inputs, outputs: The float tensors where copies of the network begin and end: one each per copy; when it is the whole graph, the
            graph's input and outputs.
        whole: Whether the network is the whole graph, of another program.
    """

    model: onnx.ModelProto
    nodes: tuple[onnx.NodeProto, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    whole: bool = False

    @classmethod
    def all_of(cls, model: onnx.ModelProto) -> Network:
        """The network that is the whole graph of a model in the form of `foreign`."""
        (start,) = (value.name for value in model.graph.input)
        return cls(
            model=model,
            nodes=tuple(model.graph.node),
            inputs=(start,),
            outputs=tuple(value.name for value in model.graph.output),
            whole=True,
        )

    @classmethod
    def of(cls, model: onnx.ModelProto, *, path: Path) -> Network:
        """The network of the model that was read from `path`.

        Raises:
            ModelError: The graph has no network of ours in it.
        """
        produced = {output: node for node in model.graph.node for output in node.output}
        outputs = tuple(name for name in produced if base_name(name) == LOGITS)
        starts = tuple(node.input[0] for node in model.graph.node if base_name(node.name) == FIRST)
        if not outputs or len(starts) != len(outputs):
            raise ModelError(
                f"{path}: no network of lineside in the graph",
                why=f"it begins at the node {FIRST} and ends at {LOGITS}",
                fix="export it with `lineside export`",
            )
        inside: set[str] = set()
        pending = list(outputs)
        while pending:  # from the logits back to the tiles
            name = pending.pop()
            if name in inside or name in starts or name not in produced:
                continue
            inside.add(name)
            pending.extend(produced[name].input)
        return cls(model=model, nodes=tuple(node for node in model.graph.node if node.output[0] in inside), inputs=starts, outputs=outputs)

    @property
    def copies(self) -> int:
        """How often the network stands in the graph: 1, or one per tile of an unrolled model."""
        return len(self.inputs)

    @cached_property
    def first_copy(self) -> tuple[onnx.NodeProto, ...]:
        """The nodes of one copy: those that carry no number."""
        return tuple(node for node in self.nodes if COPY_MARK not in node.name)

    @cached_property
    def ends(self) -> tuple[str, ...]:
        """The tensors where one copy ends: the logits; when it is the whole graph, the graph's outputs."""
        return tuple(name for name in self.outputs if COPY_MARK not in name)

    @cached_property
    def convolutions(self) -> tuple[str, ...]:
        """Names of the convolutions of one copy, in order."""
        return tuple(node.name for node in self.first_copy if node.op_type == "Conv")

    @cached_property
    def activations(self) -> tuple[str, ...]:
        """Names of all float tensors of one copy that are computed or come in: what ranges are collected of, the tiles first."""
        types = {value.name: value.type.tensor_type.elem_type for value in (*self.model.graph.value_info, *self.model.graph.output)}
        return (TILES, *(name for node in self.first_copy for name in node.output if types.get(name) == _FLOAT))

    def patch_model(self, outputs: Sequence[str] | None = None) -> onnx.ModelProto:
        """The network alone: `tiles` (B, 3, h, w) float32 in [0, 1] -> the named tensors of one copy (default: where it ends).

        B, h and w are those of the graph's input when the network is the whole graph.
        """
        helper = require("onnx.helper", extra="export")
        rename = {self.inputs[0]: TILES}
        nodes = []
        for node in self.first_copy:
            copy: Any = type(node)()
            copy.CopyFrom(node)
            copy.input[:] = [rename.get(name, name) for name in node.input]
            nodes.append(copy)
        wanted = [name for name in (outputs or self.ends) if name != TILES]
        used = {name for node in nodes for name in node.input}
        tiles = helper.make_tensor_value_info(TILES, _FLOAT, [BATCH, len(CHANNELS), "h", "w"])
        if self.whole:
            tiles.CopyFrom(self.model.graph.input[0])
            tiles.name = TILES
        types = {value.name: value for value in self.model.graph.output} if self.whole else {}
        graph = helper.make_graph(
            nodes,
            "network",
            [tiles],
            [types.get(name) or helper.make_tensor_value_info(name, _FLOAT, None) for name in wanted],
            [tensor for tensor in self.model.graph.initializer if tensor.name in used],
        )
        model: onnx.ModelProto = helper.make_model(graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version)
        return model

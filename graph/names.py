"""Names for what is added to a graph: graphs of other programs may hold any name already.

In:   the names that a graph has.
Out:  `Names.fresh`: the name that was wanted where nothing has it, else the same with a number behind it.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


class Names:
    """The names that are taken, which grow with every one that is given."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)

    @classmethod
    def of(cls, graph: onnx.GraphProto) -> Names:
        """Those of all nodes and tensors of a graph."""
        nodes = (name for node in graph.node for name in (node.name, *node.input, *node.output))
        return cls(chain(nodes, (value.name for value in (*graph.input, *graph.output, *graph.initializer))))

    def fresh(self, wanted: str) -> str:
        """`wanted`, or the first of `wanted`.2, `wanted`.3, ... that nothing has; it is taken from now on."""
        name = next(name for name in chain([wanted], (f"{wanted}.{number}" for number in count(2))) if name not in self._taken)
        self._taken.add(name)
        return name

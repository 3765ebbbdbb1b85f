"""How much work each layer of a network is.

In:   a `Network` with shapes, of any precision.
Out:  multiply-adds per convolution, for one tile, or for one strip where the network sees it whole.
"""

from __future__ import annotations

from math import prod

from .network import Network

DEQUANTIZE = "DequantizeLinear"


def multiply_adds(network: Network) -> dict[str, int]:
    """Multiply-adds of every convolution of one copy, by name, in order."""
    values = (*network.model.graph.value_info, *network.model.graph.output)
    shapes = {value.name: [side.dim_value for side in value.type.tensor_type.shape.dim] for value in values}
    shapes |= {tensor.name: list(tensor.dims) for tensor in network.model.graph.initializer}
    shapes |= {node.output[0]: shapes[node.input[0]] for node in network.nodes if node.op_type == DEQUANTIZE and node.input[0] in shapes}
    return {
        node.name: prod(shapes[node.input[1]]) * prod(shapes[node.output[0]][2:]) for node in network.first_copy if node.op_type == "Conv"
    }

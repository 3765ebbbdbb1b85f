"""How much work each layer of a network is.

In:   a `Network` with shapes, of any precision.
Out:  multiply-adds per convolution, for one tile, or for one strip where the network sees it whole.
"""

from __future__ import annotations

from math import prod

from .network import Network


def multiply_adds(network: Network) -> dict[str, int]:
    """Multiply-adds of every convolution of one copy, by name, in order."""
    weights = {tensor.name: prod(tensor.dims) for tensor in network.model.graph.initializer}
    weights |= {
        node.output[0]: weights[node.input[0]] for node in network.nodes if node.op_type == "DequantizeLinear" and node.input[0] in weights
    }
    shapes = {value.name: value.type.tensor_type.shape for value in (*network.model.graph.value_info, *network.model.graph.output)}
    return {
        node.name: weights[node.input[1]] * prod(side.dim_value for side in shapes[node.output[0]].dim[2:])
        for node in network.first_copy
        if node.op_type == "Conv"
    }

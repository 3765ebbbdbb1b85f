"""What a parser has to know of an ONNX file, read without the package `onnx`, which Python 3.10's environment does not have.

In:   the file's bytes.
Out:  `OnnxGraph`: inputs, outputs, nodes, types of the constants. The numbers are those of onnx.proto; not lineside's reader, on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass

NUMPY = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}


@dataclass(frozen=True)
class Value:
    """An input or an output; -1 for a side that is open."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """An operator."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class OnnxGraph:
    """What is in the file. `constants`: the type of each weight."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    constants: dict[str, str]
    cast_to: dict[str, str]


def read(data: bytes) -> OnnxGraph:
    """Raises: ValueError, when it is no ONNX file."""
    model = _message(data)
    if 7 not in model:
        raise ValueError("no graph")
    graph = _message(model[7][0])
    constants: dict[str, str] = {}
    for tensor in map(_message, graph.get(5, [])):
        constants[tensor[8][0].decode()] = NUMPY.get(tensor[2][0], str(tensor[2][0]))
    nodes, cast_to = [], {}
    for raw in map(_message, graph.get(1, [])):
        inputs, outputs = ([name.decode() for name in raw.get(number, [])] for number in (1, 2))
        node = Node(raw.get(3, [b""])[0].decode(), raw[4][0].decode(), tuple(inputs), tuple(outputs))
        nodes.append(node)
        for attribute in map(_message, raw.get(5, [])):
            if node.kind == "Cast" and attribute[1][0] == b"to":
                cast_to[node.outputs[0]] = NUMPY.get(attribute[3][0], "")
    inputs_ = tuple(value for value in map(_value, graph.get(11, [])) if value.name not in constants)
    return OnnxGraph(inputs_, tuple(map(_value, graph.get(12, []))), tuple(nodes), constants, cast_to)


def _value(data: bytes) -> Value:
    info = _message(data)
    tensor = _message(_message(info[2][0])[1][0])
    sides = [_message(side) for side in _message(tensor[2][0]).get(1, [])] if 2 in tensor else []
    return Value(info[1][0].decode(), NUMPY.get(tensor[1][0], str(tensor[1][0])), tuple(side.get(1, [-1])[0] for side in sides))


def _message(data: bytes) -> dict[int, list]:  # type: ignore[type-arg]
    found: dict[int, list] = {}  # type: ignore[type-arg]
    position = 0
    while position < len(data):
        key, position = _number(data, position)
        value: object
        if key & 7 == 0:
            value, position = _number(data, position)
        else:
            size, position = _number(data, position) if key & 7 == 2 else ({5: 4, 1: 8}.get(key & 7, -1), position)
            if size < 0 or position + size > len(data):
                raise ValueError("not a message")
            value, position = data[position : position + size], position + size
        found.setdefault(key >> 3, []).append(value)
    return found


def _number(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise ValueError("not a message")
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position

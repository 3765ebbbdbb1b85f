"""What a build has to know of an ONNX file, read without the package `onnx`, which a Jetson need not have.

In:   the path of a full-image model.
Out:  `OnnxFile`: its lineage, its input, the batch that it fixes, its convolutions and which of them are to run in INT8.
Reads the protobuf wire format (protobuf.dev, "Encoding") of the few fields it needs; the numbers are those of onnx.proto. Weights are
skipped, and nothing is judged that TensorRT's parser judges better.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lineside.errors import ModelError
from lineside.manifest import ModelManifest

from .io_forms import CONTRACTS, Tensor, check_graph

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_EXTERNAL = 1
_DTYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64", 16: "bfloat16"}
"""TensorProto.DataType -> numpy's name."""
_DEFAULT_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True, kw_only=True)
class OnnxFile:
    """An ONNX file of lineside's.

    Attributes:
        path, sha256, size_bytes: The file.
        manifest: What it says of itself.
        opset: Of the standard operators.
        input_dtype: numpy's name of the type that its input takes.
        batch: The batch that it fixes; None when it leaves it open.
        nodes: How many nodes of each type it has.
        convolutions: Names of its convolutions, all copies of an unrolled network.
        int8: Those that read dequantised values alone: TensorRT is to run them in INT8.
    """

    path: Path
    sha256: str
    size_bytes: int
    manifest: ModelManifest
    opset: int
    input_dtype: str
    batch: int | None
    nodes: Mapping[str, int]
    convolutions: tuple[str, ...]
    int8: tuple[str, ...]

    @property
    def input(self) -> str:
        """The name of its input."""
        return CONTRACTS[self.manifest.io].input


@dataclass(frozen=True, kw_only=True)
class _Node:
    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_onnx(path: Path) -> OnnxFile:
    """Read the ONNX file at `path`.

    Raises:
        ModelError: No such file, not an ONNX file, damaged, not ours, or with weights in other files.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file", why="an ONNX file was expected there", fix="check the path")
    data = path.read_bytes()
    try:
        model = _collect(memoryview(data))
        (graph_bytes,) = _messages(model, 7)
        graph = _collect(graph_bytes)
        nodes = [_node(message) for message in _messages(graph, 1)]
        constants = {_text(_collect(message), 8) for message in _messages(graph, 5)}
        external = any(_number(_collect(message), 14) == _EXTERNAL for message in _messages(graph, 5))
        inputs = {name: tensor for name, tensor in map(_tensor, _messages(graph, 11)) if name not in constants}
        outputs = dict(map(_tensor, _messages(graph, 12)))
        properties = {_text(entry, 1): _text(entry, 2) for entry in map(_collect, _messages(model, 14))}
        opsets = {_text(entry, 1): _number(entry, 2) for entry in map(_collect, _messages(model, 8))}
    except (ValueError, TypeError) as exc:  # UnicodeDecodeError is a ValueError
        raise ModelError(
            f"{path}: not an ONNX file", why=f"it cannot be parsed ({exc})", fix="check that it is whole, or export it again"
        ) from exc
    manifest = ModelManifest.from_properties(properties, path=path)
    if manifest is None:
        raise ModelError(
            f"{path}: no metadata of lineside",
            why="an engine's sidecar says which strips it inspects and where it comes from",
            fix=f"export it from its checkpoint: lineside export CHECKPOINT --out {path.name}",
        )
    if external:
        raise ModelError(
            f"{path}: weights in other files", why="its sha256 would not cover them", fix="export it again: weights stay inside the file"
        )
    batch = check_graph(inputs, outputs, io=manifest.io, spec=manifest.spec, path=path)
    makers = {output: node.op_type for node in nodes for output in node.outputs}
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    return OnnxFile(
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        manifest=manifest,
        opset=max((version for domain, version in opsets.items() if domain in _DEFAULT_DOMAINS), default=0),
        input_dtype=inputs[CONTRACTS[manifest.io].input].dtype,
        batch=batch,
        nodes=dict(Counter(node.op_type for node in nodes).most_common()),
        convolutions=tuple(node.name for node in convolutions),
        int8=tuple(node.name for node in convolutions if {makers.get(name) for name in node.inputs[:2]} == {"DequantizeLinear"}),
    )


_Message = Mapping[int, list["int | memoryview"]]
"""The fields of a message: number -> values in order; texts and messages as bytes."""


def _collect(data: memoryview) -> _Message:
    found: dict[int, list[int | memoryview]] = {}
    for number, value in _fields(data):
        found.setdefault(number, []).append(value)
    return found


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Raises: ValueError, when it is no message."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        kind = key & 7
        if kind == _VARINT:
            number, position = _varint(data, position)
            yield key >> 3, number
            continue
        if kind == _BYTES:
            size, position = _varint(data, position)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind} at byte {position}")
        if position + size > len(data):
            raise ValueError("it ends too early")
        yield key >> 3, data[position : position + size]
        position += size


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise ValueError("it ends too early")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _messages(message: _Message, number: int) -> list[memoryview]:
    values = message.get(number, [])
    if not all(isinstance(value, memoryview) for value in values):
        raise ValueError(f"field {number} is a number")
    return [value for value in values if isinstance(value, memoryview)]


def _text(message: _Message, number: int) -> str:
    return b"".join(_messages(message, number)[-1:]).decode()


def _number(message: _Message, number: int) -> int:
    value = message.get(number, [0])[-1]
    if not isinstance(value, int):
        raise ValueError(f"field {number} is no number")
    return value


def _node(data: memoryview) -> _Node:
    node = _collect(data)
    return _Node(
        name=_text(node, 3),
        op_type=_text(node, 4),
        inputs=tuple(bytes(name).decode() for name in _messages(node, 1)),
        outputs=tuple(bytes(name).decode() for name in _messages(node, 2)),
    )


def _tensor(data: memoryview) -> tuple[str, Tensor]:
    """ValueInfoProto -> TypeProto -> TypeProto.Tensor -> TensorShapeProto -> Dimension."""
    value = _collect(data)
    kind = _only(_only(value, 2), 1)
    sides = [_collect(side) for side in _messages(_only(kind, 2), 1)]
    shape = tuple(_number(side, 1) if 1 in side else None for side in sides)
    number = _number(kind, 1)
    return _text(value, 1), Tensor(shape=shape, dtype=_DTYPES.get(number, f"type {number}"))


def _only(message: _Message, number: int) -> _Message:
    """The sub-message in a field; an empty one where it is absent."""
    return _collect((_messages(message, number) or [memoryview(b"")])[-1])

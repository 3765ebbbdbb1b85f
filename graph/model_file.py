"""Read an ONNX file with the package `onnx`, or say in its words why that cannot be.

In:   the path of any ONNX file.
Out:  `parse_model`, the model as it is written; `refuse_invalid`, whether it keeps ONNX's rules; `read_model`, both.
`onnx_errors` are the exceptions of the package: whoever changes a graph of another program with it maps them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lineside._optional import require
from lineside.errors import ModelError

if TYPE_CHECKING:
    import onnx

_AGAIN = "check that the file is whole, or export it again"
EXAMPLE_OPSET = 18
"""What every tool of ours reads."""


def parse_model(path: Path, *, weights: bool = False) -> onnx.ModelProto:
    """The model in the file `path`, as it is written; `weights`: also those that it keeps in other files.

    Raises:
        ModelError: There is no such file, it is no ONNX file, or its weights cannot be read.
    """
    onnx = require("onnx", extra="export")
    if not path.is_file():
        raise ModelError(f"{path}: no such file", why="an ONNX file was expected there", fix="export one: lineside export CHECKPOINT")
    try:
        model = onnx.load(str(path), format="protobuf", load_external_data=False)  # else the ending decides
    except onnx_errors() as exc:
        raise ModelError(f"{path}: not an ONNX file", why=onnx_reason_of(exc), fix=_AGAIN) from exc
    if not model.graph.node:
        raise ModelError(f"{path}: not an ONNX file", why="it holds no graph", fix=_AGAIN)
    damaged = next((text for text in _texts(model) if not isinstance(text, str)), None)
    if damaged is not None:  # protobuf gives text that is no UTF-8 as bytes
        raise ModelError(f"{path}: not an ONNX file", why=f"{damaged!r} is no text in UTF-8", fix=_AGAIN)
    if weights:
        _load_weights(model, path)
    return model  # type: ignore[no-any-return]  # onnx may lack types


def read_model(path: Path) -> onnx.ModelProto:
    """The model in the file `path` with all its weights. Raises: ModelError, for all that `parse_model` and `refuse_invalid` refuse."""
    model = parse_model(path, weights=True)
    refuse_invalid(model, path)
    return model


def refuse_invalid(model: onnx.ModelProto, path: Path) -> None:
    """Refuse the model of the file `path`, which has its weights, when it breaks a rule of ONNX. Raises: ModelError."""
    onnx = require("onnx", extra="export")
    opset, newest = opset_of(model), onnx.defs.onnx_opset_version()
    if opset > newest:  # the checker would take the newest operators for it
        raise ModelError(
            f"{path}: opset {opset}",
            why=f"the installed onnx {onnx.__version__} knows opsets up to {newest}",
            fix=f"export it with opset {EXAMPLE_OPSET}",
        )
    try:
        onnx.checker.check_model(model)
    except onnx_errors() as exc:
        raise ModelError(f"{path}: not a valid ONNX model", why=onnx_reason_of(exc), fix=_AGAIN) from exc
    for tensor in model.graph.initializer:  # of any type, for the checker
        if tensor.data_type not in onnx.TensorProto.DataType.values():
            raise ModelError(f"{path}: {tensor.name} is of type {tensor.data_type}", why="ONNX has no such type", fix=_AGAIN)


def opset_of(model: onnx.ModelProto) -> int:
    """The opset of its operators; 0 when it names none."""
    return max((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def onnx_errors() -> tuple[type[Exception], ...]:
    """What the package raises at a graph that it cannot read, check or change: its exceptions share no base class."""
    onnx = require("onnx", extra="export")
    decode_error = require("google.protobuf.message", extra="export").DecodeError
    inference, converter = (require(f"onnx.{name}", extra="export") for name in ("shape_inference", "version_converter"))
    return (
        decode_error,
        onnx.checker.ValidationError,
        inference.InferenceError,
        converter.ConvertError,
        RuntimeError,  # what its C++ part throws and does not name
        ValueError,
        OSError,
    )


def onnx_reason_of(exc: Exception) -> str:
    """What it says, in one line, without what it was doing."""
    return " ".join(str(exc).partition("==> Context")[0].split()) or type(exc).__name__


def _texts(model: onnx.ModelProto) -> Iterator[str]:
    graph = model.graph
    for node in graph.node:
        yield from (node.name, node.op_type, *node.input, *node.output)
    yield from (value.name for value in (*graph.input, *graph.output, *graph.initializer))
    for entry in model.metadata_props:
        yield from (entry.key, entry.value)


def _load_weights(model: onnx.ModelProto, path: Path) -> None:
    helper = require("onnx.external_data_helper", extra="export")
    try:
        helper.load_external_data_for_model(model, str(path.parent))
    except onnx_errors() as exc:
        raise ModelError(
            f"{path}: its weights cannot be read", why=onnx_reason_of(exc), fix="keep the files that it names beside it, or export it again"
        ) from exc

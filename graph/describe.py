"""What an ONNX file is: inputs, outputs, opset, nodes by type, and where it is ours its lineage and how it will run.

In:   any ONNX file.
Out:  an `OnnxDescription`. Reads the file and runs nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lineside._optional import require
from lineside.manifest import ModelManifest, sha256_of_file

from .layer_precision import Executed, executed
from .model_file import opset_of, parse_model
from .precision_mark import PrecisionMark


@dataclass(frozen=True, kw_only=True)
class OnnxDescription:
    """What an ONNX file is.

    `manifest` is None for a file that lineside did not write, `executed` also for a float32 one: all of it runs alike.
    """

    path: Path
    size_bytes: int
    sha256: str
    producer: str
    ir_version: int
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: Mapping[str, int]
    weights: int
    weight_bytes: Mapping[str, int]
    manifest: ModelManifest | None
    executed: Executed | None

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        manifest = self.manifest.to_json() if self.manifest else None
        executed = self.executed.to_json() if self.executed else None
        return {**self.__dict__, "kind": "onnx", "path": str(self.path), "manifest": manifest, "executed": executed}


def describe_onnx(path: Path) -> OnnxDescription:
    """Describe the ONNX file at `path`.

    Raises:
        ModelError: It is not an ONNX file.
    """
    onnx = require("onnx", extra="export")
    model = parse_model(path)
    manifest = ModelManifest.from_properties({entry.key: entry.value for entry in model.metadata_props}, path=path)
    mark = PrecisionMark.of(model, path=path)
    constants = {tensor.name for tensor in model.graph.initializer}
    types = Counter[str]()
    for tensor in model.graph.initializer:
        types[_type(tensor.data_type, onnx)] += len(tensor.raw_data) or tensor.ByteSize()
    return OnnxDescription(
        path=path,
        size_bytes=path.stat().st_size,
        sha256=sha256_of_file(path),
        producer=f"{model.producer_name} {model.producer_version}".strip() or "unknown",
        ir_version=model.ir_version,
        opset=opset_of(model),
        inputs=tuple(_tensor(value, onnx) for value in model.graph.input if value.name not in constants),
        outputs=tuple(_tensor(value, onnx) for value in model.graph.output),
        nodes=dict(Counter(node.op_type for node in model.graph.node).most_common()),
        weights=len(constants),
        weight_bytes=dict(types.most_common()),
        manifest=manifest,
        executed=executed(model, path=path) if mark and mark.precision != "fp32" else None,
    )


def _tensor(value: Any, onnx: Any) -> str:
    kind = value.type.tensor_type
    sides = [side.dim_param or (str(side.dim_value) if side.HasField("dim_value") else "?") for side in kind.shape.dim]
    return f"{value.name} ({', '.join(sides)}) {_type(kind.elem_type, onnx)}"


def _type(number: int, onnx: Any) -> str:
    known = onnx.TensorProto.DataType
    return known.Name(number).lower() if number in known.values() else f"type {number}"

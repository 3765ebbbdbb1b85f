"""From one ONNX file to another: read the float32 model, give it a precision, write the file, and say how it will run.

In:   a float32 file of `lineside export`, or of another program, and its table of ranges: for INT8, and for another program's.
Out:  the file of the new precision, whole or not at all, and a `PrecisionSummary`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineside.calibration.ranges.table import RangesTable
from lineside.engine.run.session import onnxruntime, open_session
from lineside.errors import ModelError
from lineside.files import refuse_existing, write_bytes
from lineside.graph.float_model import FloatModel
from lineside.graph.layer_precision import Executed, executed
from lineside.graph.precision_mark import is_foreign
from lineside.manifest import ModelManifest

from .half import half
from .quantize import QuantizeOptions, quantized

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, kw_only=True)
class PrecisionSummary:
    """What was written: the file, its metadata (None for another program's), how it will run, and its size beside the float32 one's."""

    path: Path
    manifest: ModelManifest | None
    executed: Executed
    size_bytes: int
    source_bytes: int

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        return {
            "path": str(self.path),
            "size_bytes": self.size_bytes,
            "source_bytes": self.source_bytes,
            "executed": self.executed.to_json(),
            "manifest": self.manifest.to_json() if self.manifest else None,
        }


def write_half(
    source: Path, out: Path, *, ranges: Path | None = None, keep: Collection[str] = frozenset(), force: bool = False
) -> PrecisionSummary:
    """Write the FP16 file `out` of the float32 file `source`.

    Args:
        ranges: The table of ranges: with it, layers that come near FP16's largest number stay float32.
        keep: Names of convolutions whose layers stay float32.

    Raises:
        ModelError, CalibrationError, ConfigError: See `half`.
        OutputError: `out` exists and `force` is off, or cannot be written.
    """
    refuse_existing(out, force=force)
    table = RangesTable.read(ranges) if ranges is not None else None
    opened = FloatModel.read(source, spec=table.spec if table else None)
    return _write(half(opened.network.model, path=source, table=table, keep=keep), opened, out)


def write_quantized(source: Path, ranges: Path, out: Path, options: QuantizeOptions, *, force: bool = False) -> PrecisionSummary:
    """Write the INT8 file `out` of the float32 file `source` by the table of ranges in the file `ranges`.

    Raises:
        ModelError, CalibrationError, ConfigError: See `quantized`.
        OutputError: `out` exists and `force` is off, or cannot be written.
    """
    refuse_existing(out, force=force)
    table = RangesTable.read(ranges)
    return write_quantized_model(FloatModel.read(source, spec=table.spec), table, out, options, force=force)


def write_quantized_model(
    source: FloatModel, table: RangesTable, out: Path, options: QuantizeOptions, *, force: bool = False
) -> PrecisionSummary:
    """As `write_quantized`, of a model and a table that are read already."""
    refuse_existing(out, force=force)
    return _write(quantized(source.network.model, table, options, path=source.path), source, out)


def _write(model: onnx.ModelProto, source: FloatModel, out: Path) -> PrecisionSummary:
    content = model.SerializeToString(deterministic=True)
    if is_foreign(model):
        _refuse_what_does_not_load(content, source.path)
    write_bytes(out, content)
    manifest = ModelManifest.from_properties({entry.key: entry.value for entry in model.metadata_props}, path=out)
    return PrecisionSummary(
        path=out,
        manifest=manifest,
        executed=executed(model, path=out),
        size_bytes=len(content),
        source_bytes=source.network.model.ByteSize(),  # of the file, and of weights that lie beside it
    )


def _refuse_what_does_not_load(content: bytes, source: Path) -> None:
    """Refuse a graph whose types do not fit: another program's may hold what the casting tool cannot follow. Raises: ModelError."""
    disabled = onnxruntime().GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        open_session(source, content=content, settings={"graph_optimization_level": disabled})
    except ModelError as exc:
        raise ModelError(
            f"{source}: it does not load in this precision",
            why=exc.why,
            fix="leave out FP16 with --rest fp32 --target onnxruntime, or keep the layer that is named with --keep",
        ) from exc

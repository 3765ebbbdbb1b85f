"""From one ONNX file to another: read the float32 model, give it a precision, write the file, and say how it will run.

In:   a float32 file of `lineside export` and, for INT8, its table of ranges.
Out:  the file of the new precision, whole or not at all, and a `PrecisionSummary`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineside.files import refuse_existing, write_bytes
from lineside.manifest import ModelManifest

from .executed import Executed, executed
from .float_model import FloatModel
from .half import half
from .quantize import QuantizeOptions, quantized
from .table import RangesTable

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, kw_only=True)
class PrecisionSummary:
    """What was written: the file, its metadata, how it will run, and its size beside the float32 one's."""

    path: Path
    manifest: ModelManifest
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
            "manifest": self.manifest.to_json(),
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
    opened = FloatModel.read(source)
    table = RangesTable.read(ranges) if ranges is not None else None
    return _write(half(opened.network.model, path=source, table=table, keep=keep), source, out)


def write_quantized(source: Path, ranges: Path, out: Path, options: QuantizeOptions, *, force: bool = False) -> PrecisionSummary:
    """Write the INT8 file `out` of the float32 file `source` by the table of ranges in the file `ranges`.

    Raises:
        ModelError, CalibrationError, ConfigError: See `quantized`.
        OutputError: `out` exists and `force` is off, or cannot be written.
    """
    refuse_existing(out, force=force)
    opened = FloatModel.read(source)
    return _write(quantized(opened.network.model, RangesTable.read(ranges), options, path=source), source, out)


def _write(model: onnx.ModelProto, source: Path, out: Path) -> PrecisionSummary:
    content = model.SerializeToString(deterministic=True)
    write_bytes(out, content)
    manifest = ModelManifest.from_properties({entry.key: entry.value for entry in model.metadata_props}, path=out)
    assert manifest is not None  # it was just put there
    return PrecisionSummary(
        path=out,
        manifest=manifest,
        executed=executed(model, path=out),
        size_bytes=len(content),
        source_bytes=source.stat().st_size,
    )

"""ONNX Runtime's own quantiser on the same network, patches and method: what ours is compared with.

In:   a float32 file of `lineside export`, and its table of ranges, whose patches are measured again.
Out:  an INT8 file in the Q/DQ form of `quantize_static`, with the same layers outside of INT8 as `lineside quantize` leaves there.
The network alone is quantised and put back, so that cutting, softmax and stitching are the same in both.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lineside._optional import require
from lineside.calibration.ranges.sampler import read_patches
from lineside.calibration.ranges.table import RangesTable
from lineside.files import write_bytes
from lineside.graph.float_model import FloatModel
from lineside.graph.network import FIRST, LOGITS, TILES
from lineside.graph.splice import raise_opset, spliced

_METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
_OPSET = 13
"""The first with scales per channel."""


def write_statically_quantized(source: Path, table: RangesTable, dataset: Path, out: Path) -> None:
    """Quantise the float32 file `source` with `quantize_static` and write `out`. Raises: ModelError, StripError."""
    onnx = require("onnx", extra="export")
    tool = require("onnxruntime.quantization", extra="export")
    model = FloatModel.read(source)
    patch = model.network.patch_model()
    raise_opset(patch, _OPSET)
    # norms are folded and shapes are written: its own pre-processing has nothing to do
    require("onnxruntime.quantization.quant_utils", extra="export").add_pre_process_metadata(patch)
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "network.onnx", Path(folder) / "quantized.onnx"
        onnx.save(patch, str(before))
        tool.quantize_static(
            str(before),
            str(after),
            _reader(tool)(read_patches(table.patches, dataset, table.spec)),
            quant_format=tool.QuantFormat.QDQ,
            per_channel=True,
            activation_type=tool.QuantType.QUInt8,
            weight_type=tool.QuantType.QInt8,
            calibrate_method=getattr(tool.CalibrationMethod, _METHODS[table.method]),
            nodes_to_exclude=[FIRST, LOGITS],
        )
        quantized = onnx.load(str(after))
    manifest = model.manifest.changed(precision="int8", target="onnxruntime", ranges_sha256=table.sha256)
    write_bytes(out, spliced(model.network, quantized, manifest.to_properties()).SerializeToString(deterministic=True))


def _reader(tool: Any) -> Any:
    """A CalibrationDataReader, whose base class is ONNX Runtime's."""

    class Reader(tool.CalibrationDataReader):  # type: ignore[misc]  # a class of a package that comes in late
        """One patch at a time."""

        def __init__(self, patches: Iterator[tuple[Any, Any]]) -> None:
            self._patches = patches

        def get_next(self) -> dict[str, Any] | None:
            """The next patch as a batch of one; None at the end."""
            patch = next(self._patches, None)
            return None if patch is None else {TILES: np.expand_dims(patch[1], 0)}

    return Reader

"""NVIDIA Model Optimizer on the same network and patches: what our placement for TensorRT is compared with.

In:   a float32 file of `lineside export`, and its table of ranges, whose patches are measured again.
Out:  a file in the Q/DQ form of `modelopt.onnx.quantization`, with the same layers outside of INT8 as `lineside quantize` leaves there.
The network alone is quantised and put back, so that cutting, softmax and stitching are the same in both. Model Optimizer is not a
dependency: where it is absent, it is left out of the comparison.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from lineside._optional import require
from lineside.calibration.ranges.sampler import read_patches
from lineside.calibration.ranges.table import RangesTable
from lineside.errors import ModelError
from lineside.files import write_bytes
from lineside.graph.float_model import FloatModel
from lineside.graph.network import FIRST, LOGITS, TILES
from lineside.graph.splice import spliced

_METHODS = {"minmax": "max", "entropy": "entropy"}
_PACKAGE = "modelopt"


def modelopt_is_there() -> bool:
    """Whether Model Optimizer is installed; nothing is imported."""
    return find_spec(_PACKAGE) is not None


def write_with_modelopt(source: Path, ranges: Path, dataset: Path, out: Path) -> None:
    """Quantise the float32 file `source` by the patches of the table in the file `ranges`, and write `out`.

    In a process of its own: Model Optimizer replaces parts of ONNX Runtime's quantiser, which then no longer works by itself.

    Raises:
        ModelError: Model Optimizer cannot; what it said is in the error.
    """
    command = [sys.executable, "-m", "lineside.benchmarks.studies.modelopt_quantizer", *map(str, (source, ranges, dataset, out))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise ModelError(f"{source}: Model Optimizer failed", why=said[-1] if said else "", fix="leave it out: uninstall nvidia-modelopt")


def _write(source: Path, table: RangesTable, dataset: Path, out: Path) -> None:
    onnx = require("onnx", extra="export")
    tool = require("modelopt.onnx.quantization", extra="bench")
    model = FloatModel.read(source)
    patches = np.stack([patch for _, patch in read_patches(table.patches, dataset, table.spec)])
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "network.onnx", Path(folder) / "quantized.onnx"
        onnx.save(model.network.patch_model(), str(before))
        tool.quantize(
            str(before),
            quantize_mode="int8",
            calibration_data={TILES: patches},
            calibration_method=_METHODS.get(table.method, "max"),
            calibration_eps=["cpu"],
            nodes_to_exclude=[FIRST, LOGITS],
            high_precision_dtype="fp32",
            output_path=str(after),
            log_level="ERROR",
        )
        quantized = onnx.load(str(after))
    manifest = model.manifest.changed(precision="int8", target="tensorrt", ranges_sha256=table.sha256)
    write_bytes(out, spliced(model.network, quantized, manifest.to_properties()).SerializeToString(deterministic=True))


if __name__ == "__main__":
    model, ranges, data, written = map(Path, sys.argv[1:])
    _write(model, RangesTable.read(ranges), data, written)

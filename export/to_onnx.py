"""From a checkpoint to one full-image ONNX file: write, check, and only then rename into place.

In:   a checkpoint of `lineside train`.
Out:  the ONNX file and an `ExportSummary`. A failed check leaves nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lineside.files import file_being_written, refuse_existing
from lineside.manifest import ModelManifest, sha256_of_file
from lineside.synth.defects import DefectOptions, add_defects
from lineside.train.checkpoint import Checkpoint, load_checkpoint

from .check import CheckReport, check
from .graph import ExportOptions, io_shapes, onnx_model

CHECK_SEED = 0
"""Of the defects added to the strips of the check: without any, every heatmap would be nearly zero and prove little."""


@dataclass(frozen=True, kw_only=True)
class ExportSummary:
    """What was written: the file, its metadata, its size, its operators, and how close it is to PyTorch."""

    path: Path
    manifest: ModelManifest
    options: ExportOptions
    size_bytes: int
    nodes: int
    convolutions: int
    check: CheckReport

    @property
    def takes(self) -> str:
        """The input as a caller has to give it."""
        name, *_ = shapes = io_shapes(self.manifest.spec, self.options)
        dtype = self.options.raw_dtype + " in 0..255" if self.options.io == "raw" else "float32 in 0..1"
        return f"{name} {_shape(shapes[name])} {dtype}"

    @property
    def gives(self) -> str:
        """The outputs as a caller gets them."""
        _, *names = shapes = io_shapes(self.manifest.spec, self.options)
        return ", ".join(f"{name} {_shape(shapes[name])} float32" for name in names)

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        return {
            "path": str(self.path),
            "takes": self.takes,
            "gives": self.gives,
            "size_bytes": self.size_bytes,
            "nodes": self.nodes,
            "convolutions": self.convolutions,
            "opset": self.options.opset,
            "check": asdict(self.check),
            "manifest": self.manifest.to_json(),
        }


def export_checkpoint(source: Path, out: Path, options: ExportOptions = ExportOptions(), *, force: bool = False) -> ExportSummary:
    """Export the checkpoint `source` to the ONNX file `out`.

    Raises:
        CheckpointError: `source` is not a checkpoint of ours.
        OutputError: `out` exists and `force` is off, or cannot be written.
        ModelError: The written model does not compute what PyTorch computes.
    """
    refuse_existing(out, force=force)
    checkpoint = load_checkpoint(source)
    network = checkpoint.network()
    manifest = ModelManifest(
        spec=checkpoint.spec,
        tiling=options.tiling,
        io=options.io,
        threshold=checkpoint.threshold,
        threshold_rule=checkpoint.threshold_rule,
        base_channels=checkpoint.base_channels,
        weights_sha256=checkpoint.weights_sha256,
        checkpoint_sha256=sha256_of_file(source),
    )
    model = onnx_model(network, manifest, options)
    manifest = replace(manifest, precision=options.precision)
    with file_being_written(out) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
        report = check(temporary, network, checkpoint.spec, options, _strips_to_check(checkpoint))
        size_bytes = temporary.stat().st_size
    return ExportSummary(
        path=out,
        manifest=manifest,
        options=options,
        size_bytes=size_bytes,
        nodes=len(model.graph.node),
        convolutions=sum(node.op_type == "Conv" for node in model.graph.node),
        check=report,
    )


def _strips_to_check(checkpoint: Checkpoint) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The strips of the training set that the checkpoint carries, with defects: (N, 3, H, W) float32, whole grey levels."""
    strips = checkpoint.examples.numpy().astype(np.float32)
    rng = np.random.default_rng(CHECK_SEED)
    for strip in strips:
        add_defects(strip, rng, DefectOptions(share=1.0))
    return np.rint(strips)


def _shape(sides: list[Any]) -> str:
    return f"({', '.join(str(side) for side in sides)}{',' if len(sides) == 1 else ''})"

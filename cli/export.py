"""`lineside export`: checkpoint -> full-image ONNX."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from lineside._optional import require

from ._console import ForceOption, JsonOption, check_json, emit, err, facts


class TilingChoice(str, Enum):
    """How the graph cuts strips."""

    batched = "batched"
    unrolled = "unrolled"
    full = "full"


class IoChoice(str, Enum):
    """What goes in and comes out."""

    production = "production"
    raw = "raw"


class PrecisionChoice(str, Enum):
    """What the network computes in."""

    fp32 = "fp32"
    fp16 = "fp16"


class RawDtypeChoice(str, Enum):
    """What a raw graph takes."""

    float32 = "float32"
    uint8 = "uint8"


def export(
    checkpoint: Annotated[Path, typer.Argument(help="best.pt of `lineside train`.")],
    out: Annotated[Path, typer.Option(help="The ONNX file to write.")],
    tiling: Annotated[
        TilingChoice, typer.Option(help="batched: tiles as one batch; unrolled: one copy per tile; full: one pass.")
    ] = TilingChoice.batched,
    io: Annotated[
        IoChoice, typer.Option(help="production: input -> output in 0..1; raw: camera values -> heatmap and score.")
    ] = IoChoice.production,
    precision: Annotated[
        PrecisionChoice, typer.Option(help="fp16: the network in half precision; inputs and outputs stay as they are.")
    ] = PrecisionChoice.fp32,
    opset: Annotated[int, typer.Option(help="ONNX opset, 11 to 23; older callers have 11.")] = 18,
    batch: Annotated[int | None, typer.Option(help="Fix the batch; dynamic unless said.")] = None,
    raw_dtype: Annotated[RawDtypeChoice, typer.Option(help="With --io raw: what the camera gives.")] = RawDtypeChoice.float32,
    json: JsonOption = None,
    force: ForceOption = False,
) -> None:
    """Write one full-image ONNX file with everything inside.

    Tiling, stitching and softmax are in the graph. It is checked against PyTorch before it is kept.

    Example: lineside export RUN/best.pt --out strip.onnx

    Example: lineside export RUN/best.pt --out camera.onnx --io raw --raw-dtype uint8
    """
    require("torch", extra="export")
    from lineside.export.graph import ExportOptions
    from lineside.export.to_onnx import export_checkpoint

    check_json(json, force=force)
    options = ExportOptions(
        tiling=tiling.value, io=io.value, precision=precision.value, opset=opset, batch=batch, raw_dtype=raw_dtype.value
    )
    with err.status("exporting and checking against PyTorch"):
        summary = export_checkpoint(checkpoint, out, options, force=force)
    spec = summary.manifest.spec
    table = facts(
        f"{summary.path}",
        [
            ("takes", summary.takes),
            ("gives", summary.gives),
            ("strips", f"{spec.size}, {len(spec.grid)} tiles of {spec.tile_px} px, {tiling.value}"),
            ("precision", summary.manifest.precision),
            ("opset", opset),
            ("threshold", f"{summary.manifest.threshold:.6g} ({summary.manifest.threshold_rule})"),
            ("size", f"{summary.size_bytes / 2**20:.1f} MiB, {summary.nodes} nodes, {summary.convolutions} convolutions"),
            ("check", f"PyTorch and ONNX Runtime differ by {summary.check.max_difference:.1e} at most on {summary.check.strips} strips"),
            ("next", f"lineside infer {summary.path} STRIPS --out RESULTS"),
        ],
    )
    emit(summary.to_json(), table, json=json)

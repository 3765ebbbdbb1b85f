"""`lineside show`: what a file is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from lineside._optional import require
from lineside.errors import DeviceError, MissingPackageError, ModelError
from lineside.kinds import CHECKPOINT, ENGINES, ONNX, RANGES, kind_of
from lineside.manifest import ModelManifest

from ._console import ForceOption, JsonOption, check_json, emit, facts
from .tables.engine import engine_tables, layers_table
from .tables.layer_precision import executed_table
from .tables.ranges import ranges_tables

if TYPE_CHECKING:
    from lineside.graph.describe import OnnxDescription
    from lineside.train.checkpoint import Checkpoint


def show(
    file: Annotated[
        Path,
        typer.Argument(
            help="A checkpoint (.pt), an ONNX file, ours or anybody's, a table of ranges (.json), or an engine (.engine, .plan)."
        ),
    ],
    json: JsonOption = None,
    force: ForceOption = False,
) -> None:
    """Say what a file is: shapes, precision, where it comes from.

    An engine is described by its sidecar, which needs no GPU; with one, its layers are read from the engine itself.

    Example: lineside show strip.onnx

    Example: lineside show strip.ranges.json

    Example: lineside show strip.engine
    """
    check_json(json, force=force)
    if not file.is_file():
        raise ModelError(
            f"{file}: no such file",
            why="a checkpoint, an ONNX file, a table of ranges or an engine was expected there",
            fix="check the path",
        )
    kind = kind_of(file)
    if kind == "checkpoint":
        require("torch", extra="train")
        from lineside.train.checkpoint import load_checkpoint

        checkpoint = load_checkpoint(file)
        emit(checkpoint.to_json(), _checkpoint_table(file, checkpoint), json=json)
    elif kind == "onnx":
        from lineside.graph.describe import describe_onnx

        description = describe_onnx(file)
        emit(description.to_json(), *_onnx_tables(description), json=json)
    elif kind == "ranges":
        from lineside.calibration.ranges.table import RangesTable

        ranges = RangesTable.read(file)
        emit({"path": str(file), **ranges.to_json()}, *ranges_tables(file, ranges), json=json)
    elif kind == "engine":
        _show_engine(file, json)
    else:
        raise ModelError(
            f"{file}: a file of type {file.suffix or 'unknown'}",
            why="checkpoints, ONNX files, tables of ranges and engines can be shown",
            fix=f"name a {CHECKPOINT}, {ONNX}, {RANGES}, {' or '.join(ENGINES)} file",
        )


def _show_engine(file: Path, json: str | None) -> None:
    from lineside.engine.files.sidecar import EngineManifest
    from lineside.engine.run.engine_layers import engine_layers
    from lineside.engine.run.refusals import read_plan

    manifest = EngineManifest.read(file)
    plan, _ = read_plan(file, manifest)
    try:
        layers, source = engine_layers(file, plan, manifest), "as the engine inspector says now"
    except (DeviceError, MissingPackageError, ModelError) as exc:  # this machine cannot ask it; the sidecar has kept the answer
        layers, source = manifest.layers, f"as the engine inspector said when it was built ({exc.what})"
    value = {**manifest.to_json(), "kind": "engine", "path": str(file), "layers": [asdict(layer) for layer in layers]}
    emit({**value, "layers_from": source}, *engine_tables(file, manifest), layers_table(layers, source), json=json)


def _checkpoint_table(file: Path, checkpoint: Checkpoint) -> Table:
    spec = checkpoint.spec
    return facts(
        f"{file}: checkpoint",
        [
            ("strips", f"{spec.name} {spec.size}, {len(spec.grid)} tiles of {spec.tile_px} px"),
            ("network", f"UNet, {checkpoint.base_channels} base channels, {_parameters(checkpoint) / 1e6:.2f} M parameters"),
            (
                "trained",
                f"{checkpoint.epoch} of {checkpoint.options.epochs} epochs on {checkpoint.dataset}, seed {checkpoint.options.seed}",
            ),
            *((name.replace("_", " "), f"{value:.4f}") for name, value in checkpoint.metrics.items() if value is not None),
            ("threshold", f"{checkpoint.threshold:.6g} ({checkpoint.threshold_rule})"),
            ("best by", checkpoint.chosen_by),
            ("weights sha256", checkpoint.weights_sha256),
            ("data set fingerprint", checkpoint.dataset_fingerprint),
            ("made with", _versions(checkpoint.versions)),
        ],
    )


def _parameters(checkpoint: Checkpoint) -> int:
    return sum(parameter.numel() for parameter in checkpoint.network().parameters())


def _onnx_tables(description: OnnxDescription) -> tuple[Table, ...]:
    graph = facts(
        f"{description.path}: ONNX",
        [
            ("inputs", "\n".join(description.inputs)),
            ("outputs", "\n".join(description.outputs)),
            ("opset", f"{description.opset} (file format {description.ir_version})"),
            ("nodes", ", ".join(f"{count} {name}" for name, count in description.nodes.items())),
            ("weights", ", ".join(f"{size / 2**20:.2f} MiB {name}" for name, size in description.weight_bytes.items()) or "none"),
            ("size", f"{description.size_bytes / 2**20:.2f} MiB"),
            ("sha256", description.sha256),
            ("producer", description.producer),
        ],
    )
    if description.manifest is None:
        none = "this file carries no metadata of lineside: who trained it on what is not known"
        if description.executed is not None:
            none = "a model of another program, which lineside quantised: who trained it on what is not known"
        lineage = facts("Lineage", [("none", none)])
    else:
        lineage = facts("Lineage", _lineage(description.manifest))
    if description.executed is None:
        return graph, lineage
    return graph, lineage, executed_table(description.executed, title="How it will run")


def _lineage(manifest: ModelManifest) -> list[tuple[str, Any]]:
    spec = manifest.spec
    return [
        ("strips", f"{spec.name} {spec.size}, {len(spec.grid)} tiles of {spec.tile_px} px"),
        ("form", f"tiling {manifest.tiling}, io {manifest.io}, precision {manifest.precision}"),
        ("threshold", f"{manifest.threshold:.6g} ({manifest.threshold_rule})"),
        ("network", f"UNet, {manifest.base_channels} base channels"),
        ("weights sha256", manifest.weights_sha256),
        ("checkpoint sha256", manifest.checkpoint_sha256),
        ("made with", _versions(manifest.versions)),
    ]


def _versions(versions: Any) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())

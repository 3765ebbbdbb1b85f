"""What an engine is, as tables of the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from lineside.cli._console import facts
from lineside.engine.files.qualification_mark import doubt

if TYPE_CHECKING:
    from lineside.engine.builder.plan import BuildPlan
    from lineside.engine.files.sidecar import EngineManifest, LayerPrecision

_MIB = 2**20


def engine_tables(path: Path, manifest: EngineManifest) -> tuple[Table, ...]:
    """The engine, its precision, and where it comes from."""
    model, spec = manifest.model, manifest.model.spec
    kinds = [
        kind for kind, on in (("version-compatible", manifest.version_compatible), ("Ampere and newer", manifest.hardware_compatible)) if on
    ]
    engine = facts(
        f"{path}: TensorRT engine",
        [
            ("takes", f"{manifest.input_dtype}, io {model.io}, batch {manifest.profiles}"),
            ("strips", f"{spec.name} {spec.size}, {len(spec.grid)} tiles of {spec.tile_px} px, {model.tiling}"),
            ("for", f"{manifest.gpu} (compute capability {_dotted(manifest.compute_capability)}), TensorRT {manifest.tensorrt}"),
            *([("also for", ", ".join(kinds))] if kinds else []),
            ("built", f"{manifest.built_at} in {manifest.build_seconds:.1f} s, driver of CUDA {_dotted(manifest.driver_cuda)}"),
            ("memory", f"{manifest.device_memory_bytes / _MIB:.1f} MiB per context"),
            ("threshold", f"{model.threshold:.6g} ({model.threshold_rule})"),
            ("golden strips", manifest.golden.name if manifest.golden else "none"),
            ("qualified", f"no: {why}" if (why := doubt(manifest)) else "yes"),
        ],
    )
    return engine, _precision_table(manifest), _lineage_table(manifest)


def layers_table(layers: Sequence[LayerPrecision], source: str) -> Table:
    """Every layer with its precision; `source` says who says so."""
    table = Table("layer", "type", "precision", title=Text(f"Layers, {source}"), title_justify="left", title_style="bold")
    for layer in layers:
        table.add_row(Text(layer.name), Text(layer.kind), layer.precision)
    return table


def plan_table(plan: BuildPlan) -> Table:
    """What would be built, what it needs, and the command."""
    onnx, manifest, memory = plan.onnx, plan.onnx.manifest, plan.memory
    return facts(
        f"Plan for {onnx.path}",
        [
            ("takes", f"{onnx.input_dtype}, io {manifest.io}, {manifest.spec.size} px, batch {plan.profiles}"),
            ("profiles", ", ".join(f"{one.min}..{one.max}, fastest at {one.opt}" for one in plan.profiles.profiles)),
            ("precision", _planned(plan)),
            ("graph", f"opset {onnx.opset}, tiling {manifest.tiling}, {sum(onnx.nodes.values())} nodes, {onnx.size_bytes / _MIB:.1f} MiB"),
            (
                "device memory",
                f"about {memory.device / _MIB:.0f} MiB, {memory.activations / _MIB:.0f} of them activations; the rest is workspace",
            ),
            ("RAM", f"about {memory.host / _MIB:.0f} MiB in the build process"),
            *(("warning", text) for text in plan.warnings),
            ("command", plan.command),
        ],
    )


def _planned(plan: BuildPlan) -> str:
    onnx = plan.onnx
    if onnx.manifest.precision != "int8":
        return f"{onnx.manifest.precision}, {len(onnx.convolutions)} convolutions"
    return f"int8, {len(onnx.int8)} of {len(onnx.convolutions)} convolutions"


def _precision_table(manifest: EngineManifest) -> Table:
    counts = Counter(layer.precision for layer in manifest.layers if layer.onnx)
    rows: list[tuple[str, object]] = [
        ("layers", len(manifest.layers)),
        ("convolutions", ", ".join(f"{count} layers {precision}" for precision, count in counts.most_common()) or "none named"),
    ]
    if manifest.int8_planned:
        rows.append(("int8", f"{manifest.int8_built} of {manifest.int8_planned} planned convolutions"))
    return facts("Precision, as built", rows)


def _lineage_table(manifest: EngineManifest) -> Table:
    model = manifest.model
    return facts(
        "Lineage",
        [
            ("ONNX", f"{manifest.onnx} {manifest.onnx_sha256}"),
            ("precision of the file", model.precision),
            ("weights sha256", model.weights_sha256),
            ("checkpoint sha256", model.checkpoint_sha256),
            *([("ranges sha256", model.ranges_sha256)] if model.ranges_sha256 else []),
            ("made with", ", ".join(f"{name} {version}" for name, version in model.versions.items())),
            ("engine sha256", manifest.plan_sha256),
        ],
    )


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))

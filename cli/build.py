"""`lineside build`: ONNX -> TensorRT engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lineside.errors import ANSWER_IS_NO

from ._console import ForceOption, JsonOption, check_json, emit, facts
from .tables.build_progress import BuildProgress
from .tables.engine import engine_tables, plan_table
from .tables.layer_precision import executed_table

if TYPE_CHECKING:
    from lineside.engine.files.build_options import BuildOptions


def build(
    onnx: Annotated[Path, typer.Argument(help="ONNX file of `lineside export` or `lineside quantize --target tensorrt`.")],
    out: Annotated[Path, typer.Option(help="The engine to write, NAME.engine; its sidecar NAME.engine.json lies beside it.")],
    batch: Annotated[
        str | None,
        typer.Option(help="Strips at once: a size (1), a list with a profile each (1,4,8), or a range (1:8, 1:4:8); 1 unless said."),
    ] = None,
    workspace_mib: Annotated[
        int | None,
        typer.Option("--workspace-mib", "--workspace-mb", help="Scratch memory of a layer in MiB; 3/4 of what is free unless said."),
    ] = None,
    timing_cache: Annotated[
        Path | None, typer.Option(help="Measured tactics: read before, written after; makes the next build quick.")
    ] = None,
    optimization_level: Annotated[int, typer.Option(help="0 (built fast) to 5 (runs fast).")] = 3,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="Runs on newer versions of TensorRT and on the lean runtime.")
    ] = False,
    hardware_compatibility: Annotated[
        bool, typer.Option("--hardware-compatibility", help="Runs on every GPU from Ampere on, more slowly.")
    ] = False,
    device: Annotated[int, typer.Option(help="The GPU to build on and for.")] = 0,
    time_limit: Annotated[float | None, typer.Option(metavar="SECONDS", help="End the build after that long.")] = None,
    allow_fallback: Annotated[
        bool, typer.Option("--allow-fallback", help="Keep an INT8 engine that runs fewer layers in INT8 than planned.")
    ] = False,
    golden: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="STRIPS", help="Three of these strips, or of a folder, go beside the engine to check it with; may be given again."
        ),
    ] = None,
    plan_only: Annotated[bool, typer.Option("--plan-only", help="Say what would be built and check the graph; needs no GPU.")] = False,
    json: JsonOption = None,
    force: ForceOption = False,
) -> None:
    """Build a TensorRT engine for the GPU of this machine. Its precision is that of the file.

    Example: lineside build strip.int8.onnx --out strip.engine

    Example: lineside build strip.onnx --out strip.engine --batch 1,4,8 --golden data/test

    Example: lineside build strip.int8.onnx --out strip.engine --plan-only  (exit code 3 when the graph breaks a rule of TensorRT's)
    """
    from lineside.engine.files.build_options import BuildOptions
    from lineside.engine.files.profiles import BatchProfiles

    check_json(json, force=force)
    options = BuildOptions(
        batch=None if batch is None else BatchProfiles.parse(batch),
        workspace_mib=workspace_mib,
        timing_cache=timing_cache,
        optimization_level=optimization_level,
        version_compatible=version_compatible,
        hardware_compatible=hardware_compatibility,
        device=device,
        time_limit_s=time_limit,
        allow_fallback=allow_fallback,
        golden=_golden(golden, out),
    )
    if plan_only:
        _show_plan(onnx, out, options, json)
        return
    from lineside.engine.builder.build import build as build_engine

    with BuildProgress() as progress:
        manifest = build_engine(onnx, out, options, force=force, listener=progress)
    emit({"path": str(out), **manifest.to_json()}, *engine_tables(out, manifest), json=json)


def _golden(named: list[Path] | None, out: Path) -> tuple[Path, ...]:
    from lineside.engine.builder.golden_strips import choose
    from lineside.engine.infer.strip_names import find_sources

    return choose([source.path for source in find_sources(named, out=out)] if named else [])


def _show_plan(onnx: Path, out: Path, options: BuildOptions, json: str | None) -> None:
    from lineside.engine.builder.plan import plan

    planned = plan(onnx, out, options)
    from lineside.calibration.place.tensorrt_rules import broken_rules
    from lineside.graph.layer_precision import executed
    from lineside.graph.model_file import read_model

    model = read_model(onnx)
    broken = broken_rules(model)
    runs = executed(model, path=onnx)
    verdict = [("rule broken", sentence) for sentence in broken] or [("Q/DQ rules", "all kept")]
    emit(
        {**planned.to_json(), "executed": runs.to_json(), "broken_rules": list(broken)},
        plan_table(planned),
        executed_table(runs, title="How it will run"),
        facts("Graph", verdict),
        json=json,
    )
    if broken:
        raise typer.Exit(ANSWER_IS_NO)

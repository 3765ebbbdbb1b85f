"""`lineside infer`: inspect files and folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.table import Table

from ._console import ForceOption, JsonOption, ProviderOption, bar, check_json, emit, facts

if TYPE_CHECKING:
    from lineside.engine.device.protocol import CudaBackend
    from lineside.engine.infer.folder import Summary


def infer(
    model: Annotated[Path, typer.Argument(help="ONNX file from `lineside export`, or engine from `lineside build`.")],
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Strips, or folders of strips with all their subfolders.")],
    out: Annotated[Path, typer.Option(help="Folder for heatmaps, pictures, results.csv and results.json.")],
    threshold: Annotated[float | None, typer.Option(help="NG at or above this score; the model's own unless said.")] = None,
    full_scale: Annotated[
        float | None, typer.Option(help="The value of white in the files; uint16 files need it; what the model says unless said.")
    ] = None,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="The seven-panel picture of every strip.")] = True,
    provider: ProviderOption = None,
    threads: Annotated[int | None, typer.Option(help="Threads of one run; every physical core unless said.")] = None,
    cuda_backend: Annotated[
        str, typer.Option(help="What works the GPU for an engine: cuda-python, pycuda, or auto for the one that is installed.")
    ] = "auto",
    fallback: Annotated[Path | None, typer.Option(help="ONNX file that inspects when the engine cannot; the results say so.")] = None,
    json: JsonOption = None,
    force: ForceOption = False,
) -> None:
    """Inspect strips: a verdict, a heatmap and a picture for each.

    A file that cannot be inspected becomes a row with its error; the rest is done, and the exit code is 2.

    Example: lineside infer strip.onnx data/test --out results

    Example: lineside infer strip.onnx today/0001.tif --out results --threshold 0.8 --no-pictures

    Example: lineside infer strip.engine data/test --out results --fallback strip.onnx
    """
    from lineside.engine.infer.folder import FolderOptions, inspect_files
    from lineside.engine.infer.strip_names import find_sources
    from lineside.engine.inspector import Inspector

    check_json(json, force=force)
    sources = find_sources(paths, out=out)
    options = FolderOptions(out=out, pictures=pictures, force=force, full_scale=full_scale)
    worker = cast("CudaBackend", cuda_backend)  # another name is refused with the list of these
    with Inspector.load(
        model, providers=provider, threads=threads, threshold=threshold, cuda_backend=worker, fallback=fallback
    ) as inspector:
        summary = inspect_files(inspector, sources, options, bar)
    emit(summary.to_json(), _verdicts(summary), _work(summary), json=json)
    summary.refuse_failures()


def _verdicts(summary: Summary) -> Table:
    table = Table(title="Verdicts", title_justify="left", title_style="bold")
    table.add_column("verdict", style="cyan")
    table.add_column("strips", justify="right")
    for verdict, count in summary.counts.items():
        table.add_row(verdict, str(count))
    return table


def _work(summary: Summary) -> Table:
    model = summary.model
    rows: list[tuple[str, object]] = [("model", model["path"]), ("threshold", f"{model['threshold']:.6g}"), ("ran on", _ran_on(model))]
    if model["fallback"]:
        rows.append(("in place of", f"{model['fallback']['engine']}: {model['fallback']['why']}"))
    return facts("Work", [*rows, ("results", summary.out / "results.csv")])


def _ran_on(model: dict[str, Any]) -> str:
    if model["backend"] == "tensorrt":
        return f"{model['gpu']}, TensorRT {model['tensorrt']}, {model['cuda_backend']}, CUDA graph {'on' if model['graph'] else 'off'}"
    return f"{', '.join(model['nodes'] or model['providers'])}, {model['threads']} threads, ONNX Runtime {model['onnxruntime']}"

"""`lineside quantize`: a float ONNX file -> FP16 or INT8."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lineside.errors import ANSWER_IS_NO, ConfigError

from ._console import ForceOption, JsonOption, bar, check_json, emit, err, facts
from ._targets import CpuChoice, TargetChoice
from .tables.auto import auto_tables
from .tables.layer_precision import executed_table

if TYPE_CHECKING:
    from rich.table import Table

    from lineside.calibration.place.precision_file import PrecisionSummary
    from lineside.calibration.place.quantize import QuantizeOptions


class PrecisionChoice(str, Enum):
    """What the network becomes."""

    int8 = "int8"
    fp16 = "fp16"


class RestChoice(str, Enum):
    """What is not quantised."""

    fp16 = "fp16"
    fp32 = "fp32"


def quantize(
    model: Annotated[
        Path,
        typer.Argument(help="A float ONNX file of `lineside export`, of any tiling and io form; or of another program, with its table."),
    ],
    out: Annotated[Path, typer.Option(help="The ONNX file to write.")],
    ranges: Annotated[
        Path | None, typer.Argument(help="Its table of ranges, of `lineside calibrate`; FP16 can do without, and is safer with.")
    ] = None,
    precision: Annotated[PrecisionChoice, typer.Option(help="What the network becomes.")] = PrecisionChoice.int8,
    target: Annotated[TargetChoice | None, typer.Option(help="Who will run the INT8 file: each wants Q/DQ nodes elsewhere.")] = None,
    keep: Annotated[list[str] | None, typer.Option(help="A layer to leave as it is, by its convolution; may be given again.")] = None,
    rest: Annotated[
        RestChoice | None, typer.Option(help="What is not INT8; FP16 for TensorRT and FP32 for ONNX Runtime, unless said.")
    ] = None,
    quantize_first_and_last: Annotated[
        bool, typer.Option("--quantize-first-and-last", help="Also the first layer and the logits, which stay as they are otherwise.")
    ] = False,
    cpu: Annotated[
        CpuChoice | None,
        typer.Option(help="For ONNX Runtime: any CPU (the default; 7-bit weights where 8 could saturate), or only those with VNNI."),
    ] = None,
    auto: Annotated[
        Path | None,
        typer.Option(metavar="DATASET", help="Keep as many layers in INT8 as keep the verdicts on DATASET/test, or say: ship FP16."),
    ] = None,
    json: JsonOption = None,
    force: ForceOption = False,
) -> None:
    """Give a float model INT8 or FP16.

    The file says everything: no later command has a precision option.

    Example: lineside quantize strip.onnx strip.ranges.json --target tensorrt --out strip.int8.onnx

    Example: lineside quantize strip.onnx strip.ranges.json --target tensorrt --out strip.int8.onnx --auto DATASET

    Example: lineside quantize strip.onnx --precision fp16 --out strip.fp16.onnx
    """
    from lineside.calibration.place.precision_file import write_half, write_quantized
    from lineside.calibration.place.quantize import QuantizeOptions

    check_json(json, force=force)
    kept = frozenset(keep or ())
    if precision is PrecisionChoice.fp16:
        if target or rest or quantize_first_and_last or auto or cpu:
            raise ConfigError("an option of INT8 with --precision fp16", why="FP16 is the same for every target", fix="leave it out")
        with err.status("casting"):
            summary = write_half(model, out, ranges=ranges, keep=kept, force=force)
    else:
        if ranges is None or target is None:
            raise ConfigError(
                f"no {'table of ranges' if ranges is None else '--target'} for INT8",
                why="INT8 needs the ranges of all tensors, and each target wants Q/DQ nodes elsewhere",
                fix=f"lineside calibrate {model} DATASET --out RANGES; lineside quantize {model} RANGES --target tensorrt --out {out}",
            )
        options = QuantizeOptions(
            target=target.value,
            keep=kept,
            rest=rest.value if rest else None,
            first_and_last=quantize_first_and_last,
            cpu=cpu.value if cpu else None,
        )
        if auto is not None:
            _quantize_automatically(model, ranges, auto, out, options, json, force)
            return
        with err.status("quantising"):
            summary = write_quantized(model, ranges, out, options, force=force)
    emit(summary.to_json(), *_tables(summary), json=json)


def _quantize_automatically(
    model: Path, ranges: Path, dataset: Path, out: Path, options: QuantizeOptions, json: str | None, force: bool
) -> None:
    from lineside.calibration.judge.auto import quantize_automatically, report_path

    result, written = quantize_automatically(model, ranges, dataset, out, options, force=force, progress=bar)
    tables = () if written is None else _tables(written)
    emit({**result.to_json(), "written": written and written.to_json()}, *auto_tables(result, model, report_path(out)), *tables, json=json)
    if written is None:
        raise typer.Exit(ANSWER_IS_NO)


def _tables(summary: PrecisionSummary) -> tuple[Table, Table]:
    manifest, path = summary.manifest, summary.path
    form = f"{manifest.precision}, tiling {manifest.tiling}, io {manifest.io}; " if manifest else ""
    written = facts(
        f"{path}",
        [
            ("form", f"{form}inputs and outputs as before"),
            ("size", f"{summary.size_bytes / 2**20:.2f} MiB, {summary.size_bytes / summary.source_bytes:.0%} of the float file"),
            ("next", f"lineside evaluate {path} DATASET" if manifest else f"its answers are yours to judge; lineside bench {path}"),
        ],
    )
    return written, executed_table(summary.executed, title="How it will run")

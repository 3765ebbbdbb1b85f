"""`lineside sensitivity`: which layers INT8 hurts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from lineside._optional import require
from lineside.dataset import Dataset
from lineside.files import make_output_folder, write_json

from ._console import ForceOption, JsonOption, bar, check_json, emit, facts
from ._targets import CpuChoice, TargetChoice

if TYPE_CHECKING:
    from lineside.calibration.judge.sensitivity import Sensitivity


def sensitivity(
    model: Annotated[Path, typer.Argument(help="A float ONNX file of `lineside export`, of any tiling and io form.")],
    ranges: Annotated[Path, typer.Argument(help="Its table of ranges, of `lineside calibrate`.")],
    dataset: Annotated[Path, typer.Argument(help="A data set with test/good, test/DEFECT and ground_truth/DEFECT.")],
    out: Annotated[Path | None, typer.Option(help="A folder for sensitivity.json and sensitivity.png.")] = None,
    target: Annotated[TargetChoice, typer.Option(help="Whose rules place the Q/DQ nodes.")] = TargetChoice.tensorrt,
    cpu: Annotated[CpuChoice | None, typer.Option(help="As of `quantize`: for ONNX Runtime, which CPUs the weights are for.")] = None,
    tiles: Annotated[int, typer.Option(help="How many tiles to look at; half of them hold a defect.")] = 96,
    seed: Annotated[int, typer.Option(help="Chooses the tiles.")] = 0,
    leave_one_out: Annotated[
        bool, typer.Option("--leave-one-out/--alone", help="--alone tries each layer by itself and takes half the time.")
    ] = True,
    json: JsonOption = None,
    force: ForceOption = False,
) -> None:
    """Find the layers that INT8 hurts.

    Quantises one layer at a time, and leaves one out of all: which of them change the heatmaps of DATASET/test?

    alone: this layer in INT8, the others in float32; the largest change of heat in a tile, as a mean over those with a defect and those
    of good strips. margin: what a tile's score loses of its distance from the threshold. but it: all layers in INT8 but this one.

    Example: lineside sensitivity strip.onnx strip.ranges.json DATASET --out SENSITIVITY
    """
    from lineside.calibration.judge.sensitivity import SensitivityOptions, measure_sensitivity
    from lineside.calibration.judge.sensitivity_chart import save_sensitivity
    from lineside.calibration.ranges.table import RangesTable
    from lineside.graph.float_model import FloatModel

    check_json(json, force=force)
    options = SensitivityOptions(target=target.value, tiles=tiles, seed=seed, leave_one_out=leave_one_out, cpu=cpu.value if cpu else None)
    table = RangesTable.read(ranges)
    opened = FloatModel.read(model, spec=table.spec)
    samples = Dataset.open(dataset, spec=opened.manifest.spec).test
    if out is not None:
        require("matplotlib", extra="bench")  # now, and not after minutes of work
        make_output_folder(out, force=force)
    result = measure_sensitivity(opened, table, samples, options, progress=bar)
    value = {"model": str(model), "ranges": str(ranges), "dataset": str(dataset), **result.to_json()}
    if out is not None:
        write_json(out / "sensitivity.json", value)
        save_sensitivity(out / "sensitivity.png", result)
    where = [] if out is None else [Text(f"{out}: sensitivity.json and the picture sensitivity.png")]
    emit(value, _overall(f"{model} in INT8 for {target.value}", result), _layers(result), *where, json=json)


def _overall(title: str, result: Sensitivity) -> Table:
    return facts(
        title,
        [
            ("tiles", f"{result.defective_tiles} with a defect, {result.good_tiles} of good strips, seed {result.seed}"),
            ("all in INT8", f"heat changes by {result.everything.heat:.2%}, margins shrink by {result.everything.margin:.2%}"),
        ],
    )


def _layers(result: Sensitivity) -> Table:
    table = Table(title="Layers, the worst first: change of heat in percent", title_justify="left", title_style="bold")
    table.add_column("layer", style="cyan", no_wrap=True)
    for column in ("work", "alone", "defects", "good", "margin", "but it"):
        table.add_column(column, justify="right", no_wrap=True)
    for layer in result.layers:
        damage = layer.alone
        but_it = None if layer.without is None else layer.without.heat
        values = (damage.heat, damage.defective, damage.good, damage.margin, but_it)
        table.add_row(layer.name, f"{layer.share:.1%}", *("-" if value is None else f"{100 * value:.2f}" for value in values))
    return table

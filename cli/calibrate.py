"""`lineside calibrate`: how far the tensors of a model reach."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from lineside.dataset import Dataset
from lineside.errors import ConfigError
from lineside.files import refuse_existing
from lineside.spec import StripSpec

from ._console import ForceOption, JsonOption, bar, check_json, emit, facts

if TYPE_CHECKING:
    from lineside.calibration.ranges.table import RangesTable
    from lineside.graph.float_model import FloatModel


class MethodChoice(str, Enum):
    """How a range is chosen from the values."""

    minmax = "minmax"
    entropy = "entropy"
    percentile = "percentile"


def calibrate(
    model: Annotated[
        Path, typer.Argument(help="A float ONNX file of `lineside export`, of any tiling and io form; or another program's, with --size.")
    ],
    dataset: Annotated[Path, typer.Argument(help="A data set; its good strips in train/good are looked at.")],
    out: Annotated[Path, typer.Option(help="The table to write, such as strip.ranges.json.")],
    method: Annotated[
        MethodChoice, typer.Option(help="Which range counts; the table holds those of all three methods.")
    ] = MethodChoice.minmax,
    percentile: Annotated[float, typer.Option(help="The share of values, in percent, that the method percentile keeps.")] = 99.99,
    patches: Annotated[int, typer.Option(help="How many patches to look at; half of them get synthetic defects.")] = 256,
    seed: Annotated[int, typer.Option(help="Chooses the patches and their defects.")] = 0,
    defects: Annotated[
        bool, typer.Option("--defects/--no-defects", help="--no-defects is for experiments: such a table fails `lineside audit`.")
    ] = True,
    size: Annotated[
        str | None,
        typer.Option(help="Of the strips of another program's model: strip (976x176), square (256x256), mvtec (1024x1024), HEIGHTxWIDTH."),
    ] = None,
    tile: Annotated[int | None, typer.Option(help="Side of its tiles, px, when it takes tiles; the size's own unless said.")] = None,
    full_scale: Annotated[float | None, typer.Option(help="The value of white in the files of --size; uint16 files need it.")] = None,
    json: JsonOption = None,
    force: ForceOption = False,
) -> None:
    """Measure the activation ranges of a model on good strips.

    On patches of them, half of them with synthetic defects.

    A model of another program has one input N x 3 x H x W, float32 in 0..1: whole strips, or tiles of them.

    Example: lineside calibrate strip.onnx DATASET --out strip.ranges.json

    Example: lineside calibrate other.onnx DATASET --size 976x176 --out other.ranges.json
    """
    from lineside.calibration.ranges.ranges import CalibrateOptions
    from lineside.calibration.ranges.ranges import calibrate as calibrate_model
    from lineside.calibration.ranges.sampler import SampleOptions
    from lineside.graph.float_model import FloatModel

    check_json(json, force=force)
    refuse_existing(out, force=force)
    options = CalibrateOptions(
        method=method.value, percentile=percentile, sample=SampleOptions(patches=patches, seed=seed, defects=defects)
    )
    spec = None if size is None else StripSpec.parse(size, tile_px=tile).with_files(full_scale=full_scale)
    if spec is None and (tile is not None or full_scale is not None):
        raise ConfigError("--tile or --full-scale without --size", why="they are of the strips that --size is of", fix="say --size too")
    opened = FloatModel.read(model, spec=spec)
    if spec is not None and opened.lineage is not None:
        raise ConfigError(f"--size with {model}", why=f"it says itself that its strips are {opened.spec.size} px", fix="leave it out")
    table = calibrate_model(opened, Dataset.open(dataset, spec=opened.spec), options, progress=bar)
    table.write(out)
    emit({"path": str(out), **table.to_json()}, _summary(opened, out, dataset, table), json=json)


def _summary(opened: FloatModel, out: Path, dataset: Path, table: RangesTable) -> Table:
    model, ours = opened.path, opened.lineage is not None
    ranges = {name: table.amax(name) for name in table.tensors}
    widest = max(ranges, key=lambda name: ranges[name])
    clipped = max(table.tensors, key=lambda name: table.tensors[name].clipped[table.method])
    return facts(
        f"{out}: ranges of {model}",
        [
            ("patches", f"{len(table.patches)} of {len(table.images)} strips, {table.with_defects} with defects, seed {table.seed}"),
            ("tensors", f"{len(table.tensors)}, by {table.method}"),
            ("widest range", f"{ranges[widest]:.4g} ({widest})"),
            ("most clipped", f"{table.tensors[clipped].clipped[table.method]:.2g} of the values ({clipped})"),
            ("dead tensors", ", ".join(table.dead) or "none"),
            ("sha256", table.sha256),
            ("next", f"lineside audit {out} {dataset}" if ours else f"lineside quantize {model} {out} --target tensorrt --out INT8"),
        ],
    )

"""`lineside synth`: a labelled data set of strips, from a photograph."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from lineside.spec import StripSpec
from lineside.synth.acquisition import MAX_SHIFT_PX
from lineside.synth.synthetic import SHIFT_PX, SynthOptions, synthesize

from ._console import ForceOption, JsonOption, bar, check_json, emit, facts


def synth(
    out: Annotated[Path, typer.Argument(help="The folder to make.")],
    texture: Annotated[
        Path | None,
        typer.Option(help="A photograph of the surface; colour becomes luminance, and it is never scaled. Without it one is made up."),
    ] = None,
    train: Annotated[int, typer.Option(help="Strips in train/good.")] = 24,
    valid: Annotated[int, typer.Option(help="Strips in each of valid/good and valid/spot.")] = 8,
    test: Annotated[int, typer.Option(help="Strips in each of test/good, test/spot, test/faint, test/blob and test/scratch.")] = 8,
    size: Annotated[str, typer.Option(help="strip (976x176), square (256x256), mvtec (1024x1024) or HEIGHTxWIDTH.")] = "strip",
    tile: Annotated[int | None, typer.Option(help="Side of the tiles, px; the size's own unless said.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same files, byte for byte.")] = 0,
    shift: Annotated[
        float, typer.Option(help=f"Misregistration: each channel is displaced by up to this, px, 0 to {MAX_SHIFT_PX:g}.")
    ] = SHIFT_PX,
    json: JsonOption = None,
    force: ForceOption = False,
) -> None:
    """Make a labelled data set of strips with defects and masks.

    Target, Ref1 and Ref2 are three acquisitions of one pattern. A third of the good strips in valid and test have defects in
    the references only, a third in all three channels: they must stay OK. --force replaces a data set that this command made,
    and nothing else.

    Example: lineside synth DATASET

    Example: lineside synth DATASET --texture photo.jpg --train 200 --valid 40 --test 40
    """
    check_json(json, force=force)
    spec = StripSpec.parse(size, tile_px=tile)
    options = SynthOptions(spec=spec, texture=texture, train=train, valid=valid, test=test, seed=seed, shift_px=shift)
    summary = synthesize(out, options, force=force, progress=bar)
    emit(
        summary.to_json(),
        _folders(f"{out}: {spec.size} px", summary.counts),
        facts("next", [("train", shlex.join(["lineside", "train", str(out), "--out", "RUN"]))]),
        json=json,
    )


def _folders(title: str, counts: Mapping[str, int]) -> Table:
    table = Table("folder", "strips", title=title, title_justify="left", title_style="bold")
    for folder, count in counts.items():
        table.add_row(folder, str(count))
    return table

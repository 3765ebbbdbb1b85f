"""`lineside tune`: the fastest tiling, precision and threads of this machine that keep the verdicts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from lineside._optional import require
from lineside.errors import ANSWER_IS_NO
from lineside.files import refuse_existing

from ._console import ForceOption, JsonOption, bar, check_json, emit, err, facts

if TYPE_CHECKING:
    from lineside.benchmarks.tune import Tuning


def tune(
    model: Annotated[Path, typer.Argument(help="A checkpoint, to try every tiling, or a float32 ONNX file.")],
    dataset: Annotated[Path, typer.Argument(help="A data set: train/good to calibrate on, labelled strips in test/ to qualify on.")],
    out: Annotated[Path | None, typer.Option(help="Where the chosen file goes; NAME.tuned.onnx beside the model unless said.")] = None,
    seconds: Annotated[float, typer.Option(help="Of latency, for all candidates together.")] = 120.0,
    json: JsonOption = None,
    force: ForceOption = False,
) -> None:
    """Choose the fastest file for this machine that qualifies.

    Measures every tiling and precision on this machine's CPU, and qualifies the fastest against the float32 model.

    Writes the chosen file, and beside it NAME.tuned.json with the number of threads, which `Inspector.load` then uses. Exits with 3 when
    the strips are too few to qualify anything.

    Example: lineside tune RUN/best.pt DATASET --out strip.tuned.onnx
    """
    require("onnx", extra="export")
    from lineside.benchmarks.tune import tune as tune_model
    from lineside.benchmarks.tune import write_choice

    check_json(json, force=force)
    out = out or model.with_suffix(".tuned.onnx")
    refuse_existing(out, force=force)
    err.print(f"calibrates, measures latency for {seconds:g} s without a bar, which would be in the numbers, and qualifies the fastest")
    with tempfile.TemporaryDirectory() as folder:
        found = tune_model(model, dataset, Path(folder), seconds=seconds, progress=bar)
        if found.chosen is not None:
            write_choice(found, out)
    emit(found.to_json(), _candidates(found), _choice(found, out), json=json)
    if found.chosen is None:
        raise typer.Exit(ANSWER_IS_NO)


def _candidates(found: Tuning) -> Table:
    title = f"Times as fast as {found.reference.name}, in one interleaved run"
    table = Table(title=Text(title), title_justify="left", title_style="bold")
    table.add_column("candidate", style="cyan", overflow="fold")
    for column in ("p50 ms", "p99 ms", "times", "95 %", "verdicts"):
        table.add_column(column, justify="right")
    for one in found.tried:
        total_ms, times = one.timed.row.total_ms, one.timed.times_faster
        numbers = (f"{total_ms.p50:.1f}", f"{total_ms.p99:.1f}", f"{times.value:.2f}", f"{times.low:.2f} .. {times.high:.2f}")
        table.add_row(Text(one.candidate.name), *numbers, one.answer)
    return table


def _choice(found: Tuning, out: Path) -> Table:
    if found.chosen is None:
        asked = next(one.qualification for one in reversed(found.tried) if one.qualification is not None)
        return facts("Nothing qualifies", [("why", text) for text in (*asked.failures, *asked.missing)])
    return facts(
        "The choice", [("model", out), ("runs as", found.chosen.candidate.name), ("next", f"lineside infer {out} STRIPS --out RESULTS")]
    )

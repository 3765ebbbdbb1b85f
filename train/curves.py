"""What a run looks like: metrics.csv, and curves.png.

In:   the history of a run: one row per epoch with the columns of `COLUMNS`, None where an epoch did not validate.
Out:  two files, whole or not at all.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lineside._optional import require
from lineside.files import file_being_written, write_text

Row = Mapping[str, float | None]

COLUMNS = ("epoch", "steps", "loss", "gamma", "lr", "seconds", "image_auroc", "pixel_auroc", "pixel_ap", "threshold")
_VALIDATED = {"image_auroc": "image AUROC", "pixel_ap": "pixel AP", "threshold": "threshold"}


def write_metrics_csv(path: Path, history: Sequence[Row]) -> None:
    """One line per epoch. Raises: OutputError."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_text(path, text.getvalue())


def draw_curves(path: Path, history: Sequence[Row], *, best: int) -> None:
    """Loss, validation metrics and learning rate over the epochs, the best epoch marked.

    Raises:
        OutputError: The disk is full or the place is not writable.
        MissingPackageError: matplotlib is not installed.
    """
    figure = require("matplotlib.figure", extra="train").Figure(figsize=(10, 7), layout="constrained")
    losses, validation, rates = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 2))
    _line(losses, history, "loss", "focal loss")
    losses.set(yscale="log", ylabel="on train")
    for column, name in _VALIDATED.items():
        _line(validation, history, column, name)
    validation.set(ylim=(-0.02, 1.02), ylabel="on valid")
    _line(rates, history, "lr", "learning rate")
    _line(rates, history, "gamma", "gamma")
    rates.set(yscale="log", ylabel="schedule", xlabel="epoch")
    for axes in (losses, validation, rates):
        axes.axvline(best, color="gray", linestyle=":", label=f"best epoch: {best}")
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    rates.xaxis.get_major_locator().set_params(integer=True)
    with file_being_written(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _line(axes: Any, history: Sequence[Row], column: str, name: str) -> None:
    rows = [row for row in history if row.get(column) is not None]
    if rows:
        axes.plot([row["epoch"] for row in rows], [row[column] for row in rows], marker=".", label=name)

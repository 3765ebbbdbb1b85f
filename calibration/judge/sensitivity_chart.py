"""The picture of a `Sensitivity`: one bar per layer and class of tiles, the worst layer on top.

In:   a `Sensitivity`.
Out:  a PNG file. matplotlib (extra [bench]) comes in when it is drawn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lineside._optional import require
from lineside.files import file_being_written
from lineside.pictures.plots import DEFECT_COLOUR, DPI, GOOD_COLOUR, THRESHOLD_COLOUR

from .sensitivity import Damage, Sensitivity

LEAST = 1e-6
"""Left end of the axis at the least: FP16 and float32 differ by more."""
_CLASSES = (("defective", "tiles with a defect", DEFECT_COLOUR, -0.2), ("good", "tiles of good strips", GOOD_COLOUR, 0.2))

_RUNTIMES = {"tensorrt": "TensorRT", "onnxruntime": "ONNX Runtime"}


def save_sensitivity(path: Path, sensitivity: Sensitivity) -> None:
    """Draw it.

    Raises:
        MissingPackageError: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    layers = sensitivity.layers
    figure = require("matplotlib.figure", extra="bench").Figure(figsize=(11, 1.6 + 0.3 * len(layers)), layout="constrained")
    axes = figure.subplots()
    rows = range(len(layers))
    for part, label, colour, offset in _CLASSES:
        values = [getattr(layer.alone, part) for layer in layers]
        if None not in values:
            axes.barh([row + offset for row in rows], [max(value, LEAST) for value in values], height=0.38, color=colour, label=label)
    everything = max(sensitivity.everything.heat, LEAST)
    axes.axvline(everything, color=THRESHOLD_COLOUR, linestyle="--", label=f"all layers in INT8: {everything:.4g}")
    _draw_left_out(axes, [layer.without for layer in layers])
    axes.set_yticks(rows, [layer.name for layer in layers], fontfamily="monospace")
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="mean over the tiles of the largest change of heat", ylim=(len(layers) - 0.4, -0.6))
    axes.set_title(
        f"One layer at a time in INT8, as {_RUNTIMES[sensitivity.target]} runs it: "
        f"{sensitivity.defective_tiles} tiles with a defect, {sensitivity.good_tiles} of good strips"
    )
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2)
    with file_being_written(path) as temporary:
        figure.savefig(temporary, dpi=DPI)


def _draw_left_out(axes: Any, without: list[Damage | None]) -> None:
    """A mark per layer where the damage would be with all layers in INT8 but that one."""
    tried = [(row, max(damage.heat, LEAST)) for row, damage in enumerate(without) if damage is not None]
    if tried:
        rows, heats = zip(*tried, strict=True)
        axes.plot(heats, rows, "|", color=THRESHOLD_COLOUR, markersize=9, label="all layers in INT8 but this one")

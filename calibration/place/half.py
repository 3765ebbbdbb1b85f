"""FP16 by a table of ranges: which layers stay float32, and the model that comes of it.

In:   a float32 model, its table of ranges or none, and the layers that the user wants kept.
Out:  the FP16 model (`graph.half`), whose manifest says which layers stayed float32 and why.

Why a layer stays float32: a tensor that comes within a factor of 8 of FP16's largest number on the calibration patches may
pass it on another strip, and infinity times zero is NaN. The layers that make or read such a tensor are kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lineside.calibration.ranges.table import RangesTable
from lineside.graph.float_model import FloatModel
from lineside.graph.half import halved
from lineside.graph.layers import Layer, layers_of

if TYPE_CHECKING:
    import onnx

LARGEST = float(np.finfo(np.float16).max)
"""65504."""
HEADROOM = 8.0
"""How many times everything that calibration saw has to fit below it: for a brighter lamp, for a stronger defect."""

ASKED = "asked for"


def half(model: onnx.ModelProto, *, path: Path, table: RangesTable | None = None, keep: Collection[str] = frozenset()) -> onnx.ModelProto:
    """The model of the file `path` with its network in FP16.

    Args:
        model: A float32 model of ours, or with a table one of another program; it is not changed.
        path: Named in errors.
        table: Its ranges: layers that come near FP16's largest number stay float32.
        keep: Names of convolutions whose layers stay float32.

    Returns:
        A new model, whose manifest says which layers were kept and why.

    Raises:
        ModelError: It is not a float32 model, or of another program and without a table.
        ConfigError: A name in `keep` that no convolution has.
        CalibrationError: The table is of another model.
    """
    source = FloatModel.of(model, path=path, spec=table.spec if table else None)
    source.refuse_unknown(keep)
    kept = dict.fromkeys(sorted(keep), ASKED)
    if table is not None:
        table.refuse_other(source.network, path=path)
        kept = too_large(layers_of(source.network.patch_model()), table) | kept
    return halved(source, kept)


def too_large(layers: Iterable[Layer], table: RangesTable) -> dict[str, str]:
    """The layers that make or read a tensor that FP16 may not hold -> why."""
    reached = {name: max(-tensor.low, tensor.high) for name, tensor in table.tensors.items()}
    found = {}
    for layer in layers:
        name = max(layer.tensors, key=reached.__getitem__)
        if reached[name] * HEADROOM > LARGEST:
            found[layer.name] = f"{name} reached {reached[name]:.4g}: less than a factor of {HEADROOM:g} below FP16's {LARGEST:g}"
    return found

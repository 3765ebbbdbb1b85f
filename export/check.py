"""Prove that an ONNX file computes what the PyTorch network computes, before anybody uses it.

In:   the file, the network, the options it was written with, and real strips.
Out:  a `CheckReport`, or a ModelError that says what differed and where. Never changes the file.
For the tiled forms the reference is independent of `modules.py`: numpy cuts, the network as it was trained (batch norms
not folded) runs, numpy stitches.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from lineside._optional import require
from lineside.engine.files.io_forms import CONTRACTS
from lineside.engine.run.session import ask, open_session
from lineside.errors import ModelError
from lineside.manifest import Tiling
from lineside.spec import CHANNELS, FULL_SCALE, StripSpec
from lineside.tiles import cut, stitch
from lineside.train.unet import DEFECT_CLASS

from .graph import ExportOptions, FloatPrecision
from .modules import FullHeatmap, PatchHeatmap

if TYPE_CHECKING:
    from torch import nn

MAX_DIFFERENCE: dict[FloatPrecision, float] = {"fp32": 1e-4, "fp16": 2e-2}
"""Largest difference of a heatmap from PyTorch's: for float32 that of design 4.

FP16 keeps 11 bits: logits of 8 to 16 are rounded by up to 1/256, which moves a probability, of slope 1/4, by 0.002; the
layers before add theirs. Measured on lively networks of 2 to 32 base channels: 0.0005 to 0.003. Ten times that is still
far below what a tile in the wrong place or a lost layer makes.
"""


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """How close the file comes: the largest difference of a heatmap, over how many strips, and the highest score seen."""

    max_difference: float
    strips: int
    max_score: float


def check(path: Path, network: nn.Module, spec: StripSpec, options: ExportOptions, strips: NDArray[np.float32]) -> CheckReport:
    """Check the file at `path`.

    Args:
        path: The ONNX file.
        network: The UNet it was made from, in eval mode, on the CPU.
        spec: Its strips.
        options: What it was written with.
        strips: (N, 3, H, W) float32 in 0..255, N >= 1: real strips.

    Raises:
        ModelError: ONNX's checker refuses it, or its heatmap differs from PyTorch's, or a zero channel is not zero.
    """
    _check_structure(path)
    expected = reference_heatmaps(network, spec, options.tiling, strips)
    heatmaps, scores = _run(path, options, strips)
    _compare(heatmaps[:, :1], expected, path, allowed=MAX_DIFFERENCE[options.precision])
    if heatmaps[:, 1:].any():
        raise _failed(path, f"channels 1 and 2 of the output hold values up to {np.abs(heatmaps[:, 1:]).max():g} where zeros belong")
    if scores is not None and not np.array_equal(scores, heatmaps.max(axis=(1, 2, 3))):
        raise _failed(path, "the score is not the maximum of the heatmap")
    return CheckReport(max_difference=float(np.abs(heatmaps[:, :1] - expected).max()), strips=len(strips), max_score=float(expected.max()))


def reference_heatmaps(network: nn.Module, spec: StripSpec, tiling: Tiling, strips: NDArray[np.float32]) -> NDArray[np.float32]:
    """What PyTorch makes of (N, 3, H, W) float32 strips in 0..255: (N, 1, H, W) float32 in [0, 1]."""
    values = strips / np.float32(FULL_SCALE)
    with torch.inference_mode():
        if tiling == "full":
            whole: NDArray[np.float32] = FullHeatmap(PatchHeatmap(network), spec)(torch.from_numpy(values)).numpy()
            return whole
        tiles = torch.from_numpy(cut(values, spec.grid))
        logits = torch.cat([network(tile) for tile in torch.split(tiles, len(spec.grid))])
        heat = torch.softmax(logits, dim=1)[:, DEFECT_CLASS : DEFECT_CLASS + 1]
    return stitch(heat.numpy(), spec.grid)


def _check_structure(path: Path) -> None:
    checker = require("onnx.checker", extra="export")
    try:
        checker.check_model(str(path), full_check=True)
    except checker.ValidationError as exc:
        raise _failed(path, f"ONNX's checker says: {exc}") from exc


def _run(path: Path, options: ExportOptions, strips: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """The heatmaps (N, C, H, W) and scores (N,) of ONNX Runtime, one batch where the batch is dynamic."""
    contract = CONTRACTS[options.io]
    session = open_session(path)
    values = _as_input(strips, options)
    batch = options.batch or len(values)
    outputs: list[list[Any]] = []
    for start in range(0, len(values), batch):
        part = np.resize(values[start : start + batch], (batch, *values.shape[1:]))  # a fixed batch is filled by repetition
        outputs.append([output[: len(values) - start] for output in ask(session, contract.outputs, {contract.input: part}, path=path)])
    joined = [np.concatenate(parts) for parts in zip(*outputs, strict=True)]
    return joined[0], joined[1] if contract.score else None


def _as_input(strips: NDArray[np.float32], options: ExportOptions) -> NDArray[Any]:
    if options.io == "production":
        normalised: NDArray[np.float32] = strips / np.float32(FULL_SCALE)
        return normalised
    mask = np.zeros((len(strips), CONTRACTS["raw"].input_channels - len(CHANNELS), *strips.shape[2:]), np.float32)
    return np.concatenate([strips, mask], axis=1).astype(options.raw_dtype)


def _compare(found: NDArray[np.float32], expected: NDArray[np.float32], path: Path, *, allowed: float) -> None:
    difference = np.abs(found - expected)
    if difference.max() < allowed:  # NaN fails this too
        return
    strip, _, row, column = (int(index) for index in np.unravel_index(np.nanargmax(difference), difference.shape))
    raise _failed(
        path,
        f"its heatmap differs from PyTorch's by {difference.max():g} (allowed: {allowed:g}), most in strip {strip} at row {row}, "
        f"column {column}: {found[strip, 0, row, column]:g} instead of {expected[strip, 0, row, column]:g}",
    )


def _failed(path: Path, why: str) -> ModelError:
    return ModelError(
        f"{path.name}: the exported model failed its check, nothing was written",
        why=why,
        fix="check the versions of torch, onnx and onnxruntime (lineside doctor), try another --opset, and report it as a bug",
    )

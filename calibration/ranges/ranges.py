"""Measure how far every tensor of a network reaches, in one pass over patches.

In:   a float model, a data set with good strips, and `CalibrateOptions`.
Out:  a `RangesTable` with the ranges of all three methods; its `method` says which one counts.
Memory does not grow with the number of patches: histograms are kept, never activations.

    minmax       the greatest magnitude that came
    percentile   the magnitude that all but a few of the values stay below; zeros do not count, or a tensor that is silent
                 except at defects would lose them
    entropy      the range whose 128 levels tell least wrong about the values (Kullback-Leibler divergence), as TensorRT's
                 entropy calibrator does: Migacz, "8-bit Inference with TensorRT", GTC 2017
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lineside.dataset import Dataset
from lineside.errors import CalibrationError, ConfigError
from lineside.graph.float_model import FloatModel
from lineside.progress import Progress, silent

from .activations import Activations
from .histogram import BINS, Histogram
from .sampler import SampleOptions, read_patches, sample, sha256_of_images
from .table import METHODS, Method, Patch, RangesTable, TensorRange, network_sha256

DEFAULT_METHOD: Method = "minmax"
DEFAULT_PERCENTILE = 99.99
LEVELS = 128
"""Magnitudes that int8 tells apart: 0 to 127."""
DEAD_AMAX = 127 * 2.0**-14
"""Stand-in for a tensor of zeros: its scale is the smallest normal half-precision number, so that no graph divides by 0."""
_ENTROPY_CANDIDATES = 128
"""Ends of the range that are tried; TensorRT tries each of 2048 bins, and neighbours hardly differ."""


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions:
    """Which method counts, the percentile of that method, and the patches."""

    method: Method = DEFAULT_METHOD
    percentile: float = DEFAULT_PERCENTILE
    sample: SampleOptions = field(default_factory=SampleOptions)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(f"method {self.method!r}", why="unknown", fix=f"use {', '.join(METHODS)}")
        if not 50.0 <= self.percentile <= 100.0:
            raise ConfigError(
                f"percentile {self.percentile}",
                why="it is the share of values, in percent, that the range keeps",
                fix=f"use {DEFAULT_PERCENTILE}",
            )


def calibrate(
    model: FloatModel, dataset: Dataset, options: CalibrateOptions = CalibrateOptions(), *, progress: Progress = silent
) -> RangesTable:
    """Measure the ranges of `model` on patches of the good strips of `dataset`.

    Raises:
        DatasetError: There are no good strips.
        StripError: A strip is not of the model's spec.
        ConfigError: Too few patches.
        CalibrationError: The network answers NaN or infinity.
    """
    patches = sample(dataset.train, dataset.root, model.grid, options.sample)
    shown = progress(patches, total=len(patches), what="calibrate")
    cut = read_patches(shown, dataset.root, model.spec, grid=model.grid)
    tensors = measure(model, cut, percentile=options.percentile)
    return RangesTable(
        model=model.path.name,
        network_sha256=network_sha256(model.network),
        weights_sha256=model.lineage.weights_sha256 if model.lineage else "",
        spec=model.spec,
        method=options.method,
        percentile=options.percentile,
        seed=options.sample.seed,
        tensors=tensors,
        patches=patches,
        images=sha256_of_images(patches, dataset.root),
    )


def measure(
    model: FloatModel, patches: Iterable[tuple[Patch, NDArray[np.float32]]], *, percentile: float = DEFAULT_PERCENTILE
) -> dict[str, TensorRange]:
    """The ranges of all tensors over what `read_patches` yields; with the patches of a table, that table's.

    Raises:
        CalibrationError: The network answers NaN or infinity.
        ModelError: ONNX Runtime cannot run the network.
    """
    names = model.network.activations
    histograms = {name: Histogram() for name in names}
    activations = Activations(model.network.patch_model(names), names, path=model.path)
    for batch, values in activations.batches(patches):
        for name, histogram in histograms.items():
            _add(histogram, name, values[name], batch)
    return {name: tensor_range(histogram, percentile) for name, histogram in histograms.items()}


def tensor_range(histogram: Histogram, percentile: float = DEFAULT_PERCENTILE) -> TensorRange:
    """The ranges of all methods."""
    kept: Mapping[Method, int] = {
        "minmax": BINS,
        "entropy": bins_by_entropy(histogram.counts),
        "percentile": bins_by_percentile(histogram.counts, percentile),
    }
    return TensorRange(
        low=histogram.low,
        high=histogram.high,
        amax={method: min(bins * histogram.limit / BINS, histogram.peak) or DEAD_AMAX for method, bins in kept.items()},
        clipped={method: int(histogram.counts[bins:].sum()) / histogram.total for method, bins in kept.items()},
        histogram=histogram.summary(),
    )


def bins_by_percentile(counts: NDArray[np.int64], percentile: float) -> int:
    """The least number of bins that keep `percentile` percent of the values in them."""
    kept = np.cumsum(counts)
    return int(np.searchsorted(kept, kept[-1] * percentile / 100)) + 1


def bins_by_entropy(counts: NDArray[np.int64]) -> int:
    """The number of bins whose 128 levels tell least wrong about the values.

    What lies outside of them is counted into the last one, because quantisation clips it to there. Only ranges that end at a
    bin with values in it are tried: any other one has an infinite divergence. And only ranges that keep half of the values:
    when all of them are clipped to one bin, nothing wrong is told about that bin.
    """
    ends = np.flatnonzero(counts) + 1
    ends = ends[ends >= max(LEVELS, bins_by_percentile(counts, 50.0))]
    if not ends.size:
        return BINS
    ends = np.union1d(ends[:: -(-ends.size // _ENTROPY_CANDIDATES)], ends[-1:])
    return int(min(ends, key=lambda end: _divergence(counts, int(end))))


def _divergence(counts: NDArray[np.int64], end: int) -> float:
    """The Kullback-Leibler divergence of the values from what 128 levels over the first `end` bins make of them."""
    inside = counts[:end].astype(np.float64)
    occupied = inside > 0
    levels = np.arange(end) * LEVELS // end
    mean = np.bincount(levels, inside, LEVELS) / np.maximum(1, np.bincount(levels, occupied, LEVELS))
    candidate = mean[levels][occupied]
    reference = inside[occupied]
    reference[-1] += counts[end:].sum()
    reference, candidate = reference / reference.sum(), candidate / candidate.sum()
    return float((reference * np.log(reference / candidate)).sum())


def _add(histogram: Histogram, name: str, values: NDArray[np.float32], batch: Iterable[Patch]) -> None:
    """Count the values of a tensor, or name the patch that spoils them. Raises: CalibrationError."""
    try:
        histogram.add(values)
    except FloatingPointError as exc:
        patch = next(patch for patch, array in zip(batch, values, strict=True) if not np.isfinite(array).all())
        defects = "" if patch.defects is None else f", with the defects of seed {patch.defects}"
        raise CalibrationError(
            f"{patch.file}: {name} holds NaN or infinite values for the tile in row {patch.row}, column {patch.column}{defects}",
            why="the strip's values are checked, so it is the network that overflows or whose weights are damaged",
            fix="export the checkpoint again, or train it again with a lower --lr",
        ) from exc

"""Is a table of ranges fit for a data set? Measured on strips that calibration did not see.

In:   a table, the float model it was made for, a data set with more strips than those that were calibrated on.
Out:  an `Audit`, which knows its faults.
Tiles of good strips are looked at twice, clean and with synthetic defects; tiles with labelled defects come on top. Judged
are the tensors that convolutions read: those are quantised for every target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lineside.calibration.ranges.activations import Activations, Values
from lineside.calibration.ranges.ranges import measure
from lineside.calibration.ranges.sampler import SampleOptions, read_patches, sample
from lineside.calibration.ranges.table import Patch, RangesTable
from lineside.dataset import Dataset, Sample
from lineside.errors import CalibrationError, ConfigError, DatasetError
from lineside.graph.float_model import FloatModel
from lineside.graph.layers import layers_of
from lineside.graph.network import LOGITS
from lineside.manifest import sha256_of_file
from lineside.progress import Progress, silent

from .audit_answer import Audit, ScoreEffect, TensorFit
from .clipping import ReachTally, ResponseTally, clipping
from .labelled_tiles import read_labelled_tiles

DEFAULT_TILES = 64
LEAST_TILES = 3
"""One of each class of positions: corner, edge, inner."""
SEED_PATCHES = 128
"""Patches of the calibration by another seed, half of the usual: fewer would find lower maxima for want of patches alone."""


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """How many tiles of each kind to look at: good ones, the same with synthetic defects, others with labelled defects."""

    tiles: int = DEFAULT_TILES

    def __post_init__(self) -> None:
        if self.tiles < LEAST_TILES:
            raise ConfigError(f"{self.tiles} tiles", why="corners, edges and inner tiles are looked at", fix=f"use --tiles {DEFAULT_TILES}")


def find_model(path: Path, table: RangesTable, given: Path | None = None) -> FloatModel:
    """The model of the table in the file `path`: the given one, else the file that it names, beside it or in the current folder.

    Raises:
        CalibrationError: It is not there, or of other weights than the table's.
        ModelError: It is not a float model of ours.
    """
    places = [given] if given is not None else [path.parent / table.model, Path(table.model)]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise CalibrationError(
            f"{path}: its model is not at {' or '.join(dict.fromkeys(map(str, places)))}",
            why="ranges are judged by running the model",
            fix=f"name it: --model {table.model}",
        )
    model = FloatModel.read(found, spec=table.spec)
    table.refuse_other(model.network, path=found)
    return model


def audit(
    table: RangesTable, model: FloatModel, dataset: Dataset, options: AuditOptions = AuditOptions(), *, progress: Progress = silent
) -> Audit:
    """Judge `table` on the strips of `dataset`.

    Raises:
        ModelError: A model of another program.
        DatasetError: Calibration has seen all good strips, or there are none in train/good.
        CalibrationError: Some of the images that were calibrated on have changed.
        StripError: A strip is not of the model's spec.
    """
    threshold = model.manifest.threshold
    same_images = calibrated_on(table, dataset.root)
    pairs = _unseen(table, dataset, options, same_images=same_images)
    patch = model.network.patch_model()
    names = tuple(dict.fromkeys(layer.conv.input[0] for layer in layers_of(patch)))
    tally = _Tally({name: table.amax(name) for name in names}, threshold)
    exact = Activations(model.network.patch_model((*names, LOGITS)), (*names, LOGITS), path=model.path)
    clipped = Activations(clipping(patch, tally.ranges), [LOGITS], path=model.path)
    for pair in progress(pairs, total=len(pairs), what="good strips"):
        without = replace(pair, defects=None)
        tiles = np.stack([pixels for _, pixels in read_patches([without, pair], dataset.root, table.spec)])
        tally.add_pair(exact.of(tiles), clipped.of(tiles)[LOGITS])
    labelled = _labelled_tiles(dataset, table, options)
    if len(labelled):
        for tile in progress(labelled, total=len(labelled), what="labelled defects"):
            tally.add_labelled(exact.of(tile[None]), clipped.of(tile[None])[LOGITS])
    patches = _by_another_seed(table, dataset)
    shown = progress(patches, total=len(patches), what="another seed")
    other = measure(model, read_patches(shown, dataset.root, table.spec), percentile=table.percentile)
    return Audit(
        model=str(model.path),
        dataset=str(dataset.root),
        table=table,
        same_images=same_images,
        tiles={"good": len(pairs), "injected": len(pairs), "defective": len(labelled)},
        tensors={name: tally.fit(name, moved=other[name].amax[table.method] / amax) for name, amax in tally.ranges.items()},
        scores=tally.scores(),
        threshold=threshold,
    )


def calibrated_on(table: RangesTable, root: Path) -> bool:
    """Whether the table was made on the images under `root`: all of them are there as they were, or none.

    Raises:
        CalibrationError: Some are, and others have changed or are gone.
    """
    changed = [file for file, sha256 in table.images.items() if not (root / file).is_file() or sha256_of_file(root / file) != sha256]
    if changed and len(changed) < len(table.images):
        raise CalibrationError(
            f"{root}: {len(changed)} of the {len(table.images)} images that the table was made on have changed, the first {changed[0]}",
            why="what calibration has seen is not what is there",
            fix="restore them, or calibrate again",
        )
    return not changed


class _Tally:
    """Everything that is counted, for all tensors."""

    def __init__(self, ranges: Mapping[str, float], threshold: float) -> None:
        self.ranges = ranges
        self._threshold = threshold
        self._good, self._injected, self._labelled = ({name: ReachTally(amax) for name, amax in ranges.items()} for _ in range(3))
        self._response = {name: ResponseTally(amax) for name, amax in ranges.items()}
        self._scores: list[tuple[float, float]] = []

    def add_pair(self, values: Values, clipped: NDArray[np.float32]) -> None:
        """Count a good tile (row 0) and the same one with defects (row 1)."""
        for name in self.ranges:
            clean, defective = values[name][:1], values[name][1:]
            self._good[name].add(clean)
            self._injected[name].add(defective)
            self._response[name].add(clean, defective)
        self._add_scores(values[LOGITS], clipped)

    def add_labelled(self, values: Values, clipped: NDArray[np.float32]) -> None:
        """Count tiles with labelled defects."""
        for name in self.ranges:
            self._labelled[name].add(values[name])
        self._add_scores(values[LOGITS], clipped)

    def fit(self, name: str, *, moved: float) -> TensorFit:
        """What became of one tensor."""
        tallies = [tally[name] for tally in (self._good, self._injected, self._labelled)]
        channels = np.max([tally.channels for tally in tallies if tally.channels.size], axis=0)
        good, injected, defective = (tally.reach for tally in tallies)
        assert good is not None, "there is a pair at least"
        assert injected is not None
        return TensorFit(
            amax=self.ranges[name],
            good=good,
            injected=injected,
            defective=defective,
            lost=self._response[name].lost,
            moved=moved,
            channels=channels.size,
            dead_channels=int(np.count_nonzero(channels == 0)),
        )

    def scores(self) -> ScoreEffect:
        """Of all tiles."""
        exact, clipped = np.array(self._scores).T
        change = np.abs(exact - clipped)
        flipped = np.count_nonzero((exact >= self._threshold) != (clipped >= self._threshold))
        return ScoreEffect(tiles=len(change), flipped=int(flipped), mean_change=float(change.mean()), max_change=float(change.max()))

    def _add_scores(self, *logits: NDArray[np.float32]) -> None:
        self._scores += zip(*(_scores(values) for values in logits), strict=True)


def _scores(logits: NDArray[np.float32]) -> list[float]:
    """The greatest probability of a defect in each tile, of (B, 2, h, w)."""
    margin = (logits[:, 1] - logits[:, 0]).max(axis=(1, 2)).astype(np.float64)
    scores: list[float] = (1 / (1 + np.exp(-margin))).tolist()
    return scores


def _unseen(table: RangesTable, dataset: Dataset, options: AuditOptions, *, same_images: bool) -> list[Patch]:
    """Tiles with defects of good strips that the table was not made on. Raises: DatasetError."""
    good = [*dataset.train, *(sample.path for sample in _labelled(dataset) if not sample.defective)]
    seen = {dataset.root / file for file in table.images} if same_images else set()
    unseen = [path for path in good if path not in seen]
    if not unseen:
        raise DatasetError(
            f"{dataset.root}: calibration has seen all {len(good)} good strips",
            why="a table is judged on strips that it was not made on",
            fix=f"put more good strips into {dataset.root / 'test' / 'good'}, or calibrate on fewer patches",
        )
    # every other patch of a sample carries defects
    patches = sample(unseen, dataset.root, table.spec.grid, SampleOptions(patches=2 * options.tiles, seed=table.seed + 1))
    return [patch for patch in patches if patch.defects is not None]


def _labelled(dataset: Dataset) -> list[Sample]:
    return [*dataset.valid, *(dataset.test if (dataset.root / "test").is_dir() else ())]


def _labelled_tiles(dataset: Dataset, table: RangesTable, options: AuditOptions) -> NDArray[np.float32]:
    """(T, 3, tile, tile) with labelled defects; none without masks."""
    samples = [sample for sample in _labelled(dataset) if sample.mask is not None]
    if not samples:
        return np.zeros((0, 3, table.spec.tile_px, table.spec.tile_px), np.float32)
    return read_labelled_tiles(samples, table.spec, count=2 * options.tiles, seed=table.seed + 1).pixels


def _by_another_seed(table: RangesTable, dataset: Dataset) -> tuple[Patch, ...]:
    """What the next seed would have calibrated on, half of it with defects, in no more patches than the table has."""
    count = min(len(table.patches), SEED_PATCHES)
    return sample(dataset.train, dataset.root, table.spec.grid, SampleOptions(patches=count, seed=table.seed + 1))

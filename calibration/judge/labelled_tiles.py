"""Tiles of labelled strips, some with a defect and some without: a small sample that tells what a change does to heatmaps.

In:   labelled strips.
Out:  `LabelledTiles`: tiles of the strips' own grid, with the part of each one that counts in the stitched heatmap.
Half of the tiles hold a defect in the part that counts, taken from the strips in turns; the others are of good strips. The same
strips, count and seed give the same tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice

import numpy as np
from numpy.typing import NDArray

from lineside.dataset import Sample, read_mask
from lineside.errors import DatasetError
from lineside.reader import read_strip
from lineside.spec import CHANNELS, FULL_SCALE, StripSpec

_Place = tuple[int, int]
"""Number of the sample, number of the tile."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledTiles:
    """Tiles, ready for a network.

    Attributes:
        pixels: (T, 3, tile, tile) float32 in [0, 1].
        keep: (T, tile, tile) bool: what counts in the stitched heatmap.
        defective: (T,) bool: whether there is a defect in that part.
    """

    pixels: NDArray[np.float32]
    keep: NDArray[np.bool_]
    defective: NDArray[np.bool_]


def read_labelled_tiles(samples: Sequence[Sample], spec: StripSpec, *, count: int, seed: int) -> LabelledTiles:
    """Choose and read tiles.

    Args:
        samples: Labelled strips; defective ones without ground truth are left out.
        spec: The strips and their tiles.
        count: How many tiles, 2 at least; fewer where the strips do not have as many with a defect.
        seed: Of the choice.

    Raises:
        DatasetError: No strip is left, or a mask is not what the spec says.
        StripError: A strip cannot be read or is not of the spec.
    """
    rng = np.random.default_rng(seed)
    order = [int(number) for number in rng.permutation(len(samples))]  # so that every kind has its share of a small count
    with_defect = _in_turns([_shuffled(_tiles_with_defect(samples[number], spec), number, rng) for number in order])
    clean = _in_turns([_shuffled(range(len(spec.grid)), number, rng) for number in order if not samples[number].defective])
    defective = list(islice(with_defect, count // 2))
    chosen = sorted([*((place, True) for place in defective), *((place, False) for place in islice(clean, count - count // 2))])
    if not chosen:
        raise DatasetError(
            f"no strip of {len(samples)} whose defects are known",
            why="damage is measured on tiles with a defect and on tiles of good strips",
            fix="add good strips to test/good, or masks to ground_truth",
        )
    pixels, keep = [], []
    for number, places in groupby(chosen, key=lambda entry: entry[0][0]):
        strip = read_strip(samples[number].path, spec)[: len(CHANNELS)]
        for (_, index), _ in places:
            tile = spec.grid.tiles[index]
            pixels.append(strip[:, tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop].astype(np.float32))
            counts = np.zeros((spec.tile_px, spec.tile_px), np.bool_)
            counts[tile.rows.keep, tile.columns.keep] = True
            keep.append(counts)
    return LabelledTiles(
        pixels=np.stack(pixels) / np.float32(FULL_SCALE), keep=np.stack(keep), defective=np.array([bad for _, bad in chosen], np.bool_)
    )


def _tiles_with_defect(sample: Sample, spec: StripSpec) -> Sequence[int]:
    """The tiles of a strip whose part of the heatmap holds a defect; none where its defects are not known."""
    if sample.mask is None:
        return ()
    mask = read_mask(sample, spec)
    return [index for index, tile in enumerate(spec.grid.tiles) if mask[tile.rows.kept, tile.columns.kept].any()]


def _shuffled(tiles: Sequence[int], number: int, rng: np.random.Generator) -> Iterator[_Place]:
    return ((number, tiles[index]) for index in rng.permutation(len(tiles)))


def _in_turns(strips: Sequence[Iterator[_Place]]) -> Iterator[_Place]:
    """One tile of each strip, then another of each, until there are none left."""
    waiting = list(strips)
    while waiting:
        for strip in list(waiting):
            place = next(strip, None)
            if place is None:
                waiting.remove(strip)
            else:
                yield place

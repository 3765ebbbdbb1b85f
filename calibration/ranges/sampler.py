"""Choose the patches that ranges are measured on, and cut them out.

In:   a data set with good strips, and `SampleOptions`.
Out:  `sample` lists patches; `read_patches` cuts them: the same list gives the same pixels, on any machine.
Half of the patches carry the defects that training shows (design 5): a range that never saw a defect cuts off the
network's answer to one. Every strip is used as often as every other one, and every tile of the grid as every other tile,
with and without defects; when there are more tiles than patches, a corner, an edge and an inner one come first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from lineside.errors import ConfigError
from lineside.manifest import sha256_of_file
from lineside.reader import read_strip
from lineside.spec import CHANNELS, FULL_SCALE, StripSpec
from lineside.synth.defects import DefectOptions, add_defects
from lineside.tiles import TileGrid

from .table import Patch

DEFAULT_PATCHES = 256
_STRIPS, _PLACES, _DEFECTS = 0, 1, 2
"""Streams of random numbers."""
_DEFECT_SEEDS = 2**31
_ALWAYS = DefectOptions(share=1.0)

T = TypeVar("T")
Place = tuple[int, int]
PositionClass = Literal["corner", "edge", "inner"]


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """How many patches, by which seed; `defects` False leaves all of them clean, which only an experiment wants."""

    patches: int = DEFAULT_PATCHES
    seed: int = 0
    defects: bool = True

    def __post_init__(self) -> None:
        if self.patches < 1:
            raise ConfigError(f"{self.patches} patches", why="ranges are measured on patches", fix=f"use --patches {DEFAULT_PATCHES}")
        if self.seed < 0:
            raise ConfigError(f"seed {self.seed}", why="a seed is not negative", fix="use --seed 0")


def position_class(place: Place, grid: TileGrid) -> PositionClass:
    """How many sides of the strip a tile touches: both of a corner, one of an edge, none."""
    ends = sum(index in (0, len(windows) - 1) for index, windows in zip(place, (grid.rows, grid.columns), strict=True))
    return ("inner", "edge", "corner")[ends]


def sample(paths: Sequence[Path], root: Path, grid: TileGrid, options: SampleOptions) -> tuple[Patch, ...]:
    """Choose patches, sorted by file.

    Args:
        paths: Good strips under `root`, one at least.
        root: The folder that the patches' names begin at.
        grid: The tiles of a strip.
        options: How many.

    Raises:
        ConfigError: So few patches that a class of positions would be missing, with or without defects.
    """
    classes = {position_class(place, grid) for place in _all_places(grid)}
    if options.patches < 2 * len(classes):
        raise ConfigError(
            f"{options.patches} patches",
            why=f"tiles at {' and '.join(sorted(classes))} positions are needed, with and without defects",
            fix=f"use --patches {2 * len(classes)} at least, better {DEFAULT_PATCHES}",
        )
    strips, places = _in_turns(sorted(paths), [options.seed, _STRIPS]), _places(grid, options.seed)
    seeds = np.random.default_rng([options.seed, _DEFECTS])
    patches = []
    for index in range(options.patches):
        defective = index % 2 == 0
        if defective:
            place = next(places)  # shared with the next patch, which stays clean
        defects = int(seeds.integers(_DEFECT_SEEDS)) if defective and options.defects else None
        patches.append(Patch(file=next(strips).relative_to(root).as_posix(), row=place[0], column=place[1], defects=defects))
    return tuple(sorted(patches, key=lambda patch: (patch.file, patch.row, patch.column, patch.defects or 0)))


def read_patches(
    patches: Iterable[Patch], root: Path, spec: StripSpec, *, grid: TileGrid | None = None
) -> Iterator[tuple[Patch, NDArray[np.float32]]]:
    """Cut the patches out, in order; every strip is read once when they are sorted by file. `grid` is the spec's unless given.

    Yields:
        The patch, and (3, tile, tile) float32 in [0, 1].

    Raises:
        StripError: A strip cannot be read or is not of the spec.
    """
    grid = grid or spec.grid
    for file, of_file in groupby(patches, key=lambda patch: patch.file):
        strip = read_strip(root / file, spec)[: len(CHANNELS)]
        for patch in of_file:
            rows, columns = grid.rows[patch.row], grid.columns[patch.column]
            pixels = strip[:, rows.start : rows.stop, columns.start : columns.stop].astype(np.float32)
            if patch.defects is not None:
                add_defects(pixels, np.random.default_rng(patch.defects), _ALWAYS)
            yield patch, pixels / np.float32(FULL_SCALE)


def sha256_of_images(patches: Iterable[Patch], root: Path) -> dict[str, str]:
    """The sha256 of every file that a patch is cut from."""
    return {file: sha256_of_file(root / file) for file in sorted({patch.file for patch in patches})}


def _all_places(grid: TileGrid) -> list[Place]:
    return [(row, column) for row in range(len(grid.rows)) for column in range(len(grid.columns))]


def _places(grid: TileGrid, seed: int) -> Iterator[Place]:
    """All tiles in a random order, again and again; the first time one of each class of positions leads."""
    turns = _in_turns(_all_places(grid), [seed, _PLACES])
    first = [next(turns) for _ in range(len(grid))]
    leading = {position_class(place, grid): place for place in first}.values()
    yield from leading
    yield from (place for place in first if place not in leading)
    yield from turns


def _in_turns(items: Sequence[T], seed: list[int]) -> Iterator[T]:
    """All items in a random order, then all in another, and so on."""
    rng = np.random.default_rng(seed)
    while True:
        for index in rng.permutation(len(items)):
            yield items[index]

"""Where the tiles of a strip lie, which part of each one counts, and how to cut and stitch.

In:   strips (N, C, H, W), any dtype.
Out:  `cut` gives (N * T, C, tile, tile), strip-major; `stitch` gives (N, C, H, W) from (N * T, C, tile, tile).
Every output pixel comes from exactly one tile: nothing is resized, padded or blended.

The geometry is data (`TileGrid`): training, export, calibration and tests read the same windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigError

MIN_OVERLAP = 1 / 8
"""Least overlap of two neighbours, as a share of the tile, where the caller does not say how many tiles.

976 and 176 px with tiles of 128 px give 9 and 2 tiles by it, as design 2 says."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """A half-open range of rows or columns: where a tile lies, and which part of it counts.

    `start`, `stop` are pixels of the strip; `keep_start`, `keep_stop` are pixels of the tile.
    """

    start: int
    stop: int
    keep_start: int
    keep_stop: int

    @property
    def keep(self) -> slice:
        """The part that counts, in the tile's own pixels."""
        return slice(self.keep_start, self.keep_stop)

    @property
    def kept(self) -> slice:
        """The part that counts, in the strip's pixels."""
        return slice(self.start + self.keep_start, self.start + self.keep_stop)


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One tile of a strip: a window of rows and one of columns."""

    rows: Window
    columns: Window


def tiles_needed(size: int, tile: int) -> int:
    """The least number of tiles whose neighbours overlap by at least `MIN_OVERLAP` of a tile; 1 when one covers all."""
    step = tile - int(tile * MIN_OVERLAP)
    return 1 + -(-(size - tile) // step)


def calculate_positions(size: int, tile: int, min_tiles: int = 1) -> list[int]:
    """Space tiles evenly from 0 to `size - tile`.

    Args:
        size: Pixels to cover.
        tile: Pixels of one tile.
        min_tiles: How many tiles at least; more are taken when that many would leave a gap.

    Returns:
        The first pixel of every tile, ascending. 976/128 with 9: 0, 106, 212, ... 848 (design 2).

    Raises:
        ConfigError: The tile is larger than what it has to cover, a number is not positive, or two tiles would be the same.
    """
    if min(size, tile, min_tiles) < 1 or tile > size:
        raise ConfigError(
            f"{min_tiles} tiles of {tile} px over {size} px",
            why="a tile has to fit into the strip",
            fix=f"choose a tile of at most {size} px",
        )
    places = size - tile + 1
    if min_tiles > places:
        raise ConfigError(
            f"{min_tiles} tiles of {tile} px over {size} px", why="two of them would be the same", fix=f"use at most {places} tiles"
        )
    count = max(min_tiles, -(-size // tile))
    if count == 1:
        return [0]
    return [round(index * (size - tile) / (count - 1)) for index in range(count)]


def windows(size: int, tile: int, min_tiles: int) -> tuple[Window, ...]:
    """Tiles along one axis, with keep windows that meet in the middle of each overlap."""
    starts = calculate_positions(size, tile, min_tiles)
    # Neighbour i ends at starts[i] + tile, neighbour i + 1 begins at starts[i + 1]: they meet half way between.
    seams = [0, *((left + tile + right) // 2 for left, right in pairwise(starts)), size]
    return tuple(
        Window(start=start, stop=start + tile, keep_start=seams[index] - start, keep_stop=seams[index + 1] - start)
        for index, start in enumerate(starts)
    )


@dataclass(frozen=True, kw_only=True)
class TileGrid:
    """The tiles of a strip, row by row: `rows[r]` x `columns[c]` is tile number `r * len(columns) + c`."""

    tile_px: int
    rows: tuple[Window, ...]
    columns: tuple[Window, ...]

    @classmethod
    def over(cls, height_px: int, width_px: int, tile_px: int, *, rows: int, columns: int) -> TileGrid:
        """The grid of at least `rows` x `columns` tiles over `height_px` x `width_px`."""
        return cls(tile_px=tile_px, rows=windows(height_px, tile_px, rows), columns=windows(width_px, tile_px, columns))

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """All tiles in the order in which `cut` gives them."""
        return tuple(Tile(rows=rows, columns=columns) for rows in self.rows for columns in self.columns)

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    @property
    def height_px(self) -> int:
        """Rows of the strip."""
        return self.rows[-1].stop

    @property
    def width_px(self) -> int:
        """Columns of the strip."""
        return self.columns[-1].stop


def cut(strips: NDArray[Any], grid: TileGrid) -> NDArray[Any]:
    """Cut strips into tiles.

    Args:
        strips: (N, C, H, W), any dtype.
        grid: The tiles of an H x W strip.

    Returns:
        (N * T, C, tile, tile), strip-major, same dtype.
    """
    tiles = [strips[:, :, tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop] for tile in grid.tiles]
    return np.stack(tiles, axis=1).reshape(-1, strips.shape[1], grid.tile_px, grid.tile_px)


def stitch(tiles: NDArray[Any], grid: TileGrid) -> NDArray[Any]:
    """Put tiles back into strips, each pixel from the one tile that keeps it.

    Args:
        tiles: (N * T, C, tile, tile), strip-major, any dtype.
        grid: The tiles of an H x W strip.

    Returns:
        (N, C, H, W), same dtype.
    """
    by_strip = tiles.reshape(-1, len(grid), *tiles.shape[1:])
    strips = np.empty((by_strip.shape[0], tiles.shape[1], grid.height_px, grid.width_px), tiles.dtype)
    for index, tile in enumerate(grid.tiles):
        strips[:, :, tile.rows.kept, tile.columns.kept] = by_strip[:, index, :, tile.rows.keep, tile.columns.keep]
    return strips

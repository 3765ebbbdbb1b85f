"""Where tiles lie, and that every pixel comes from exactly one of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from lineside import PRESETS, ConfigError
from lineside.tiles import TileGrid, calculate_positions, cut, stitch, tiles_needed, windows

TILES = (1, 2, 7, 32, 33)


def sizes_and_counts(tile: int) -> Iterator[tuple[int, int]]:
    """Every length up to five tiles, with several numbers of tiles that have room in it."""
    for size in range(tile, 5 * tile + 3):
        places = size - tile + 1
        yield from ((size, count) for count in {1, 2, 3, 5, 9, places} if count <= places)


def test_the_strip_has_the_positions_of_the_design() -> None:
    assert calculate_positions(976, 128, 9) == [0, 106, 212, 318, 424, 530, 636, 742, 848]
    assert calculate_positions(176, 128, 2) == [0, 48]


def test_the_strip_has_the_keep_windows_of_the_design() -> None:
    rows, columns = windows(976, 128, 9), windows(176, 128, 2)
    assert [(row.keep_start, row.keep_stop) for row in rows] == [(0, 117), *[(11, 117)] * 7, (11, 128)]
    assert [(column.keep_start, column.keep_stop) for column in columns] == [(0, 88), (40, 128)]


def test_the_strip_needs_as_many_tiles_as_the_design_says() -> None:
    assert (tiles_needed(976, 128), tiles_needed(176, 128)) == (9, 2)
    assert tiles_needed(256, 256) == 1


@pytest.mark.parametrize("tile", TILES)
def test_every_pixel_is_kept_exactly_once(tile: int) -> None:
    for size, count in sizes_and_counts(tile):
        kept = np.zeros(size, int)
        for window in windows(size, tile, count):
            assert (window.stop - window.start, window.start >= 0, window.stop <= size) == (tile, True, True)
            assert 0 <= window.keep_start < window.keep_stop <= tile
            kept[window.start + window.keep_start : window.start + window.keep_stop] += 1
        assert kept.tolist() == [1] * size


@pytest.mark.parametrize("tile", TILES)
def test_tiles_are_spread_evenly_from_edge_to_edge(tile: int) -> None:
    for size, count in sizes_and_counts(tile):
        starts = calculate_positions(size, tile, count)
        steps = np.diff(starts)
        assert len(starts) >= count
        assert (starts[0], starts[-1]) == (0, size - tile)
        assert len(steps) == 0 or (steps.min() > 0 and steps.max() <= min(tile, steps.min() + 1))


@pytest.mark.parametrize("tile", [32, 64, 128, 256])
def test_neighbours_overlap_by_an_eighth_and_one_tile_fewer_would_not_do(tile: int) -> None:
    longest_step = tile - tile // 8
    for size in range(tile + 1, 8 * tile, 13):
        count = tiles_needed(size, tile)
        assert (size - tile) / (count - 1) <= longest_step
        assert count == 2 or (size - tile) / (count - 2) > longest_step


@pytest.mark.parametrize(("size", "tile", "count"), [(100, 128, 1), (0, 1, 1), (10, 0, 1), (10, 5, 0), (-3, 1, 1)])
def test_a_tile_that_does_not_fit_is_refused(size: int, tile: int, count: int) -> None:
    with pytest.raises(ConfigError, match="fit into the strip"):
        calculate_positions(size, tile, count)


@pytest.mark.parametrize(("size", "tile", "count", "most"), [(128, 128, 2, 1), (130, 128, 9, 3)])
def test_more_tiles_than_places_are_refused(size: int, tile: int, count: int, most: int) -> None:
    with pytest.raises(ConfigError, match=f"use at most {most} tiles"):
        calculate_positions(size, tile, count)


def stitch_by_hand(tiles: np.ndarray, positions_y: list[int], positions_x: list[int], height: int, width: int) -> np.ndarray:
    """(H, W) from (T, tile, tile), pixel by pixel: the number of seams before a pixel is the number of its tile."""
    tile = tiles.shape[-1]
    seam_y = [(upper + tile + lower) // 2 for upper, lower in pairwise(positions_y)]
    seam_x = [(left + tile + right) // 2 for left, right in pairwise(positions_x)]
    result = np.empty((height, width), tiles.dtype)
    for y in range(height):
        row = sum(y >= seam for seam in seam_y)
        for x in range(width):
            column = sum(x >= seam for seam in seam_x)
            result[y, x] = tiles[row * len(positions_x) + column, y - positions_y[row], x - positions_x[column]]
    return result


@pytest.mark.parametrize(
    ("height", "width", "tile", "starts_y", "starts_x"),
    [
        (976, 176, 128, [0, 106, 212, 318, 424, 530, 636, 742, 848], [0, 48]),
        (70, 101, 32, [0, 19, 38], [0, 23, 46, 69]),  # overlaps of odd width: the seam lies before their middle pixel
    ],
)
def test_stitching_takes_every_pixel_from_the_tile_that_keeps_it(
    height: int, width: int, tile: int, starts_y: list[int], starts_x: list[int]
) -> None:
    grid = TileGrid.over(height, width, tile, rows=len(starts_y), columns=len(starts_x))
    tiles = np.random.default_rng(0).random((len(grid), tile, tile), np.float32)
    expected = stitch_by_hand(tiles, starts_y, starts_x, height, width)
    np.testing.assert_array_equal(stitch(tiles[:, None], grid)[0, 0], expected)


def test_cut_gives_the_tiles_row_by_row_strip_after_strip() -> None:
    strips = np.random.default_rng(0).integers(0, 255, (2, 3, 976, 176), np.uint8)
    tiles = cut(strips, PRESETS["strip"].grid)
    assert tiles.shape == (2 * 18, 3, 128, 128)
    np.testing.assert_array_equal(tiles[0], strips[0, :, :128, :128])
    np.testing.assert_array_equal(tiles[1], strips[0, :, :128, 48:])
    np.testing.assert_array_equal(tiles[2], strips[0, :, 106:234, :128])
    np.testing.assert_array_equal(tiles[35], strips[1, :, 848:, 48:])


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float16])
@pytest.mark.parametrize(
    ("height", "width", "tile", "rows", "columns"), [(976, 176, 128, 9, 2), (256, 256, 256, 1, 1), (70, 101, 32, 3, 4)]
)
def test_stitching_what_was_cut_gives_the_strip_back(height: int, width: int, tile: int, rows: int, columns: int, kind: type) -> None:
    grid = TileGrid.over(height, width, tile, rows=rows, columns=columns)
    strips = (np.random.default_rng(1).random((2, 3, height, width)) * 255).astype(kind)
    again = stitch(cut(strips, grid), grid)
    assert again.dtype == strips.dtype
    np.testing.assert_array_equal(again, strips)


def test_a_grid_knows_its_size_and_numbers_its_tiles_row_by_row() -> None:
    grid = PRESETS["strip"].grid
    assert (grid.height_px, grid.width_px, len(grid)) == (976, 176, 18)
    assert [(tile.rows.start, tile.columns.start) for tile in grid.tiles[:3]] == [(0, 0), (0, 48), (106, 0)]

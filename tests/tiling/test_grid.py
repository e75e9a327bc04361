"""Tiles cover the image, have one size, stay on the network's unit, and always advance."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from restore_cli.tiling.grid import Box, Grid, plan_grid, round_up, smallest_tile


def coverage(grid: Grid) -> np.ndarray:
    counts = np.zeros((grid.vertical.length, grid.horizontal.length), dtype=int)
    for box in grid.boxes:
        counts[box.top : box.top + box.height, box.left : box.left + box.width] += 1
    return counts


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 320), (64, 2048), (1056, 32), (352, 288)])
@pytest.mark.parametrize(("tile", "overlap"), [(64, 0), (64, 32), (128, 32), (96, 40), (256, 96)])
def test_equal_tiles_on_the_unit_cover_every_pixel(height: int, width: int, tile: int, overlap: int):
    grid = plan_grid(height, width, tile=tile, overlap=overlap, align=32)

    assert coverage(grid).min() >= 1
    assert {(box.height, box.width) for box in grid.boxes} == {(min(tile, height), min(tile, width))}
    assert all(box.top % 32 == box.left % 32 == 0 for box in grid.boxes)
    assert len(set(grid.boxes)) == len(grid.boxes)


def test_neighbours_share_at_least_the_overlap():
    grid = plan_grid(1000, 64, tile=128, overlap=33, align=8)

    starts = grid.vertical.starts
    assert all(first + 128 - second >= 33 for first, second in pairwise(starts))
    assert grid.vertical.overlap == 40


def test_the_last_tile_is_shifted_inward_and_not_cut():
    grid = plan_grid(64, 160, tile=64, overlap=16, align=16)

    assert grid.horizontal.starts == (0, 48, 96)
    grid = plan_grid(64, 144, tile=64, overlap=16, align=16)
    assert grid.horizontal.starts == (0, 48, 80)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 320), (64, 2048), (1056, 32), (352, 288), (1664, 2240)])
@pytest.mark.parametrize(("tile", "overlap"), [(64, 0), (64, 32), (128, 32), (96, 40), (256, 96), (1024, 32)])
def test_even_tiles_are_as_many_and_compute_little_twice(height: int, width: int, tile: int, overlap: int):
    grid = plan_grid(height, width, tile=tile, overlap=overlap, align=32, even=True)
    usual = plan_grid(height, width, tile=tile, overlap=overlap, align=32)

    assert coverage(grid).min() >= 1
    assert len(grid.boxes) == len(usual.boxes)
    shared = round_up(overlap, 32)
    for axis in (grid.vertical, grid.horizontal):
        assert axis.tile <= min(tile, axis.length)
        assert all(start % 32 == 0 for start in axis.starts)
        assert all(first + axis.tile - second >= shared for first, second in pairwise(axis.starts))
        # A unit for each tile is what rounding costs at most.
        assert axis.tile * len(axis.starts) < axis.length + (shared + 32) * len(axis.starts)


def test_boxes_go_row_by_row():
    grid = plan_grid(16, 16, tile=8, overlap=0, align=8)

    assert grid.boxes == (
        Box(top=0, left=0, height=8, width=8),
        Box(top=0, left=8, height=8, width=8),
        Box(top=8, left=0, height=8, width=8),
        Box(top=8, left=8, height=8, width=8),
    )


def test_an_image_of_exactly_one_tile_gets_one_tile():
    assert plan_grid(128, 128, tile=128, overlap=32, align=32).boxes == (Box(top=0, left=0, height=128, width=128),)


@pytest.mark.parametrize(("tile", "overlap"), [(32, 32), (64, 33), (64, 64), (64, 100), (64, -1)])
def test_a_tile_that_would_not_advance_is_refused(tile: int, overlap: int):
    with pytest.raises(ValueError, match="does not advance"):
        plan_grid(512, 512, tile=tile, overlap=overlap, align=32)


def test_the_smallest_tile_advances_and_nothing_smaller_does():
    least = smallest_tile(33, 32)

    assert least == 96
    assert len(plan_grid(320, 32, tile=least, overlap=33, align=32).boxes) == 8
    with pytest.raises(ValueError, match="does not advance"):
        plan_grid(320, 32, tile=least - 32, overlap=33, align=32)


@pytest.mark.parametrize("sizes", [(0, 32, 32), (32, 31, 32), (32, 32, 40), (-32, 32, 32)])
def test_sizes_off_the_unit_are_refused(sizes: tuple[int, int, int]):
    height, width, tile = sizes
    with pytest.raises(ValueError, match="positive multiple of 32"):
        plan_grid(height, width, tile=tile, overlap=0, align=32)


def test_round_up_leaves_what_fits():
    assert [round_up(length, 8) for length in (1, 7, 8, 9, 16)] == [8, 8, 8, 16, 16]

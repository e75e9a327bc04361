"""Blended tiles are the whole image: weights sum to one, borders of tiles count nothing, ramps leave no seam."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from restore_cli.tiling.blend import Canvas, axis_weights
from restore_cli.tiling.grid import Axis, Grid, plan_grid

GRIDS = [
    plan_grid(96, 320, tile=64, overlap=32, align=32),
    plan_grid(70, 71, tile=16, overlap=5),
    plan_grid(33, 40, tile=12, overlap=9),
    plan_grid(40, 8, tile=8, overlap=0, align=8),
    plan_grid(24, 24, tile=24, overlap=8),
    plan_grid(9, 9, tile=2, overlap=1),
]


def summed_weights(axis: Axis, scale: int) -> np.ndarray:
    total = np.zeros(axis.length * scale)
    for start, weights in zip(axis.starts, axis_weights(axis, scale), strict=True):
        total[start * scale : (start + axis.tile) * scale] += weights
    return total


def stitch(grid: Grid, image: np.ndarray, restore: Callable[[np.ndarray], np.ndarray], scale: int = 1) -> np.ndarray:
    canvas = Canvas(grid, scale=scale, channels=image.shape[2])
    for box in grid.boxes:
        canvas.add(box, restore(image[box.top : box.top + box.height, box.left : box.left + box.width]))
    return canvas.finish()


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_weights_sum_to_one_at_every_pixel(grid: Grid, scale: int):
    for axis in (grid.vertical, grid.horizontal):
        np.testing.assert_allclose(summed_weights(axis, scale), 1.0, atol=1e-6)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("scale", [1, 4])
def test_tiles_of_an_image_give_the_image_back(grid: Grid, scale: int):
    image = np.random.default_rng(0).random((grid.vertical.length, grid.horizontal.length, 3), dtype=np.float32)
    enlarge = lambda tile: tile.repeat(scale, 0).repeat(scale, 1)  # noqa: E731  (shorter than a function here)

    stitched = stitch(grid, image, enlarge, scale)

    assert stitched.dtype == np.float32
    np.testing.assert_allclose(stitched, enlarge(image), atol=1e-6)


@pytest.mark.parametrize("radius", [1, 4, 8])
def test_a_filter_within_a_quarter_of_the_overlap_gives_exactly_the_whole_image(radius: int):
    # The tile's own border is continued wrongly on purpose: only thrown-away pixels may see it.
    grid = plan_grid(96, 160, tile=64, overlap=32, align=32)
    image = np.random.default_rng(1).random((96, 160, 3), dtype=np.float32)
    blur = lambda tile: ndimage.uniform_filter(tile, (2 * radius + 1, 2 * radius + 1, 1), mode="constant")  # noqa: E731

    np.testing.assert_allclose(stitch(grid, image, blur), blur(image), atol=1e-6)


def test_a_step_between_tiles_becomes_a_ramp_without_a_seam():
    # Each tile answers with a level of its own, as statistics of each tile would have it.
    grid = plan_grid(64, 160, tile=64, overlap=16, align=16)
    canvas = Canvas(grid, scale=1, channels=1)
    for level, box in enumerate(grid.boxes):
        canvas.add(box, np.full((box.height, box.width, 1), level, dtype=np.float32))

    steps = np.abs(np.diff(canvas.finish()[0, :, 0]))

    assert steps.max() <= 1 / 8 + 1e-6  # one level over the middle half of the overlap
    assert canvas.finish()[0, [0, -1], 0].tolist() == [0, 2]


def test_the_images_own_border_is_not_thinned():
    axis = plan_grid(64, 160, tile=64, overlap=32, align=32).horizontal
    first, *_, last = axis_weights(axis, 1)

    assert (first[:32] == 1).all()
    assert (last[-32:] == 1).all()


def test_a_single_tile_is_handed_through_without_a_copy():
    grid = plan_grid(32, 48, tile=64, overlap=32, align=16)
    tile = np.zeros((32, 48, 3), dtype=np.float32)
    canvas = Canvas(grid, scale=1, channels=3)
    canvas.add(grid.boxes[0], tile)

    assert canvas.finish() is tile


def test_a_canvas_without_tiles_is_refused():
    with pytest.raises(ValueError, match="no tile"):
        Canvas(GRIDS[0], scale=1, channels=3).finish()

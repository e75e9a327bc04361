"""What was changed is measured right, whatever the sizes, and found where it is."""

from __future__ import annotations

import numpy as np
import pytest

from restore_cli.comparison.change import measure_change, place_before
from restore_cli.imaging.decoded_image import FloatImage
from restore_cli.imaging.resize import matlab_bicubic


def noise(height: int, width: int, channels: int = 3) -> FloatImage:
    return np.random.default_rng(0).random((height, width, channels), dtype=np.float32)


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5])
def test_bands_measure_what_the_whole_image_would(factor: int) -> None:
    before, after = noise(233, 61), noise(233 * factor, 61 * factor)
    whole = np.abs(after - matlab_bicubic(before, *after.shape[:2]).clip(0, 1))

    change = measure_change(before, after, side=96)

    assert change.mean == pytest.approx(255 * whole.mean(dtype=np.float64), rel=1e-5)
    assert change.largest == pytest.approx(255 * whole.max(), rel=1e-5)


def test_the_place_is_where_the_change_is_and_shows_the_same_before() -> None:
    before = noise(300, 400)
    after = np.repeat(np.repeat(before, 2, axis=0), 2, axis=1)
    after[480:576, 672:768] = 1 - after[480:576, 672:768]

    change = measure_change(before, after, side=96)

    assert change.box == (480, 672, 96, 96)
    np.testing.assert_array_equal(place_before(before, change.box, 600, 800), before[240:288, 336:384])


def test_a_place_at_the_border_keeps_its_side() -> None:
    before = noise(200, 130)
    after = before.copy()
    after[190:, 120:] = 0

    assert measure_change(before, after, side=96).box == (104, 34, 96, 96)


def test_small_images_are_their_own_place_and_gray_stands_against_colour() -> None:
    change = measure_change(np.zeros((5, 4, 1), np.float32), np.full((5, 4, 3), 10 / 255, np.float32), side=96)

    assert change.box == (0, 0, 5, 4)
    assert change.mean == pytest.approx(10)
    assert change.largest == pytest.approx(10)


def test_results_of_any_size_can_be_compared() -> None:
    before, after = noise(20, 30), noise(33, 47)

    change = measure_change(before, after, side=48)

    assert place_before(before, change.box, 33, 47).shape == after.shape

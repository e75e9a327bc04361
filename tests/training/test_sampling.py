"""Crops depend on seed, step and place alone, and are turned in all eight ways."""

from __future__ import annotations

import numpy as np
import pytest

from restore_cli.training.images import Pixels
from restore_cli.training.sampling import ORIENTATIONS, CropSampler, cut, degradation_seed, turn

SIZES = [(64, 96), (200, 300), (64, 64)]


def test_a_crop_depends_on_seed_step_and_place_alone():
    one, other = CropSampler(SIZES, 2, seed=7), CropSampler(SIZES, 2, seed=7)
    other.draw(3, 3, 16)  # drawing leaves no trace
    assert [one.draw(5, k, 16) for k in range(20)] == [other.draw(5, k, 16) for k in range(20)]


@pytest.mark.parametrize(("seed", "step", "index"), [(8, 5, 0), (7, 6, 0), (7, 5, 1)])
def test_another_seed_step_or_place_gives_another_crop(seed: int, step: int, index: int):
    sizes = [(2000, 3000)]
    assert CropSampler(sizes, 1, seed=7).draw(5, 0, 16) != CropSampler(sizes, 1, seed=seed).draw(step, index, 16)


def test_crops_lie_inside_reach_all_borders_and_turn_all_ways():
    sampler = CropSampler([(40, 48)], 2, seed=0)
    crops = [sampler.draw(step, 0, 16) for step in range(600)]
    assert {crop.top for crop in crops} == set(range(20 - 16 + 1))
    assert {crop.left for crop in crops} == set(range(24 - 16 + 1))
    assert {crop.orientation for crop in crops} == set(range(ORIENTATIONS))


def test_larger_images_are_drawn_with_the_square_root_of_their_area():
    sampler = CropSampler([(100, 100), (300, 300)], 1, seed=0)
    drawn = [sampler.draw(step, 0, 16).image for step in range(4000)]
    assert abs(np.mean(drawn) - 0.75) < 0.03


def test_crops_and_degradations_have_streams_of_their_own():
    seeds = {degradation_seed(0, step, group) for step in range(50) for group in range(8)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_eight_ways_to_turn_are_all_different():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert len({turn(image, way).tobytes() for way in range(ORIENTATIONS)}) == ORIENTATIONS


def test_degraded_and_clean_patch_stay_aligned_whatever_the_turn():
    rows, columns = np.mgrid[0:20, 0:24].astype(np.uint8)
    degraded = np.stack([rows, columns, rows], axis=-1)
    clean = degraded.repeat(3, axis=0).repeat(3, axis=1)
    sampler = CropSampler([clean.shape[:2]], 3, seed=1)
    for step in range(40):
        hr, lr = cut(Pixels(clean=clean, degraded=degraded), sampler.draw(step, 0, 8), 8, 3)
        assert lr is not None
        assert np.array_equal(hr, lr.repeat(3, axis=0).repeat(3, axis=1))

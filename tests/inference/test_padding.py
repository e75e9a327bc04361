"""Padding continues an image as `numpy.pad` does, for any size from one pixel, and never by a whole unit too much."""

from __future__ import annotations

import numpy as np
import pytest

from restore_cli.inference.layout import mirrored_indices, pad_to_multiple, padded_size


@pytest.mark.parametrize("mode", ["reflect", "symmetric"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (33, 1), (2, 3), (31, 33), (17, 64), (96, 100)])
def test_padding_is_that_of_numpy(mode: str, height: int, width: int):
    pixels = np.random.default_rng(0).random((height, width, 3), dtype=np.float32)
    extra = ((0, -height % 32), (0, -width % 32), (0, 0))

    padded = pad_to_multiple(pixels, 32, mode)

    np.testing.assert_array_equal(padded, np.pad(pixels, extra, mode=mode))
    assert padded.dtype == np.float32


@pytest.mark.parametrize("mode", ["reflect", "symmetric"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (33, 1), (48, 16)])
def test_a_margin_is_put_on_all_four_sides(mode: str, height: int, width: int):
    pixels = np.random.default_rng(0).random((height, width, 3), dtype=np.float32)
    extra = ((8, 8 + -(height + 16) % 32), (8, 8 + -(width + 16) % 32), (0, 0))

    padded = pad_to_multiple(pixels, 32, mode, margin=8)

    np.testing.assert_array_equal(padded, np.pad(pixels, extra, mode=mode))
    assert padded.shape[:2] == padded_size(height, width, 32, 8)


@pytest.mark.parametrize("mode", ["reflect", "symmetric"])
def test_an_image_that_fits_is_left_alone(mode: str):
    pixels = np.zeros((64, 32, 1), dtype=np.float32)

    assert pad_to_multiple(pixels, 32, mode) is pixels


def test_reflect_mirrors_about_the_last_pixel_again_and_again():
    assert mirrored_indices(3, 9, "reflect").tolist() == [0, 1, 2, 1, 0, 1, 2, 1, 0]
    assert mirrored_indices(1, 4, "reflect").tolist() == [0, 0, 0, 0]


def test_symmetric_repeats_the_last_pixel():
    assert mirrored_indices(3, 9, "symmetric").tolist() == [0, 1, 2, 2, 1, 0, 0, 1, 2]


def test_an_unknown_padding_is_refused():
    with pytest.raises(ValueError, match="known: reflect, symmetric"):
        mirrored_indices(3, 9, "zero")  # type: ignore[arg-type]

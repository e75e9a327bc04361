"""The size that was asked for, with the aspect of the picture, without aliasing."""

from __future__ import annotations

import numpy as np
import pytest

from restore_cli.errors import ImageError
from restore_cli.imaging.background import color_named
from restore_cli.imaging.decoded_image import Picture
from restore_cli.imaging.fit import check_result, fitted, fitted_size
from restore_cli.settings import ReadWishes, SizeWishes


@pytest.mark.parametrize(
    ("wishes", "size"),
    [
        (SizeWishes(), (300, 400)),
        (SizeWishes(width=200), (150, 200)),
        (SizeWishes(height=600), (600, 800)),
        (SizeWishes(width=1000, height=150), (150, 200)),
        (SizeWishes(width=100, height=9000), (75, 100)),
        (SizeWishes(long_side=1), (1, 1)),
        (SizeWishes(long_side=401), (301, 401)),
    ],
)
def test_sizes_keep_the_aspect_and_fill_the_box(wishes: SizeWishes, size: tuple[int, int]) -> None:
    assert fitted_size(300, 400, wishes) == size
    assert fitted_size(400, 300, SizeWishes(long_side=wishes.long_side)) == (
        size[::-1] if wishes.long_side else (400, 300)
    )


def test_shrinking_averages_and_enlarging_says_so() -> None:
    stripes = np.zeros((64, 64, 3), np.float32)
    stripes[:, ::2] = 1.0
    alpha = np.full((64, 64), 0.5, np.float32)
    small = fitted(Picture(pixels=stripes, alpha=alpha), SizeWishes(width=16))
    assert small.pixels.shape == (16, 16, 3)
    np.testing.assert_allclose(small.pixels[:, 2:-2], 0.5, atol=0.01)  # borders see the pattern reflected
    np.testing.assert_allclose(small.alpha, 0.5, atol=1e-6)
    assert small.warnings == ()
    large = fitted(Picture(pixels=stripes), SizeWishes(long_side=100))
    assert large.pixels.shape == (100, 100, 3)
    assert (large.pixels.min(), large.pixels.max()) == (0.0, 1.0)  # bicubic overshoots, which is clipped
    assert large.warnings == ("enlarged beyond the network's result, from 64x64 to 100x100, by plain bicubic",)


def test_a_picture_that_has_the_size_is_not_touched() -> None:
    picture = Picture(pixels=np.zeros((3, 4, 1), np.float32))
    assert fitted(picture, SizeWishes(width=4)) is picture


def test_a_result_beyond_all_measure_is_refused_before_it_is_made() -> None:
    check_result(400, 400, ReadWishes(max_pixels=10_000))
    with pytest.raises(ImageError, match=r"400x401 pixels is larger than the 160000 allowed.*--max-pixels"):
        check_result(401, 400, ReadWishes(max_pixels=10_000))


def test_colours_are_named_or_written_in_hexadecimal() -> None:
    assert color_named("white") == (1.0, 1.0, 1.0)
    assert color_named("#336699") == pytest.approx((0.2, 0.4, 0.6))
    with pytest.raises(ValueError, match="nocolour"):
        color_named("nocolour")

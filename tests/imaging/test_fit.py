"""The size that was asked for, with the aspect of the image, without aliasing."""

from __future__ import annotations

import numpy as np
import pytest

from restore_cli.errors import ImageError
from restore_cli.imaging.background import color_named
from restore_cli.imaging.decoded_image import DecodedImage
from restore_cli.imaging.encode import check_result, fitted, fitted_size
from restore_cli.settings import ReadSettings, SizeSettings


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        (SizeSettings(), (300, 400)),
        (SizeSettings(width=200), (150, 200)),
        (SizeSettings(height=600), (600, 800)),
        (SizeSettings(width=1000, height=150), (150, 200)),
        (SizeSettings(width=100, height=9000), (75, 100)),
        (SizeSettings(long_side=1), (1, 1)),
        (SizeSettings(long_side=401), (301, 401)),
    ],
)
def test_sizes_keep_the_aspect_and_fill_the_box(settings: SizeSettings, size: tuple[int, int]) -> None:
    assert fitted_size(300, 400, settings) == size
    assert fitted_size(400, 300, SizeSettings(long_side=settings.long_side)) == (
        size[::-1] if settings.long_side else (400, 300)
    )


def test_shrinking_averages_and_enlarging_says_so() -> None:
    stripes = np.zeros((64, 64, 3), np.float32)
    stripes[:, ::2] = 1.0
    alpha = np.full((64, 64), 0.5, np.float32)
    small = fitted(DecodedImage(pixels=stripes, alpha=alpha), SizeSettings(width=16))
    assert small.pixels.shape == (16, 16, 3)
    np.testing.assert_allclose(small.pixels[:, 2:-2], 0.5, atol=0.01)  # borders see the pattern reflected
    np.testing.assert_allclose(small.alpha, 0.5, atol=1e-6)
    assert small.warnings == ()
    large = fitted(DecodedImage(pixels=stripes), SizeSettings(long_side=100))
    assert large.pixels.shape == (100, 100, 3)
    assert (large.pixels.min(), large.pixels.max()) == (0.0, 1.0)  # bicubic overshoots, which is clipped
    assert large.warnings == ("enlarged beyond the network's result, from 64x64 to 100x100, by plain bicubic",)


def test_an_image_that_has_the_size_is_not_touched() -> None:
    image = DecodedImage(pixels=np.zeros((3, 4, 1), np.float32))
    assert fitted(image, SizeSettings(width=4)) is image


def test_a_result_beyond_all_measure_is_refused_before_it_is_made() -> None:
    check_result(400, 400, ReadSettings(max_pixels=10_000))
    with pytest.raises(ImageError, match=r"400x401 pixels is larger than the 160000 allowed.*--max-pixels"):
        check_result(401, 400, ReadSettings(max_pixels=10_000))


def test_colours_are_named_or_written_in_hexadecimal() -> None:
    assert color_named("white") == (1.0, 1.0, 1.0)
    assert color_named("#336699") == pytest.approx((0.2, 0.4, 0.6))
    with pytest.raises(ValueError, match="nocolour"):
        color_named("nocolour")

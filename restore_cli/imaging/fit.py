"""Bring a result to the size that was asked for.

Stage 7, WRITE. A network enlarges by a whole factor; people want so many pixels. The aspect is kept: a width and a
height together are a box to fill as far as it goes. Shrinking is antialiased; beyond the network's result the image
is enlarged by plain bicubic, as asked for, with a word about it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from restore_cli.errors import ImageError
from restore_cli.imaging.decoded_image import DecodedImage, FloatImage
from restore_cli.imaging.resize import matlab_bicubic
from restore_cli.settings import ReadSettings, SizeSettings

# Super-resolution by 4 makes 16 pixels of one.
_RESULT_FACTOR = 16


def fitted_size(height: int, width: int, settings: SizeSettings) -> tuple[int, int]:
    """Return the (height, width) that an image of some size is brought to.

    Example:
        >>> fitted_size(300, 400, SizeSettings(long_side=1000))
        (750, 1000)
        >>> fitted_size(300, 400, SizeSettings(width=200, height=200))
        (150, 200)
    """
    factors = [
        requested / side
        for requested, side in (
            (settings.height, height),
            (settings.width, width),
            (settings.long_side, max(height, width)),
        )
        if requested is not None
    ]
    if not factors:
        return height, width
    factor = min(factors)
    return max(1, round(height * factor)), max(1, round(width * factor))


def fitted(image: DecodedImage, settings: SizeSettings) -> DecodedImage:
    """Return an image in the size asked for, itself if it has it."""
    height, width = fitted_size(image.height, image.width, settings)
    if (height, width) == (image.height, image.width):
        return image
    warnings = image.warnings
    if height > image.height or width > image.width:
        grown = f"{image.width}x{image.height} to {width}x{height}"
        warnings += (f"enlarged beyond the network's result, from {grown}, by plain bicubic",)
    alpha = image.alpha
    return replace(
        image,
        pixels=_resized(image.pixels, height, width),
        alpha=None if alpha is None else _resized(alpha[..., np.newaxis], height, width)[..., 0],
        warnings=warnings,
    )


def check_result(height: int, width: int, settings: ReadSettings) -> None:
    """Refuse a result that nobody can have meant, before memory is spent on it.

    Raises:
        ImageError: If it has more than 16 times the pixels that an input may have.
    """
    most = _RESULT_FACTOR * settings.max_pixels
    if height * width > most:
        msg = f"its result of {width}x{height} pixels is larger than the {most} allowed"
        raise ImageError(msg, hint="ask for a smaller size, or allow more with --max-pixels")


def _resized(image: FloatImage, height: int, width: int) -> FloatImage:
    return np.clip(matlab_bicubic(image, height, width), 0.0, 1.0)

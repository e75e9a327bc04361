"""Bring a result to the size that was asked for.

Stage 7, WRITE. A network enlarges by a whole factor; people want so many pixels. The aspect is kept: a width and a
height together are a box to fill as far as it goes. Shrinking is antialiased; beyond the network's result the picture
is enlarged by plain bicubic, as asked for, with a word about it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from restore_cli.errors import ImageError
from restore_cli.imaging.decoded_image import FloatImage, Picture
from restore_cli.imaging.resize import matlab_bicubic
from restore_cli.settings import ReadWishes, SizeWishes

# Super-resolution by 4 makes 16 pixels of one.
_RESULT_FACTOR = 16


def fitted_size(height: int, width: int, wishes: SizeWishes) -> tuple[int, int]:
    """Return the (height, width) that a picture of some size is brought to.

    Example:
        >>> fitted_size(300, 400, SizeWishes(long_side=1000))
        (750, 1000)
        >>> fitted_size(300, 400, SizeWishes(width=200, height=200))
        (150, 200)
    """
    factors = [
        wished / side
        for wished, side in ((wishes.height, height), (wishes.width, width), (wishes.long_side, max(height, width)))
        if wished is not None
    ]
    if not factors:
        return height, width
    factor = min(factors)
    return max(1, round(height * factor)), max(1, round(width * factor))


def fitted(picture: Picture, wishes: SizeWishes) -> Picture:
    """Return a picture in the size asked for, itself if it has it."""
    height, width = fitted_size(picture.height, picture.width, wishes)
    if (height, width) == (picture.height, picture.width):
        return picture
    warnings = picture.warnings
    if height > picture.height or width > picture.width:
        grown = f"{picture.width}x{picture.height} to {width}x{height}"
        warnings += (f"enlarged beyond the network's result, from {grown}, by plain bicubic",)
    alpha = picture.alpha
    return replace(
        picture,
        pixels=_resized(picture.pixels, height, width),
        alpha=None if alpha is None else _resized(alpha[..., np.newaxis], height, width)[..., 0],
        warnings=warnings,
    )


def check_result(height: int, width: int, wishes: ReadWishes) -> None:
    """Refuse a result that nobody can have meant, before memory is spent on it.

    Raises:
        ImageError: If it has more than 16 times the pixels that an input may have.
    """
    most = _RESULT_FACTOR * wishes.max_pixels
    if height * width > most:
        msg = f"its result of {width}x{height} pixels is larger than the {most} allowed"
        raise ImageError(msg, hint="ask for a smaller size, or allow more with --max-pixels")


def _resized(image: FloatImage, height: int, width: int) -> FloatImage:
    return np.clip(matlab_bicubic(image, height, width), 0.0, 1.0)

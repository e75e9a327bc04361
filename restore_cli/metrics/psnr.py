"""Peak signal-to-noise ratio, as papers on restoration take it: 8-bit images, float64 from there."""

from __future__ import annotations

import math

import numpy as np

from restore_cli.metrics.pair import FloatPlanes, Uint8Image, luma, scored_pair

_PEAK = 255.0


def psnr(a: Uint8Image, b: Uint8Image, *, crop_border: int = 0) -> float:
    """Return the PSNR over all channels at once, in dB; inf for equal images.

    Args:
        a: uint8 (H, W, C), C = 1 or 3.
        b: The same shape; the order of the two does not matter.
        crop_border: Pixels cut off each side first.

    Raises:
        ValueError: If the shapes differ, a dtype or shape is another, or the border leaves nothing.

    Example:
        >>> import numpy as np
        >>> black = np.zeros((8, 8, 3), np.uint8)
        >>> round(psnr(black, black + 1), 2)
        48.13
    """
    return _decibels(*scored_pair(a, b, crop_border))


def psnr_y(a: Uint8Image, b: Uint8Image, *, crop_border: int = 0) -> float:
    """Return the PSNR of the luma (BT.601, studio range, not rounded), in dB; inf for images of equal luma.

    Args:
        a: uint8 (H, W, C), C = 1 or 3; one channel counts as equal R, G and B.
        b: The same shape; the order of the two does not matter.
        crop_border: Pixels cut off each side first.

    Raises:
        ValueError: If the shapes differ, a dtype or shape is another, or the border leaves nothing.
    """
    first, second = scored_pair(a, b, crop_border)
    return _decibels(luma(first), luma(second))


def _decibels(a: FloatPlanes, b: FloatPlanes) -> float:
    mean_squared_error = float(np.mean((a - b) ** 2))
    if mean_squared_error == 0.0:
        return math.inf
    return 20.0 * math.log10(_PEAK / math.sqrt(mean_squared_error))

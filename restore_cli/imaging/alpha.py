"""Fill the colour under transparent pixels, which nobody sees but a network would.

Stage 3, READ. Most programs leave black or white under alpha = 0. A network or a filter mixes neighbours, so that
colour would come out as a dark or light fringe around everything visible.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from restore_cli.imaging.picture import FloatImage


def bleed_color(pixels: FloatImage, alpha: FloatImage) -> FloatImage:
    """Give pixels of alpha 0 the colour of the visible ones near them.

    Each takes the alpha-weighted mean of the smallest square of a pyramid around it that holds anything visible.

    Args:
        pixels: float32 (H, W, C).
        alpha: float32 (H, W) in [0, 1].

    Returns:
        float32 (H, W, C), unchanged where alpha > 0. The argument itself where all or nothing is visible.
    """
    hidden = alpha == 0.0
    if not hidden.any() or hidden.all():
        return pixels
    filled = pixels.copy()
    filled[hidden] = _enlarged(_mean_colors(pixels, alpha), hidden)
    return filled


def _mean_colors(colors: FloatImage, weights: FloatImage) -> FloatImage:
    """Return the mean colour of each 2x2 square, those without any weight filled from a coarser level."""
    rows, columns = colors.shape[0] % 2, colors.shape[1] % 2
    weighted = np.pad(colors * weights[..., np.newaxis], ((0, rows), (0, columns), (0, 0)))
    totals = _sums_of_squares(np.pad(weights, ((0, rows), (0, columns))))
    empty = totals == 0.0
    divisors = np.where(empty, 1.0, totals)[..., np.newaxis]
    means: FloatImage = np.divide(_sums_of_squares(weighted), divisors, dtype=np.float32)
    if empty.any():
        means[empty] = _enlarged(_mean_colors(means, totals), empty)
    return means


def _sums_of_squares(planes: FloatImage) -> FloatImage:
    return planes[::2, ::2] + planes[1::2, ::2] + planes[::2, 1::2] + planes[1::2, 1::2]


def _enlarged(squares: FloatImage, where: npt.NDArray[np.bool_]) -> FloatImage:
    """Return the colours of the 2x2 squares that the marked pixels lie in, (marked pixels, C)."""
    rows, columns = np.nonzero(where)
    return squares[rows // 2, columns // 2]

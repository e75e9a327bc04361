"""Fill the colour under transparent pixels, which nobody sees but a network would.

Stage 3, READ. Most programs leave black or white under alpha = 0. A network or a filter mixes neighbours, so that
colour would come out as a dark or light fringe around everything visible.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from restore_cli.imaging.decoded_image import FloatImage

_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))


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
    _fill(filled, hidden, _mean_colors(pixels, alpha))
    return filled


def _mean_colors(colors: FloatImage, weights: FloatImage) -> FloatImage:
    """Return the mean colour of each 2x2 square, those without any weight filled from a coarser level."""
    height, width = (colors.shape[0] + 1) // 2, (colors.shape[1] + 1) // 2
    means = np.zeros((height, width, colors.shape[2]), np.float32)
    totals = np.zeros((height, width), np.float32)
    for row, column in _CORNERS:
        quarter = weights[row::2, column::2]
        inside = slice(quarter.shape[0]), slice(quarter.shape[1])  # odd sizes lack the last row or column
        totals[inside] += quarter
        for channel in range(colors.shape[2]):  # twice as fast as broadcasting over so few channels
            means[(*inside, channel)] += colors[row::2, column::2, channel] * quarter
    empty = totals == 0.0
    means /= np.where(empty, np.float32(1.0), totals)[..., np.newaxis]
    if empty.any():
        _fill(means, empty, _mean_colors(means, totals))
    return means


def _fill(colors: FloatImage, where: npt.NDArray[np.bool_], squares: FloatImage) -> None:
    """Overwrite the marked pixels with the colour of the 2x2 square they lie in."""
    for row, column in _CORNERS:
        corner = colors[row::2, column::2]
        np.copyto(
            corner,
            squares[: corner.shape[0], : corner.shape[1]],
            where=where[row::2, column::2, np.newaxis],
        )

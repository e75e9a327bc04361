"""Find the place in an image that says most: the box with the largest mean of some weight."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from restore_cli.pages.images import Box, Uint8Image

Weights = npt.NDArray[np.float64]

# Whole input pixels at every scale: 96 is a multiple of 2, 3 and 4, and so is its half, the step of the search.
SIDE_PIXELS = 96
_STEP_PIXELS = 48


def squared_error(a: Uint8Image, b: Uint8Image) -> Weights:
    """Return the squared difference of two images, mean over channels: float64 (H, W)."""
    difference = a.astype(np.float64) - b.astype(np.float64)
    return np.asarray((difference * difference).mean(axis=2))


def heaviest_box(weights: Weights, scale: int) -> tuple[Box, float]:
    """Return the box of the search grid with the largest mean weight, and that mean.

    Args:
        weights: (H, W); where it is smaller than a box, the box is all of it.
        scale: Boxes begin and end at multiples of this.
    """
    height, width = (min(SIDE_PIXELS, side - side % scale) for side in weights.shape)
    sums = np.pad(weights, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    tops = _starts(weights.shape[0], height, scale)
    lefts = _starts(weights.shape[1], width, scale)
    boxes = (
        sums[np.ix_(tops + height, lefts + width)]
        - sums[np.ix_(tops, lefts + width)]
        - sums[np.ix_(tops + height, lefts)]
        + sums[np.ix_(tops, lefts)]
    )
    row, column = np.unravel_index(int(boxes.argmax()), boxes.shape)
    return (int(tops[row]), int(lefts[column]), height, width), float(boxes[row, column]) / (height * width)


def _starts(length: int, side: int, scale: int) -> npt.NDArray[np.intp]:
    """Return where boxes may begin: every half box, and the last that fits, all multiples of the scale."""
    last = (length - side) // scale * scale
    return np.array(sorted({*range(0, last + 1, _STEP_PIXELS), last}), dtype=np.intp)

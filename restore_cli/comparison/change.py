"""What was changed between two images: how much on average, how much at most, and where most of all.

The image before is brought to the size of the one after by bicubic enlargement, since that is what one would have had
without a network. All of it goes in bands of rows, so that a result of a thousand million pixels costs no second copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from restore_cli.imaging.decoded_image import FloatImage
from restore_cli.imaging.resize import matlab_bicubic

Box = tuple[int, int, int, int]
"""(top, left, height, width) in pixels."""

# Changes are summed in squares of this side; a multiple of every factor, so that a place begins on a pixel before too.
CELL_PIXELS = 48
_LEVELS = 255.0
_BAND_CELLS = 8
_REACH_PIXELS = 4  # of the bicubic kernel, and some more


@dataclass(frozen=True, kw_only=True)
class Change:
    """What was changed between two images.

    Attributes:
        mean: Mean absolute difference over pixels and channels, on the 0..255 scale.
        largest: Largest absolute difference, on the 0..255 scale.
        box: The place with the largest mean difference, in pixels of the image after.
    """

    mean: float
    largest: float
    box: Box


def measure_change(before: FloatImage, after: FloatImage, *, side: int) -> Change:
    """Measure what was changed.

    Args:
        before: float32 (h, w, C) in [0, 1], C = 1 or 3.
        after: float32 (H, W, C') in [0, 1], of any size.
        side: Length of the place to find, in pixels of `after`, a multiple of `CELL_PIXELS`; all of a shorter image.

    Raises:
        ValueError: If `side` is no multiple of `CELL_PIXELS`.
    """
    if side < CELL_PIXELS or side % CELL_PIXELS:
        msg = f"a place has a multiple of {CELL_PIXELS} pixels a side, not {side}"
        raise ValueError(msg)
    height, width = after.shape[:2]
    sums: list[npt.NDArray[np.float64]] = []
    largest = 0.0
    for top, enlarged in _bands(before, height, width):
        part = after[top : top + enlarged.shape[0]]
        difference = np.abs(part - enlarged)  # a gray one stands against each channel of one in colour
        largest = max(largest, float(difference.max()))
        sums.append(_cell_sums(difference.mean(axis=2)))
    cells = np.concatenate(sums)
    mean = float(cells.sum()) / (height * width) * _LEVELS
    return Change(mean=mean, largest=largest * _LEVELS, box=_heaviest(cells, height, width, side))


def place_before(before: FloatImage, box: Box, height: int, width: int) -> FloatImage:
    """Return what an image shows at a place of another, at its own resolution where the sizes allow.

    Args:
        before: float32 (h, w, C).
        box: A place in the other image.
        height: Of the other image.
        width: Of the other image.
    """
    top, left, rows, columns = box
    factor = _factor(before, height, width)
    if factor is None:
        return matlab_bicubic(before, height, width)[top : top + rows, left : left + columns].clip(0.0, 1.0)
    top, left, rows, columns = (length // factor for length in box)
    return before[top : top + rows, left : left + columns]


def _factor(before: FloatImage, height: int, width: int) -> int | None:
    """Return the whole factor between two sizes, None where there is none that places begin on."""
    factor = height // before.shape[0]
    exact = factor >= 1 and (before.shape[0] * factor, before.shape[1] * factor) == (height, width)
    return factor if exact and CELL_PIXELS % factor == 0 else None


def _bands(before: FloatImage, height: int, width: int) -> Iterator[tuple[int, FloatImage]]:
    """Yield the first row of each band and the image before at the size of the one after."""
    rows = CELL_PIXELS * _BAND_CELLS
    factor = _factor(before, height, width)
    whole = matlab_bicubic(before, height, width).clip(0.0, 1.0) if factor is None else before
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        if factor is None or factor == 1:
            yield top, whole[top:bottom]
            continue
        first = max(0, top // factor - _REACH_PIXELS)
        last = min(before.shape[0], bottom // factor + _REACH_PIXELS)
        enlarged = matlab_bicubic(before[first:last], (last - first) * factor, width)
        yield top, enlarged[top - first * factor : bottom - first * factor].clip(0.0, 1.0)


def _cell_sums(difference: FloatImage) -> npt.NDArray[np.float64]:
    """Sum a band (h, W) in squares; those at the right and lower border are narrower."""
    rows = np.arange(0, difference.shape[0], CELL_PIXELS)
    columns = np.arange(0, difference.shape[1], CELL_PIXELS)
    return np.add.reduceat(np.add.reduceat(difference.astype(np.float64), rows, axis=0), columns, axis=1)


def _heaviest(cells: npt.NDArray[np.float64], height: int, width: int, side: int) -> Box:
    """Return the place of some side whose squares have the largest sum."""
    count = side // CELL_PIXELS
    rows, columns = (min(count, length) for length in cells.shape)
    sums = np.pad(cells, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    places = sums[rows:, columns:] - sums[:-rows, columns:] - sums[rows:, :-columns] + sums[:-rows, :-columns]
    row, column = np.unravel_index(int(places.argmax()), places.shape)
    box_height, box_width = min(side, height), min(side, width)
    # The last squares are narrower: the place moves back so that it keeps its side.
    top = min(int(row) * CELL_PIXELS, height - box_height)
    left = min(int(column) * CELL_PIXELS, width - box_width)
    return top, left, box_height, box_width

"""Continue an image to the size a network takes.

Stage 5, RUN. Done once, outside the network. For networks that need no margin only at the bottom and the right, so that
pixel (0, 0) stays where it is; an image that already fits gets nothing added then.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from restore_cli.imaging.decoded_image import FloatImage
from restore_cli.settings import Padding
from restore_cli.tiling.grid import round_up


def pad_to_multiple(pixels: FloatImage, multiple_of: int, mode: Padding, margin: int = 0) -> FloatImage:
    """Return the image continued to multiples of `multiple_of`; itself, not a copy, where it fits.

    Args:
        pixels: float32 (H, W, C), any size from one pixel.
        multiple_of: Height and width of the result are the next multiples of this.
        mode: "reflect" mirrors about the last pixel, "symmetric" about its outer edge; an image smaller than the
            padding is mirrored again and again.
        margin: Rows and columns to add on each of the four sides, at least; the image begins at (margin, margin).
    """
    height, width = pixels.shape[:2]
    target_height, target_width = padded_size(height, width, multiple_of, margin)
    if (target_height, target_width) == (height, width):
        return pixels
    rows = mirrored_indices(height, target_height, mode, margin)
    columns = mirrored_indices(width, target_width, mode, margin)
    return pixels[rows[:, None], columns[None, :]]


def padded_size(height: int, width: int, multiple_of: int, margin: int = 0) -> tuple[int, int]:
    """Return (height, width) of what `pad_to_multiple` makes of an image."""
    return round_up(height + 2 * margin, multiple_of), round_up(width + 2 * margin, multiple_of)


def mirrored_indices(length: int, target: int, mode: Padding, before: int = 0) -> npt.NDArray[np.intp]:
    """Return which source index each of `target` positions takes, as `numpy.pad` continues at both ends.

    Args:
        length: How many there are.
        target: How many are wanted.
        mode: As in `pad_to_multiple`.
        before: How many of them lie ahead of the first.

    Raises:
        ValueError: If the mode is unknown.
    """
    positions = np.arange(-before, target - before, dtype=np.intp)
    if mode == "reflect":
        period = max(1, 2 * (length - 1))  # a single pixel has nothing to mirror: it is repeated
        phase = positions % period
        return np.minimum(phase, period - phase)
    if mode == "symmetric":
        phase = positions % (2 * length)
        return np.minimum(phase, 2 * length - 1 - phase)
    msg = f"unknown padding {mode!r}; known: reflect, symmetric"
    raise ValueError(msg)

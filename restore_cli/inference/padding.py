"""Continue an image to the size a network takes.

Stage 5, RUN. Done once, outside the network, at the bottom and the right, so that pixel (0, 0) stays where it is and
cropping is a slice. An image that already fits gets nothing added.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from restore_cli.imaging.decoded_image import FloatImage
from restore_cli.settings import Padding
from restore_cli.tiling.grid import round_up


def pad_to_multiple(pixels: FloatImage, multiple_of: int, mode: Padding) -> FloatImage:
    """Return the image continued to multiples of `multiple_of`; itself, not a copy, where it fits.

    Args:
        pixels: float32 (H, W, C), any size from one pixel.
        multiple_of: Height and width of the result are the next multiples of this.
        mode: "reflect" mirrors about the last pixel, "symmetric" about its outer edge; an image smaller than the
            padding is mirrored again and again.
    """
    height, width = pixels.shape[:2]
    target_height, target_width = round_up(height, multiple_of), round_up(width, multiple_of)
    if (target_height, target_width) == (height, width):
        return pixels
    rows = mirrored_indices(height, target_height, mode)
    columns = mirrored_indices(width, target_width, mode)
    return pixels[rows[:, None], columns[None, :]]


def mirrored_indices(length: int, target: int, mode: Padding) -> npt.NDArray[np.intp]:
    """Return which source index each of `target` positions takes, as `numpy.pad` continues at the end.

    Raises:
        ValueError: If the mode is unknown.
    """
    positions = np.arange(target, dtype=np.intp)
    if mode == "reflect":
        period = max(1, 2 * (length - 1))  # a single pixel has nothing to mirror: it is repeated
        phase = positions % period
        return np.minimum(phase, period - phase)
    if mode == "symmetric":
        phase = positions % (2 * length)
        return np.minimum(phase, 2 * length - 1 - phase)
    msg = f"unknown padding {mode!r}; known: reflect, symmetric"
    raise ValueError(msg)

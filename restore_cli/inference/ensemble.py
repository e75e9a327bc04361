"""The mean over the eight flips and rotations of an image, the field's self-ensemble.

Stage 5, RUN, around everything else: each turned image is padded and cut anew, so that it meets other windows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from restore_cli.imaging.decoded_image import FloatImage

SYMMETRIES = tuple((mirrored, turns) for mirrored in (False, True) for turns in range(4))
"""(mirrored, quarter turns), the image as it stands first."""


def mean_over_symmetries(restore: Callable[[FloatImage], FloatImage], pixels: FloatImage) -> FloatImage:
    """Restore all eight flips and rotations, turn the results back and return their mean.

    Args:
        restore: float32 (H, W, C) to float32 (scale * H, scale * W, C), for any H and W.
        pixels: float32 (H, W, C).
    """
    total = restore(pixels).copy()
    for mirrored, turns in SYMMETRIES[1:]:
        total += _turn_back(restore(_turn(pixels, mirrored, turns)), mirrored, turns)
    total /= len(SYMMETRIES)
    return total


def _turn(pixels: FloatImage, mirrored: bool, turns: int) -> FloatImage:
    return np.rot90(pixels[:, ::-1] if mirrored else pixels, turns)


def _turn_back(pixels: FloatImage, mirrored: bool, turns: int) -> FloatImage:
    upright = np.rot90(pixels, -turns)
    return upright[:, ::-1] if mirrored else upright

"""What both scores do to a pair of images before they look at it: check, cut the border, take the luma.

Papers differ here more than in the formulas, so it stands in one place.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Uint8Image = npt.NDArray[np.uint8]
FloatPlanes = npt.NDArray[np.float64]


def scored_pair(a: Uint8Image, b: Uint8Image, crop_border: int) -> tuple[FloatPlanes, FloatPlanes]:
    """Return both images without their borders, as float64.

    Args:
        a: uint8 (H, W, C), C = 1 or 3.
        b: The same shape.
        crop_border: Pixels cut off each side.

    Returns:
        Two float64 (H - 2 * crop_border, W - 2 * crop_border, C) in 0..255.

    Raises:
        ValueError: If a dtype or shape is another, the shapes differ, or the border leaves nothing.
    """
    if a.shape != b.shape:
        msg = f"images of different shapes cannot be compared: {a.shape} and {b.shape}"
        raise ValueError(msg)
    if a.dtype != np.uint8 or b.dtype != np.uint8:
        msg = f"scores are taken on uint8 images, got {a.dtype} and {b.dtype}"
        raise ValueError(msg)
    if a.ndim != 3 or a.shape[2] not in (1, 3):
        msg = f"scores are taken on (H, W, 1) or (H, W, 3), got {a.shape}"
        raise ValueError(msg)
    if crop_border < 0 or min(a.shape[:2]) <= 2 * crop_border:
        msg = f"a border of {crop_border} pixels leaves nothing of {a.shape}"
        raise ValueError(msg)
    inside = slice(crop_border, -crop_border or None)
    return a[inside, inside].astype(np.float64), b[inside, inside].astype(np.float64)


def luma(image: FloatPlanes) -> FloatPlanes:
    """Return BT.601 luma in studio range, not rounded.

    Args:
        image: float64 (H, W, C) in 0..255; one channel counts as equal R, G and B.

    Returns:
        float64 (H, W, 1) in 16..235.
    """
    red, green, blue = (image[..., channel] for channel in ((0, 1, 2) if image.shape[2] == 3 else (0, 0, 0)))
    return (16.0 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255.0)[..., np.newaxis]

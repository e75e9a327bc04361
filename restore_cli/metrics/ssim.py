"""Structural similarity (Wang et al. 2004, doi 10.1109/TIP.2003.819861), as papers on restoration take it.

A Gaussian window of 11x11 pixels, sigma 1.5, only where it lies wholly inside the image: no padded border, which would
score values nobody made. Variances are those of the window's weights, not the unbiased sample ones.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from restore_cli.metrics.pair import FloatPlanes, Uint8Image, luma, scored_pair

_WINDOW_PIXELS = 11
_WINDOW_SIGMA_PIXELS = 1.5
_C1 = (0.01 * 255.0) ** 2
_C2 = (0.03 * 255.0) ** 2


def ssim(a: Uint8Image, b: Uint8Image, *, crop_border: int = 0) -> float:
    """Return the mean over the channels of their SSIM, at most 1.

    Args:
        a: uint8 (H, W, C), C = 1 or 3, at least 11 pixels a side after the cut.
        b: The same shape; the order of the two does not matter.
        crop_border: Pixels cut off each side first.

    Raises:
        ValueError: If the shapes differ, a dtype or shape is another, or less than a window is left.

    Example:
        >>> import numpy as np
        >>> gray = np.full((16, 16, 1), 128, np.uint8)
        >>> ssim(gray, gray)
        1.0
    """
    return _mean_similarity(*scored_pair(a, b, crop_border))


def ssim_y(a: Uint8Image, b: Uint8Image, *, crop_border: int = 0) -> float:
    """Return the SSIM of the luma (BT.601, studio range, not rounded), at most 1.

    Args:
        a: uint8 (H, W, C), C = 1 or 3, at least 11 pixels a side after the cut; one channel counts as equal R, G, B.
        b: The same shape; the order of the two does not matter.
        crop_border: Pixels cut off each side first.

    Raises:
        ValueError: If the shapes differ, a dtype or shape is another, or less than a window is left.
    """
    first, second = scored_pair(a, b, crop_border)
    return _mean_similarity(luma(first), luma(second))


def _mean_similarity(a: FloatPlanes, b: FloatPlanes) -> float:
    if min(a.shape[:2]) < _WINDOW_PIXELS:
        msg = f"SSIM needs {_WINDOW_PIXELS} pixels a side, {a.shape[0]}x{a.shape[1]} are left"
        raise ValueError(msg)
    mean_a, mean_b = _window_mean(a), _window_mean(b)
    variance_a = _window_mean(a * a) - mean_a * mean_a
    variance_b = _window_mean(b * b) - mean_b * mean_b
    covariance = _window_mean(a * b) - mean_a * mean_b
    similarity = ((2.0 * mean_a * mean_b + _C1) * (2.0 * covariance + _C2)) / (
        (mean_a * mean_a + mean_b * mean_b + _C1) * (variance_a + variance_b + _C2)
    )
    # Every channel has as many positions, so the mean of the means is the mean of all.
    return float(similarity.mean())


def _window_mean(image: FloatPlanes) -> FloatPlanes:
    """Return the Gaussian mean around each position whose window lies inside: (H - 10, W - 10, C)."""
    window = _gaussian_window()
    rows = image.shape[0] - _WINDOW_PIXELS + 1
    columns = image.shape[1] - _WINDOW_PIXELS + 1
    down = np.zeros((rows, *image.shape[1:]))
    for offset, weight in enumerate(window):
        down += weight * image[offset : offset + rows]
    mean = np.zeros((rows, columns, image.shape[2]))
    for offset, weight in enumerate(window):
        mean += weight * down[:, offset : offset + columns]
    return mean


def _gaussian_window() -> npt.NDArray[np.float64]:
    distance = np.arange(_WINDOW_PIXELS) - _WINDOW_PIXELS // 2
    weights = np.exp(-(distance**2) / (2.0 * _WINDOW_SIGMA_PIXELS**2))
    return np.asarray(weights / weights.sum(), dtype=np.float64)

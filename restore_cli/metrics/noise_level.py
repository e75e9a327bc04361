"""Estimate how strong the noise in an image is, from the image alone.

Chen, Zhu and Heng, "An Efficient Statistical Method for Image Noise Level Estimation" (ICCV 2015): small patches of a
clean image lie in few directions, noise fills all of them alike. So the smaller eigenvalues of the patches'
covariance are the variance of the noise; the largest are left out until the rest lies symmetrically about its mean.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_PATCH = 8
# A covariance of 192 x 192 numbers is steady from some ten thousand patches on.
_MOST_PATCHES = 20_000


def estimate_sigma(pixels: npt.NDArray[np.float32]) -> float:
    """Estimate the standard deviation of additive white noise.

    Args:
        pixels: (H, W, C) in [0, 1].

    Returns:
        Sigma on the 0..255 scale; 0.0 for images too small to tell (fewer patches than a patch has numbers). Noise
        that was clipped at black or white is underestimated.
    """
    patches = _patches(pixels.astype(np.float64) * 255.0)
    count, numbers = patches.shape
    if count < numbers:
        return 0.0
    centred = patches - patches.mean(0)
    descending = np.linalg.eigvalsh(centred.T @ centred / count)[::-1]
    for first in range(numbers):
        rest = descending[first:]
        mean = rest.mean()
        if np.count_nonzero(rest > mean) >= np.count_nonzero(rest < mean):
            return float(np.sqrt(max(mean, 0.0)))
    return 0.0


def _patches(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return overlapping patches (n, 8 * 8 * C), evenly thinned where there are very many."""
    height, width = image.shape[:2]
    if min(height, width) < _PATCH:
        return np.empty((0, _PATCH * _PATCH * image.shape[2]))
    windows = np.lib.stride_tricks.sliding_window_view(image, (_PATCH, _PATCH), (0, 1))
    step = int(np.ceil(np.sqrt(windows.shape[0] * windows.shape[1] / _MOST_PATCHES)))
    chosen = windows[::step, ::step]
    return chosen.reshape(chosen.shape[0] * chosen.shape[1], -1)

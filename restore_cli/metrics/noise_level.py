"""Estimate how strong the noise in an image is, from the image alone, in its luma and in its colours apart.

Chen, Zhu and Heng, "An Efficient Statistical Method for Image Noise Level Estimation" (ICCV 2015): small patches of a
clean image lie in few directions, noise fills all of them alike. So the smaller eigenvalues of the patches'
covariance are the variance of the noise; the largest are left out until the rest lies symmetrically about its mean.

Only the smoothest quarter of the patches is looked at, since fine texture fills all directions too. Luma and colour
differences are looked at apart: grain and scans have noise that red, green and blue share, which no covariance over all
channels shows, and JPEG with halved chroma (4:2:0, 4:2:2) leaves next to no noise in the colours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_PATCH = 8
_MOST_PATCHES = 40_000
_SMOOTHEST = 0.25
# A patch with more of its numbers at black or white than this tells of clipped noise.
_MOST_CLIPPED = 0.1
_LUMA = np.array([0.299, 0.587, 0.114])
# Orthonormal, so that noise of one level in red, green and blue has that level in both.
_CHROMA = np.array([[1.0, 0.0, -1.0], [1.0, -2.0, 1.0]]) / np.sqrt([[2.0], [6.0]])
# Share of the variance that luma does not have of noise drawn for each channel alone.
_LEFT_OF_LUMA = 1.0 - float(np.sum(_LUMA**2))
# Noise that the channels share is as strong in each as in luma, noise of each alone 1.5 times. Where halved chroma has
# taken the colours' noise away, nobody can tell which it was; this lies between.
_CHROMA_IS_LOST = 1.3


@dataclass(frozen=True, kw_only=True)
class NoiseEstimate:
    """How strong the noise of an image is, as standard deviations on the 0..255 scale.

    Attributes:
        sigma: In each of its channels, before any JPEG; what a denoiser is told.
        luma: In its BT.601 luma.
        chroma: In its colour differences, None for a gray image.
    """

    sigma: float
    luma: float
    chroma: float | None = None


def estimate_noise(pixels: npt.NDArray[np.float32], *, chroma_is_halved: bool = False) -> NoiseEstimate:
    """Estimate the standard deviation of additive white noise.

    Args:
        pixels: (H, W, C) in [0, 1], C = 1 or 3; where red, green and blue are equal it counts as gray.
        chroma_is_halved: Whether it comes from a JPEG that holds fewer samples of chroma than of luma.

    Returns:
        The levels; zeros for images too small to tell (fewer patches than a patch has numbers). Noise that was
        clipped at black or white is underestimated.
    """
    patches = _smooth_patches(pixels)
    if pixels.shape[2] == 1 or bool((pixels == pixels[..., :1]).all()):
        luma = _level(patches[:, 0])
        return NoiseEstimate(sigma=luma, luma=luma)
    luma = _level(np.einsum("c,ncp->np", _LUMA, patches))
    chroma = _level(np.einsum("kc,ncp->nkp", _CHROMA, patches).reshape(len(patches), 2 * _PATCH * _PATCH))
    if chroma_is_halved:
        return NoiseEstimate(sigma=_CHROMA_IS_LOST * luma, luma=luma, chroma=chroma)
    return NoiseEstimate(sigma=float(np.sqrt(luma**2 + _LEFT_OF_LUMA * chroma**2)), luma=luma, chroma=chroma)


def _level(patches: npt.NDArray[np.float64]) -> float:
    """Return the level of the noise in patches (n, numbers)."""
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


def _smooth_patches(pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the smoothest of the overlapping patches, (n, C, 8 * 8) on the 0..255 scale; all where they are few."""
    height, width, channels = pixels.shape
    if min(height, width) < _PATCH:
        return np.empty((0, channels, _PATCH * _PATCH))
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (_PATCH, _PATCH), (0, 1))
    step = int(np.ceil(np.sqrt(windows.shape[0] * windows.shape[1] / _MOST_PATCHES))) | 1  # never a JPEG's own grid
    patches = windows[::step, ::step].reshape(-1, channels, _PATCH, _PATCH).astype(np.float64) * 255.0
    clipped = ((patches < 0.5) | (patches > 254.5)).mean((1, 2, 3)) > _MOST_CLIPPED
    if clipped.mean() < 1.0 - _SMOOTHEST:
        patches = patches[~clipped]
    kept = max(round(_SMOOTHEST * len(patches)), 4 * _PATCH * _PATCH)
    if kept < len(patches):
        half = _PATCH // 2
        quadrants = patches.mean(1).reshape(-1, 2, half, 2, half).mean((2, 4))
        slope = np.ptp(quadrants.mean(1), axis=1) ** 2 + np.ptp(quadrants.mean(2), axis=1) ** 2
        patches = patches[np.argpartition(slope, kept)[:kept]]
    return patches.reshape(len(patches), channels, -1)

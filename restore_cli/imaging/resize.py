"""MATLAB's bicubic imresize: the way published super-resolution made its inputs, and the floor it is measured against.

Stages 3 and 7, READ and WRITE: alpha channels are enlarged with it. Every library rounds, filters or places samples
its own way; papers used MATLAB, so its rules are kept exactly: Keys' cubic with a = -0.5, widened when shrinking
(antialiasing), samples at pixel centres, half-sample symmetric borders, the dimension that shrinks most first, and for
8-bit images a rounding to 8 bit after each of the two passes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

_KEYS_A = -0.5
_KERNEL_WIDTH_PIXELS = 4
# Values of a pass worked on at once: taps of one block stay in the cache (256 Ki float64 = 2 MiB).
_BLOCK_VALUES = 256 * 1024

_Value = TypeVar("_Value", np.uint8, np.float32, np.float64)


@dataclass(frozen=True, kw_only=True)
class _Taps:
    """Say which inputs make each output along one dimension.

    Attributes:
        indices: int (outputs, taps), inputs after reflection at the borders.
        weights: float64 (outputs, taps), each row sums to 1.
    """

    indices: npt.NDArray[np.intp]
    weights: npt.NDArray[np.float64]


def matlab_bicubic(image: npt.NDArray[_Value], height: int, width: int) -> npt.NDArray[_Value]:
    """Resize as MATLAB's `imresize(image, [height width])` does for an image of that class.

    Args:
        image: float32, float64 (any range) or uint8, (H, W, C).
        height: Output height in pixels, at least 1.
        width: Output width in pixels, at least 1.

    Returns:
        The same dtype, (height, width, C). Computed in float64. Floats are not clipped: bicubic overshoots at edges;
        uint8 is clipped and rounded after each of the two passes.

    Raises:
        ValueError: If the dtype, the shape or the size asked for is not as above.
    """
    if image.dtype not in (np.uint8, np.float32, np.float64):
        msg = f"expected a uint8, float32 or float64 image, got {image.dtype}"
        raise ValueError(msg)
    if image.ndim != 3 or 0 in image.shape:
        msg = f"expected an image (H, W, C) that is not empty, got shape {image.shape}"
        raise ValueError(msg)
    if height < 1 or width < 1:
        msg = f"cannot resize to {height}x{width} pixels"
        raise ValueError(msg)
    between = np.uint8 if image.dtype == np.uint8 else np.float64
    resized: npt.NDArray[Any] = image
    for axis in _axes_in_order(image, height, width):
        resized = _resize_axis(resized, (height, width)[axis], axis, between)
    return resized.astype(image.dtype)


def downscale_matlab(image: npt.NDArray[np.uint8], scale: int) -> npt.NDArray[np.uint8]:
    """Shrink an 8-bit image by a whole factor exactly as MATLAB's `imresize(image, 1 / scale)` does.

    Args:
        image: uint8 (H, W, C), H and W multiples of `scale`.
        scale: Factor, at least 1.

    Returns:
        uint8 (H / scale, W / scale, C), equal to MATLAB's in every bit.

    Raises:
        ValueError: If the dtype is another, or the size is no multiple of `scale`.
    """
    if image.dtype != np.uint8:
        msg = f"expected a uint8 image, got {image.dtype}"
        raise ValueError(msg)
    if scale < 1 or image.ndim != 3 or image.shape[0] % scale or image.shape[1] % scale:
        msg = f"an image of shape {image.shape} cannot be shrunk {scale} times: crop it to a multiple first"
        raise ValueError(msg)
    return matlab_bicubic(image, image.shape[0] // scale, image.shape[1] // scale)


def _axes_in_order(image: npt.NDArray[Any], height: int, width: int) -> tuple[int, int]:
    """Return the axes as MATLAB takes them: the smaller factor first, rows before columns where they are equal."""
    return (1, 0) if width * image.shape[0] < height * image.shape[1] else (0, 1)


def _resize_axis(image: npt.NDArray[Any], length: int, axis: int, out: npt.DTypeLike) -> npt.NDArray[Any]:
    """Resize (H, W, C) along axis 0 or 1 to `length` outputs of dtype `out`; uint8 is rounded half up."""
    if image.shape[axis] == length:
        return image
    lines = np.ascontiguousarray(np.swapaxes(image, 0, axis))
    taps = _taps(lines.shape[0], length)
    resized = _combine_rows(lines.reshape(lines.shape[0], -1), taps, np.dtype(out))
    return np.swapaxes(resized.reshape(length, *lines.shape[1:]), 0, axis)


def _combine_rows(rows: npt.NDArray[Any], taps: _Taps, out: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return for each output the weighted sum of its rows, in a fixed order of addition.

    A loop over the taps in blocks of outputs: the taps are few (4 to 18) and each is a copy of whole rows, so this is
    faster than a dense matrix product, and its sums do not depend on a BLAS or on the number of threads.
    """
    outputs, tap_count = taps.indices.shape
    resized = np.empty((outputs, rows.shape[1]), dtype=out)
    block = max(1, _BLOCK_VALUES // rows.shape[1])
    for start in range(0, outputs, block):
        indices, weights = taps.indices[start : start + block], taps.weights[start : start + block]
        total = np.zeros((indices.shape[0], rows.shape[1]))
        for tap in range(tap_count):
            total += rows[indices[:, tap]] * weights[:, tap, np.newaxis]
        if out == np.uint8:
            # Clipped before rounding, so half away from zero is half up.
            np.floor(np.clip(total, 0, 255, out=total) + 0.5, out=total)
        resized[start : start + block] = total
    return resized


def _taps(inputs: int, outputs: int) -> _Taps:
    """Work out which inputs, with which weights, make each output."""
    factor = outputs / inputs
    stretch = min(factor, 1.0)  # below 1 the kernel is widened: antialiasing
    width = _KERNEL_WIDTH_PIXELS / stretch
    positions = (np.arange(outputs) + 0.5) / factor - 0.5
    first = np.floor(positions + 1 - width / 2) - 1  # two taps more than the kernel's width covers, as MATLAB does
    reached = first[:, np.newaxis] + np.arange(math.ceil(width) + 2)  # (outputs, taps)
    weights = stretch * _keys_cubic(stretch * (positions[:, np.newaxis] - reached))
    weights /= weights.sum(axis=1, keepdims=True)
    period = np.mod(reached.astype(np.intp), 2 * inputs)
    indices = np.minimum(period, 2 * inputs - 1 - period)  # half-sample symmetric: ... 1 0 | 0 1 ... n-1 | n-1 n-2 ...
    used = weights.any(axis=0)
    return _Taps(indices=indices[:, used], weights=weights[:, used])


def _keys_cubic(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Evaluate Keys' cubic convolution kernel, zero beyond 2 pixels."""
    x = np.abs(distance)
    near = (_KEYS_A + 2) * x**3 - (_KEYS_A + 3) * x**2 + 1
    far = _KEYS_A * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))

"""Tiles back into one image, without seams.

Stage 6, STITCH. Pixels near a tile's inner border lack context, so the outer quarter of the overlap counts nothing, and
over the middle half the weight rises linearly: a network whose receptive field is at most half the overlap gives
exactly what it gives on the whole image. At the image's own border the weight stays flat.

The tiles form a product of two axes, so the weights do too, and they are brought to sum 1 at every pixel beforehand,
axis by axis: adding weighted tiles is then the weighted mean, with no plane of totals and no division at the end.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from restore_cli.tiling.grid import Axis, Box, Grid

FloatArray = npt.NDArray[np.float32]

# Share of the overlap at each end of a tile whose pixels are thrown away.
_DISCARDED = 0.25


class Canvas:
    """The restored image while its tiles arrive, in CPU memory.

    Args:
        grid: Where the tiles lie, in input pixels.
        scale: Factor from input to output pixels.
        channels: Channels of the restored image.
    """

    def __init__(self, grid: Grid, *, scale: int, channels: int) -> None:
        self._scale = scale
        self._shape = (grid.vertical.length * scale, grid.horizontal.length * scale, channels)
        self._rows = dict(zip(grid.vertical.starts, axis_weights(grid.vertical, scale), strict=True))
        self._columns = dict(zip(grid.horizontal.starts, axis_weights(grid.horizontal, scale), strict=True))
        self._pixels: FloatArray | None = None

    def add(self, box: Box, restored: FloatArray) -> None:
        """Add one restored tile.

        Args:
            box: The tile's place, in input pixels.
            restored: float32 (scale * box.height, scale * box.width, C).
        """
        if len(self._rows) == len(self._columns) == 1:
            self._pixels = restored  # one tile is the whole image: nothing to mix, no second copy
            return
        if self._pixels is None:
            self._pixels = np.zeros(self._shape, dtype=np.float32)
        top, left = box.top * self._scale, box.left * self._scale
        place = self._pixels[top : top + restored.shape[0], left : left + restored.shape[1]]
        weighted = restored * self._rows[box.top][:, None, None]
        weighted *= self._columns[box.left][None, :, None]
        place += weighted

    def finish(self) -> FloatArray:
        """Return the image, float32 (scale * H, scale * W, C); every tile must have been added once.

        Raises:
            ValueError: If no tile was added.
        """
        if self._pixels is None:
            msg = "no tile was added"
            raise ValueError(msg)
        return self._pixels


def axis_weights(axis: Axis, scale: int) -> list[FloatArray]:
    """Return each tile's weights along one axis, shape (tile * scale,), which sum to 1 at every pixel."""
    profiles = [_profile(axis, start, scale) for start in axis.starts]
    total = np.zeros(axis.length * scale, dtype=np.float64)
    for start, profile in zip(axis.starts, profiles, strict=True):
        total[start * scale : (start + axis.tile) * scale] += profile
    return [
        (profile / total[start * scale : (start + axis.tile) * scale]).astype(np.float32)
        for start, profile in zip(axis.starts, profiles, strict=True)
    ]


def _profile(axis: Axis, start: int, scale: int) -> npt.NDArray[np.float64]:
    """Return one tile's weights before they are brought to sum 1: flat inside, a ramp at each inner border."""
    size = axis.tile * scale
    weights = np.ones(size, dtype=np.float64)
    if axis.overlap == 0:
        return weights
    discarded = axis.overlap * scale * _DISCARDED
    # Sampled at pixel centres, so that the ramps of two regular neighbours sum to 1 by themselves.
    centres = np.arange(size) + 0.5
    ramp = np.clip((centres - discarded) / (axis.overlap * scale - 2 * discarded), 0.0, 1.0)
    if start > 0:
        weights = np.minimum(weights, ramp)
    if start + axis.tile < axis.length:
        weights = np.minimum(weights, ramp[::-1])
    return weights

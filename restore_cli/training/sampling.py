"""Which crop, turned how, and degraded with which random numbers: a function of seed, step and place in the batch.

Second stage of training, CUT. Counters instead of a running generator: sample `index` of step `step` is the same
whether training ran through or was resumed, and whether one process made the batch or several shared it. There is
nothing to save but the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from restore_cli.training.images import Pixels, Uint8Image

ORIENTATIONS = 8
# Keeps the streams apart that share a seed and a step.
_CROP_STREAM, _DEGRADE_STREAM = 0, 1


@dataclass(frozen=True, kw_only=True)
class Crop:
    """One place in one image.

    Attributes:
        image: Number of the image.
        top: First row in pixels of the degraded image.
        left: First column in pixels of the degraded image.
        orientation: 0..7, quarter turns plus 4 for a flip.
    """

    image: int
    top: int
    left: int
    orientation: int


class CropSampler:
    """Draw crops; larger images more often, with the square root of their area.

    One crop an image whatever its size would leave most of a large photograph unseen; by area alone a few large
    photographs would crowd out all others.

    Args:
        sizes: (height, width) of every clean image.
        scale: Factor from degraded to clean pixels.
        seed: Seed of the run.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], scale: int, seed: int) -> None:
        self.sizes = tuple((height // scale, width // scale) for height, width in sizes)
        self.seed = seed
        weights = np.sqrt(np.array([height * width for height, width in self.sizes], dtype=np.float64))
        self._cumulative = np.cumsum(weights) / weights.sum()

    def draw(self, step: int, index: int, patch: int) -> Crop:
        """Draw the crop of place `index` in the batch of `step`, `patch` degraded pixels a side."""
        random = _generator(self.seed, step, index, _CROP_STREAM)
        image = min(int(np.searchsorted(self._cumulative, random.random(), side="right")), len(self.sizes) - 1)
        height, width = self.sizes[image]
        return Crop(
            image=image,
            top=int(random.integers(height - patch + 1)),
            left=int(random.integers(width - patch + 1)),
            orientation=int(random.integers(ORIENTATIONS)),
        )


def degradation_seed(seed: int, step: int, group: int) -> int:
    """Return the seed of the torch generator that degrades one group of samples."""
    return int(_generator(seed, step, group, _DEGRADE_STREAM).integers(2**63 - 1))


def cut(pixels: Pixels, crop: Crop, patch: int, scale: int) -> tuple[Uint8Image, Uint8Image | None]:
    """Cut a crop out of an image and turn it.

    Returns:
        The clean patch, uint8 (scale * patch, scale * patch, C), and the degraded one, (patch, patch, C), or None.
    """
    clean = _cut_square(pixels.clean, crop.top * scale, crop.left * scale, patch * scale)
    degraded = None if pixels.degraded is None else _cut_square(pixels.degraded, crop.top, crop.left, patch)
    return turn(clean, crop.orientation), None if degraded is None else turn(degraded, crop.orientation)


def turn(image: Uint8Image, orientation: int) -> Uint8Image:
    """Turn (H, W, C) by `orientation % 4` quarter turns, mirrored first from 4 on."""
    mirrored = image[:, ::-1] if orientation >= 4 else image
    return np.rot90(mirrored, orientation % 4)


def _cut_square(image: Uint8Image, top: int, left: int, side: int) -> Uint8Image:
    return image[top : top + side, left : left + side]


def _generator(seed: int, step: int, index: int, stream: int) -> np.random.Generator:
    key: npt.NDArray[np.uint64] = np.array([seed, stream], dtype=np.uint64)
    counter: npt.NDArray[np.uint64] = np.array([0, 0, index, step], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))

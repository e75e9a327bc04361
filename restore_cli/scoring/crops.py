"""Find the crops that show a candidate at its worst and at its best.

Stage 7 of scoring, WRITE: a mean hides where a network fails. The worst crop of an image is the one with the largest
squared error, the best the one where the candidate took away most of the floor's squared error (the smallest error
alone would show empty sky). At most one crop of each kind from an image, so that no odd image fills the page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from restore_cli.pages.images import Box, Uint8Image
from restore_cli.pages.places import Weights, heaviest_box, squared_error
from restore_cli.scoring.sample import Sample, as_8bit
from restore_cli.scoring.score import Outcome

CropKind = Literal["worst", "best"]


@dataclass(frozen=True, kw_only=True)
class Crop:
    """The same place in the input, in every result and in the truth.

    Attributes:
        kind: "worst" or "best".
        image: Name of the image.
        box: Where it lies.
        weight: What it was chosen by, mean squared error (worst) or its decrease against the floor (best).
        degraded: uint8 (height / scale, width / scale, C).
        clean: uint8 (height, width, C).
        restored: uint8 (height, width, C) by candidate label, the floor among them.
    """

    kind: CropKind
    image: str
    box: Box
    weight: float
    degraded: Uint8Image
    clean: Uint8Image
    restored: Mapping[str, Uint8Image]

    def squared_error(self, label: str) -> float:
        """Return the mean squared error of one candidate within the crop, on 0..255 values."""
        return float(squared_error(self.restored[label], self.clean).mean())


class CropGallery:
    """Keep the worst and the best crops of the images shown so far, and no other pixels.

    Args:
        chooser: Label of the candidate whose errors decide.
        floor: Label of the floor.
        scale: Factor from input to output size.
        keep: How many of each kind.
    """

    def __init__(self, *, chooser: str, floor: str, scale: int, keep: int) -> None:
        self._chooser = chooser
        self._floor = floor
        self._scale = scale
        self._keep = keep
        self._crops: dict[CropKind, list[Crop]] = {"worst": [], "best": []}

    def consider(self, outcome: Outcome) -> None:
        """Look at one image; one that lacks a result of the chooser or of the floor is passed over."""
        sample, restored = outcome.sample, outcome.restored
        if sample is None or not {self._chooser, self._floor} <= restored.keys():
            return
        error = squared_error(restored[self._chooser], sample.clean)
        gain = squared_error(restored[self._floor], sample.clean) - error
        for kind, weights in _by_kind(error, gain):
            box, weight = heaviest_box(weights, self._scale)
            self._keep_crop(_cut(kind, sample, restored, box, weight, self._scale))

    def crops(self, kind: CropKind) -> tuple[Crop, ...]:
        """Return the crops of a kind, the most telling first."""
        return tuple(self._crops[kind])

    def _keep_crop(self, crop: Crop) -> None:
        ranked = sorted([*self._crops[crop.kind], crop], key=lambda kept: (-kept.weight, kept.image))
        self._crops[crop.kind] = ranked[: self._keep]


def _cut(
    kind: CropKind, sample: Sample, restored: Mapping[str, Uint8Image], box: Box, weight: float, scale: int
) -> Crop:
    """Copy the pixels of a box out of an image, so that the image itself can go."""
    top, left, height, width = box
    inside = np.s_[top : top + height, left : left + width]
    small = np.s_[top // scale : (top + height) // scale, left // scale : (left + width) // scale]
    return Crop(
        kind=kind,
        image=sample.name,
        box=box,
        weight=weight,
        degraded=as_8bit(sample.degraded[small]),
        clean=sample.clean[inside].copy(),
        restored={label: image[inside].copy() for label, image in restored.items()},
    )


def _by_kind(error: Weights, gain: Weights) -> tuple[tuple[CropKind, Weights], ...]:
    return ("worst", error), ("best", gain)

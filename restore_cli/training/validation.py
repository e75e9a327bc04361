"""Score the network on held-out images with the protocol's PSNR: what chooses the checkpoint that is kept.

The degraded images are made once, each from its own seed, so that all validations of all runs ask the same. Images
larger than a training network wants to see at once are cut to their centre. Of a few of them one place is shown in the
run's page, always the same: where doing nothing is farthest from the truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from restore_cli.inference.layout import padded_size
from restore_cli.metrics.psnr import psnr, psnr_y
from restore_cli.models import Arch
from restore_cli.pages.images import Box
from restore_cli.pages.places import heaviest_box, squared_error
from restore_cli.tasks import DegradeOptions, Task
from restore_cli.training.images import ImageStore, Uint8Image

SIDE_MOST_PIXELS = 512
SHOWN_MOST = 4
_SEED = 20_240_607


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """One image to validate on.

    Attributes:
        name: Of its file.
        degraded: float32 (1, C, h, w).
        clean: uint8 (scale * h, scale * w, C).
    """

    name: str
    degraded: torch.Tensor
    clean: Uint8Image


@dataclass(frozen=True, kw_only=True)
class View:
    """One place of a held-out image.

    Attributes:
        name: Of the image's file.
        box: Where it lies in the truth.
        degraded: uint8 (height / scale, width / scale, C).
        floor: uint8 (height, width, C), what doing nothing gives.
        restored: uint8 (height, width, C).
        clean: uint8 (height, width, C).
    """

    name: str
    box: Box
    degraded: Uint8Image
    floor: Uint8Image
    restored: Uint8Image
    clean: Uint8Image


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a validation came to.

    Attributes:
        score: Mean over the images, in dB.
        views: A place of some of them.
    """

    score: float
    views: tuple[View, ...]


class Validation:
    """Score networks on the same degraded images again and again.

    Args:
        store: The held-out images.
        task: Whose metric and degradation are used.
        options: What the degradation does; a range of noise levels is spread evenly over the images.
        arch: Of the networks, with their `multiple_of`.
        device: Where the network is.
    """

    def __init__(
        self, store: ImageStore, task: Task, options: DegradeOptions, *, arch: Arch, device: torch.device
    ) -> None:
        self.metric = task.metrics[0]
        self._crop_border = task.crop_border(options.scale)
        self._scale = options.scale
        self._arch = arch
        self._device = device
        self._images = [_held_out(store, index, task, options) for index in range(len(store))]

    @property
    def largest(self) -> tuple[int, int]:
        """Return (height, width) of the largest degraded image as the network takes it."""
        unit = self._arch.multiple_of
        sizes = ((image.degraded.shape[-2], image.degraded.shape[-1]) for image in self._images)
        return max((padded_size(height, width, unit) for height, width in sizes), key=math.prod)

    def baseline(self) -> float:
        """Return the mean score of the degraded images themselves, enlarged bicubically where that is the task."""
        return self._mean([to_8bit(self._enlarged(image.degraded)) for image in self._images])

    def judge(self, network: nn.Module) -> Verdict:
        """Score a network, which is run in evaluation mode, float32, and show what it makes of some images."""
        restored = self._restored(network, self._images)
        shown = self._shown()
        return Verdict(
            score=self._mean(restored),
            views=tuple(self._view(self._images[index], restored[index]) for index in shown),
        )

    def views(self, network: nn.Module) -> tuple[View, ...]:
        """Show what a network makes of some images, without a score."""
        images = [self._images[index] for index in self._shown()]
        restored = self._restored(network, images)
        return tuple(self._view(image, pixels) for image, pixels in zip(images, restored, strict=True))

    def _restored(self, network: nn.Module, images: Sequence[HeldOut]) -> list[Uint8Image]:
        training = network.training
        network.eval()
        try:
            with torch.inference_mode():
                return [to_8bit(self._restore(network, image.degraded)) for image in images]
        finally:
            network.train(training)

    def _shown(self) -> list[int]:
        """Return the numbers of the images to show, spread evenly over all."""
        last, count = len(self._images) - 1, min(SHOWN_MOST, len(self._images))
        return sorted({round(place * last / max(1, count - 1)) for place in range(count)})

    def _view(self, image: HeldOut, restored: Uint8Image) -> View:
        floor = to_8bit(self._enlarged(image.degraded))
        box, _ = heaviest_box(squared_error(floor, image.clean), self._scale)
        top, left, height, width = box
        inside = np.s_[top : top + height, left : left + width]
        small = np.s_[tuple(slice(part.start // self._scale, part.stop // self._scale) for part in inside)]
        return View(
            name=image.name,
            box=box,
            degraded=to_8bit(image.degraded)[small],
            floor=floor[inside],
            restored=restored[inside],
            clean=image.clean[inside],
        )

    def _restore(self, network: nn.Module, degraded: torch.Tensor) -> torch.Tensor:
        height, width = degraded.shape[-2:]
        padded_height, padded_width = padded_size(height, width, self._arch.multiple_of)
        padding = (0, padded_width - width, 0, padded_height - height)
        mode = "reflect" if padding[1] < width and padding[3] < height else "replicate"
        padded = functional.pad(degraded.to(self._device), padding, mode=mode)
        restored = self._arch.run(network, padded.contiguous(memory_format=torch.channels_last))
        return restored[..., : height * self._scale, : width * self._scale]

    def _enlarged(self, degraded: torch.Tensor) -> torch.Tensor:
        if self._scale == 1:
            return degraded
        return functional.interpolate(degraded, scale_factor=self._scale, mode="bicubic", antialias=True)

    def _mean(self, restored: Sequence[Uint8Image]) -> float:
        score = psnr_y if self.metric == "psnr_y" else psnr
        scores = [
            score(pixels, image.clean, crop_border=self._crop_border)
            for pixels, image in zip(restored, self._images, strict=True)
        ]
        return float(np.mean(scores))


def _held_out(store: ImageStore, index: int, task: Task, options: DegradeOptions) -> HeldOut:
    pixels = store.get(index)
    scale = options.scale
    height, width = pixels.clean.shape[0] // scale, pixels.clean.shape[1] // scale
    most = SIDE_MOST_PIXELS // scale
    top, left = max(0, height - most) // 2, max(0, width - most) // 2
    height, width = min(height, most), min(width, most)
    clean = pixels.clean[top * scale : (top + height) * scale, left * scale : (left + width) * scale]
    if pixels.degraded is not None:
        degraded = _to_tensor(pixels.degraded[top : top + height, left : left + width])
    else:
        low, high = options.sigma_range
        level = low + (high - low) * (index + 0.5) / len(store)
        fixed = DegradeOptions(scale=scale, sigma_range=(level, level), variant=options.variant)
        generator = torch.Generator().manual_seed(_SEED + index)
        degraded = task.degrade(_to_tensor(clean), fixed, generator)
    return HeldOut(name=store.files[index].clean.name, degraded=degraded, clean=np.ascontiguousarray(clean))


def _to_tensor(image: Uint8Image) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).unsqueeze(0).to(torch.float32) / 255.0


def to_8bit(image: torch.Tensor) -> Uint8Image:
    """Return the first image of a batch (N, C, H, W) in [0, 1] as uint8 (H, W, C)."""
    pixels: Uint8Image = (
        (image[0].clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    )
    return pixels

"""Score the network on held-out pictures with the protocol's PSNR: what chooses the checkpoint that is kept.

The degraded pictures are made once, each from its own seed, so that all validations of all runs ask the same. Pictures
larger than a training network wants to see at once are cut to their centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from restore_cli.metrics.psnr import psnr, psnr_y
from restore_cli.tasks import DegradeOptions, Task
from restore_cli.train.pictures import PictureStore, Uint8Image

SIDE_MOST_PIXELS = 512
_SEED = 20_240_607


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """One picture to validate on.

    Attributes:
        degraded: float32 (1, C, h, w).
        clean: uint8 (scale * h, scale * w, C).
    """

    degraded: torch.Tensor
    clean: Uint8Image


class Validation:
    """Score networks on the same degraded pictures again and again.

    Args:
        store: The held-out pictures.
        task: Whose metric and degradation are used.
        options: What the degradation does; a range of noise levels is spread evenly over the pictures.
        multiple_of: Height and width the network takes are multiples of this.
        device: Where the network is.
    """

    def __init__(
        self, store: PictureStore, task: Task, options: DegradeOptions, *, multiple_of: int, device: torch.device
    ) -> None:
        self.metric = task.metrics[0]
        self._crop_border = task.crop_border(options.scale)
        self._scale = options.scale
        self._multiple_of = multiple_of
        self._device = device
        self._pictures = [_held_out(store, index, task, options) for index in range(len(store))]

    def baseline(self) -> float:
        """Return the mean score of the degraded pictures themselves, enlarged bicubically where that is the task."""
        return self._mean([self._enlarged(picture.degraded) for picture in self._pictures])

    def score(self, network: nn.Module) -> float:
        """Return the mean score of a network, which is run in evaluation mode, float32."""
        training = network.training
        network.eval()
        try:
            with torch.inference_mode():
                return self._mean([self._restore(network, picture.degraded) for picture in self._pictures])
        finally:
            network.train(training)

    def _restore(self, network: nn.Module, degraded: torch.Tensor) -> torch.Tensor:
        height, width = degraded.shape[-2:]
        padding = (0, -width % self._multiple_of, 0, -height % self._multiple_of)
        mode = "reflect" if padding[1] < width and padding[3] < height else "replicate"
        padded = functional.pad(degraded.to(self._device), padding, mode=mode)
        restored: torch.Tensor = network(padded.contiguous(memory_format=torch.channels_last))
        return restored[..., : height * self._scale, : width * self._scale]

    def _enlarged(self, degraded: torch.Tensor) -> torch.Tensor:
        if self._scale == 1:
            return degraded
        return functional.interpolate(degraded, scale_factor=self._scale, mode="bicubic", antialias=True)

    def _mean(self, restored: Sequence[torch.Tensor]) -> float:
        score = psnr_y if self.metric == "psnr_y" else psnr
        scores = [
            score(_to_8bit(image), picture.clean, crop_border=self._crop_border)
            for image, picture in zip(restored, self._pictures, strict=True)
        ]
        return float(np.mean(scores))


def _held_out(store: PictureStore, index: int, task: Task, options: DegradeOptions) -> HeldOut:
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
    return HeldOut(degraded=degraded, clean=np.ascontiguousarray(clean))


def _to_tensor(image: Uint8Image) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).unsqueeze(0).to(torch.float32) / 255.0


def _to_8bit(image: torch.Tensor) -> Uint8Image:
    pixels: Uint8Image = (
        (image[0].clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    )
    return pixels

"""How U-Nets are trained: which of their numbers a recipe chooses, and in what sizes.

First stage of training, ASK. Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from restore_cli.models import Preset
from restore_cli.models.unet.config import Config

_ROW = (48,)


@dataclass(frozen=True, kw_only=True)
class Network:
    """Choose a UNet for training.

    Attributes:
        arch: File in models/.
        dims: Feature channels of each scale.
        depths: Residual blocks of each scale.
        fold: Side of the squares of pixels that become channels at first.
        enlarging_dims: Feature channels where the output is larger; nothing is folded then, as every pixel of the
            input counts, and four times the positions leave time for fewer channels.
        limit: Highest magnitude of a feature.
        small_dims: Feature channels where less is to be learnt (rain, darkness) or asked for seldom (x3).
    """

    arch: Literal["unet"] = "unet"
    dims: tuple[int, ...] = (64, 96, 128)
    enlarging_dims: tuple[int, ...] = (48, 64, 96)
    small_dims: tuple[int, ...] = (32, 48, 64)
    depths: tuple[int, ...] = (2, 2, 4)
    fold: int = 2
    limit: float = 6.0

    def config(self, *, task: str, scale: int, channels: int) -> Config:
        """Return the configuration for a task."""
        small = task in {"derain", "lowlight"} or scale == 3
        dims = self.small_dims if small else self.enlarging_dims if scale > 1 else self.dims
        return Config(
            dims=dims,
            depths=self.depths,
            fold=self.fold if scale == 1 else 1,
            channels=channels,
            scale=scale,
            scene=task == "lowlight",
            # Zeros beyond the border are a dark frame: what is lightened eightfold shows it, and a denoiser pulls pure
            # colours beside it away by up to 30 levels.
            padding="replicate" if task in {"lowlight", "denoise", "dejpeg"} else "zeros",
            limit=self.limit,
        )


PRESETS = (
    Preset(
        family="unet",
        network=Network(),
        batch=8,
        patch=96,
        enlarging_patch=32,
        rate=1e-3,
        steps=100_000,
        tasks=("sr", "denoise", "dejpeg", "derain", "lowlight", "deblur"),
        noise=("chain", 55.0),
    ),
    # One scale alone is a row of residual blocks, as in EDSR (Lim et al., arXiv 1707.02921): images that were merely
    # reduced hide what they lost in their nearest pixels, and coarser scales find nothing there.
    Preset(
        family="edsr-lite",
        network=Network(dims=_ROW, enlarging_dims=_ROW, small_dims=_ROW, depths=(8,), fold=1),
        batch=16,
        patch=48,
        rate=1e-3,
        steps=50_000,
        tasks=("sr",),
    ),
)

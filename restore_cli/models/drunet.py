"""DRUNet, a denoiser that is told the noise level: the published checkpoints, colour and gray.

Stage 5, RUN. Paper: Zhang et al., "Plug-and-Play Image Restoration with Deep Denoiser Prior" (arXiv 2008.13751, section
4 and figure 3). Origin of the published checkpoints: cszn/KAIR, MIT; this file is written from the paper and keeps the
checkpoints' keys, so that they load without conversion. Convolutions without biases, so that features scale with the
noise level.

What differs from the origin, and why:
- Sizes must be multiples of 8; padding is the caller's, so that one padder serves every network.
- The noise level is one number an image. Where none is given the network is held to `USUAL_LEVEL`: it cannot find the
  level out by itself.

Letters: N batch, C channels of a scale, H W size of the input.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from restore_cli.layers.tensors import require_images
from restore_cli.models import Arch, JsonConfig, Shapes, count_of

USUAL_LEVEL = 15.0 / 255.0
"""Standard deviation of the noise, on the scale of the pixels, where nobody says it: that of a grainy photo."""

_SCALES = 4


@dataclass(frozen=True, kw_only=True)
class Config(JsonConfig):
    """Describe one network completely.

    Attributes:
        dims: Channels of the four scales, each half the size of the one before.
        blocks: Residual blocks of a scale, as many on the way down as on the way up.
        channels: Image channels, 1 or 3.
    """

    NETWORK: ClassVar[str] = "DRUNet"

    dims: tuple[int, ...] = (64, 128, 256, 512)
    blocks: int = 4
    channels: int = 3

    def __post_init__(self) -> None:
        """Refuse what no network can be built from.

        Raises:
            ValueError: If there are not four scales, a number is not positive, or the channels are not 1 or 3.
        """
        self._require(
            (len(self.dims) == _SCALES, f"dims must be {_SCALES} numbers"),
            (min((self.blocks, *self.dims)) > 0, "dims and blocks must be positive"),
            (self.channels in (1, 3), "channels must be 1 or 3"),
        )

    @property
    def scale(self) -> int:
        """Return 1: the output has the size of the input."""
        return 1

    @classmethod
    def tiny(cls) -> Self:
        """Return a configuration that builds and runs in milliseconds."""
        return cls(dims=(8, 8, 16, 16), blocks=1)


class ResidualBlock(nn.Module):
    """Add two 3x3 convolutions with a ReLU between them to what comes in."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.res = nn.Sequential(_conv(dim, dim), nn.ReLU(), _conv(dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, H, W) of the same shape."""
        out: Tensor = x + self.res(x)
        return out


class DRUNet(nn.Module):
    """Take Gaussian noise of a known level out of an image.

    Args:
        config: All that describes it.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        dims, blocks = config.dims, config.blocks
        self.m_head = _conv(config.channels + 1, dims[0])
        self.m_down1, self.m_down2, self.m_down3 = (
            nn.Sequential(*_blocks(fine, blocks), nn.Conv2d(fine, coarse, 2, stride=2, bias=False))
            for fine, coarse in pairwise(dims)
        )
        self.m_body = nn.Sequential(*_blocks(dims[-1], blocks))
        self.m_up1, self.m_up2, self.m_up3 = (
            nn.Sequential(nn.ConvTranspose2d(coarse, fine, 2, stride=2, bias=False), *_blocks(fine, blocks))
            for fine, coarse in pairwise(dims)
        )
        self.m_tail = _conv(dims[0], config.channels)

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        """Restore a batch.

        Args:
            x: (N, channels, H, W) in [0, 1], or beyond by unclipped noise; H and W multiples of 8.
            level: (N,) standard deviation of each image's noise on the scale of `x` (sigma / 255); negative, or None
                for all, where it is unknown, which means `USUAL_LEVEL`.

        Returns:
            (N, channels, H, W), not clipped.

        Raises:
            ValueError: If the channels or the size do not fit.
        """
        require_images(x, "DRUNet", self.config.channels, ARCH.multiple_of)
        features = [self.m_head(torch.cat([x, _level_plane(x, level)], 1))]
        for down in (self.m_down1, self.m_down2, self.m_down3):
            features.append(down(features[-1]))
        out = self.m_body(features[-1])
        for up in (self.m_up3, self.m_up2, self.m_up1):
            out = up(out + features.pop())
        restored: Tensor = self.m_tail(out + features.pop())
        return restored


def _conv(dim: int, out_dim: int) -> nn.Conv2d:
    return nn.Conv2d(dim, out_dim, 3, padding=1, bias=False)


def _blocks(dim: int, count: int) -> list[nn.Module]:
    return [ResidualBlock(dim) for _ in range(count)]


def _level_plane(x: Tensor, level: Tensor | None) -> Tensor:
    """Return (N, 1, H, W): the noise level at every pixel."""
    if level is None:
        return torch.full_like(x[:, :1], USUAL_LEVEL)
    given = torch.where(level >= 0.0, level, torch.full_like(level, USUAL_LEVEL)).to(x.dtype)
    return given[:, None, None, None].expand(-1, -1, *x.shape[2:])


def _recognise(shapes: Shapes, task: str | None) -> Config | None:
    """Return the configuration of the DRUNet that a file's tensors are of; None for another network."""
    del task
    head, tail = shapes.get("m_head.weight", ()), shapes.get("m_tail.weight", ())
    if len(head) != 4 or not tail or "m_tail.bias" in shapes or "m_body.0.res.2.weight" not in shapes:
        return None
    if head[1] != tail[0] + 1:  # without a plane for the level it is the plain U-Net of the same authors
        return None
    blocks = count_of(shapes, "m_body.")
    dims = tuple(shapes[f"m_down{scale}.{blocks}.weight"][0] for scale in range(1, _SCALES))
    return Config(dims=(head[0], *dims), blocks=blocks, channels=tail[0])


ARCH = Arch(
    name="drunet",
    config=Config,
    build=DRUNet,
    multiple_of=1 << (_SCALES - 1),
    global_attention=False,
    takes_level=True,
    paper="Plug-and-Play Image Restoration with Deep Denoiser Prior, arXiv 2008.13751",
    block=ResidualBlock,
    recognise=_recognise,
    task="denoise",
)

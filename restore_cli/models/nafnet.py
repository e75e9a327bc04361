"""NAFNet, restoration without activation functions: the published checkpoints for real noise and for motion blur.

Stage 5, RUN. Paper: Chen et al., "Simple Baselines for Image Restoration" (arXiv 2204.04676; section 3.3 is the block,
figure 3c). Origin of the published checkpoints: megvii-research/NAFNet, MIT; this file is written from the paper and
keeps the checkpoints' keys, so that they load without conversion.

What differs from the origin, and why:
- Sizes must be multiples of 2 to the number of scales (16); padding is the caller's, so that one padder serves every
  network.
- LayerNorm over channels is torch's own, in float32 even under autocast.

Its channel attention takes means over the whole input, so an image is run whole where memory allows.

Letters: N batch, C channels of a scale, H W size of the input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)

from restore_cli.layers.tensors import at_least_float32, autocast_off, channels_first, channels_last, require_images
from restore_cli.models import Arch, JsonConfig, Shapes, count_of

_NORM_EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class Config(JsonConfig):
    """Describe one network completely.

    Attributes:
        width: Channels at full size; twice as many at each smaller scale.
        encoders: Blocks of each scale on the way down.
        middle: Blocks at the smallest size.
        decoders: Blocks of each scale on the way up, the smallest first.
        channels: Image channels, 1 or 3.
    """

    NETWORK: ClassVar[str] = "NAFNet"

    width: int = 64
    encoders: tuple[int, ...] = (2, 2, 4, 8)
    middle: int = 12
    decoders: tuple[int, ...] = (2, 2, 2, 2)
    channels: int = 3

    def __post_init__(self) -> None:
        """Refuse what no network can be built from.

        Raises:
            ValueError: If a number is not positive, or the ways down and up differ in their scales.
        """
        blocks = (self.middle, *self.encoders, *self.decoders)
        self._require(
            (len(self.encoders) == len(self.decoders) > 0, "encoders and decoders must have the same length"),
            (min(self.width, *blocks) > 0, "width and numbers of blocks must be positive"),
            (self.channels in (1, 3), "channels must be 1 or 3"),
        )

    @property
    def scale(self) -> int:
        """Return 1: the output has the size of the input."""
        return 1

    @property
    def unit(self) -> int:
        """Return what height and width must be multiples of."""
        return 1 << len(self.encoders)

    @classmethod
    def tiny(cls) -> Self:
        """Return a configuration that builds and runs in milliseconds."""
        return cls(width=8, encoders=(1, 1, 1, 1), middle=1, decoders=(1, 1, 1, 1))


class ChannelNorm(nn.Module):
    """Normalise each position over its channels, in float32 or better."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W)."""
        with autocast_off(x):
            last = at_least_float32(channels_last(x))
            return channels_first(F.layer_norm(last, self.weight.shape, self.weight, self.bias, _NORM_EPS))


class Block(nn.Module):
    """Mix neighbours and channels, gated and weighted by the means of the channels; then channels alone.

    Args:
        dim: Channels C.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(dim)
        self.conv1 = nn.Conv2d(dim, 2 * dim, 1)
        self.conv2 = nn.Conv2d(2 * dim, 2 * dim, 3, padding=1, groups=2 * dim)
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(dim, dim, 1))
        self.conv3 = nn.Conv2d(dim, dim, 1)
        self.norm2 = ChannelNorm(dim)
        self.conv4 = nn.Conv2d(dim, 2 * dim, 1)
        self.conv5 = nn.Conv2d(dim, dim, 1)
        self.beta = nn.Parameter(torch.zeros(1, dim, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, dim, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, H, W) of the same shape."""
        mixed = _gate(self.conv2(self.conv1(self.norm1(x))))
        x = x + self.beta * self.conv3(mixed * self.sca(mixed))
        out: Tensor = x + self.gamma * self.conv5(_gate(self.conv4(self.norm2(x))))
        return out


class NAFNet(nn.Module):
    """Restore an image over several scales of blocks without activation functions.

    Args:
        config: All that describes it.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        dims = [config.width << scale for scale in range(len(config.encoders) + 1)]
        self.intro = nn.Conv2d(config.channels, dims[0], 3, padding=1)
        self.encoders = nn.ModuleList(map(_stage, dims, config.encoders))
        self.downs = nn.ModuleList(nn.Conv2d(dim, 2 * dim, 2, stride=2) for dim in dims[:-1])
        self.middle_blks = _stage(dims[-1], config.middle)
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(dim, 2 * dim, 1, bias=False), nn.PixelShuffle(2)) for dim in reversed(dims[1:])
        )
        self.decoders = nn.ModuleList(map(_stage, reversed(dims[:-1]), config.decoders))
        self.ending = nn.Conv2d(dims[0], config.channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Restore a batch.

        Args:
            x: (N, channels, H, W) in [0, 1], H and W multiples of `config.unit` (16).

        Returns:
            (N, channels, H, W), not clipped.

        Raises:
            ValueError: If the channels or the size do not fit.
        """
        require_images(x, "NAFNet", self.config.channels, self.config.unit)
        features = self.intro(x)
        skips: list[Tensor] = []
        for stage, down in zip(self.encoders, self.downs, strict=True):
            features = stage(features)
            skips.append(features)
            features = down(features)
        features = self.middle_blks(features)
        for up, stage in zip(self.ups, self.decoders, strict=True):
            features = stage(up(features) + skips.pop())
        restored: Tensor = x + self.ending(features)
        return restored


def _stage(dim: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*(Block(dim) for _ in range(depth)))


def _gate(x: Tensor) -> Tensor:
    """Return the product of the two halves of the channels."""
    one, other = x.chunk(2, dim=1)
    return one * other


def _unit_of(config: Config) -> int:
    return config.unit


def _recognise(shapes: Shapes, task: str | None) -> Config | None:
    """Return the configuration of the NAFNet that a file's tensors are of; None for another network."""
    del task
    intro, ending = shapes.get("intro.weight", ()), shapes.get("ending.weight", ())
    if len(intro) != 4 or not ending or "middle_blks.0.sca.1.weight" not in shapes:
        return None
    if any(key.endswith(".attgamma") for key in shapes):  # KBNet names all else alike
        return None
    scales = range(count_of(shapes, "downs."))
    return Config(
        width=intro[0],
        encoders=tuple(count_of(shapes, f"encoders.{scale}.") for scale in scales),
        middle=count_of(shapes, "middle_blks."),
        decoders=tuple(count_of(shapes, f"decoders.{scale}.") for scale in scales),
        channels=ending[0],
    )


ARCH = Arch(
    name="nafnet",
    config=Config,
    build=NAFNet,
    multiple_of=Config().unit,
    unit=_unit_of,
    global_attention=True,
    paper="Simple Baselines for Image Restoration, arXiv 2204.04676",
    block=Block,
    recognise=_recognise,
)

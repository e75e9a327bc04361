"""FBCNN, which takes JPEG artefacts out and finds out by itself how strong the compression was.

Stage 5, RUN. Paper: Jiang et al., "Towards Flexible Blind JPEG Artifacts Removal" (ICCV 2021, arXiv 2109.14573, section
3 and figure 2). Origin of the published checkpoints: jiaxi-jiang/FBCNN, Apache-2.0; this file is written from the paper
and keeps the checkpoints' keys, so that they load without conversion.

What differs from the origin, and why:
- Sizes must be multiples of 8; padding is the caller's, so that one padder serves every network.
- It is blind: the predicted quality always steers it. A caller's own quality, the paper's other mode, is not taken.

The quality is predicted from the mean over the whole input, so an image is run whole where memory allows.

Letters: N batch, C channels of a scale, H W size of the input.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Self

from torch import Tensor, nn

from restore_cli.layers.tensors import require_images
from restore_cli.models import Arch, JsonConfig, Shapes, count_of

_SCALES = 4


@dataclass(frozen=True, kw_only=True)
class Config(JsonConfig):
    """Describe one network completely.

    Attributes:
        dims: Channels of the four scales, each half the size of the one before.
        blocks: Residual blocks of a scale, as many on the way down as on the way up.
        quality_dim: Channels of what describes the quality.
        channels: Image channels, 1 or 3.
    """

    NETWORK: ClassVar[str] = "FBCNN"

    dims: tuple[int, ...] = (64, 128, 256, 512)
    blocks: int = 4
    quality_dim: int = 512
    channels: int = 3

    def __post_init__(self) -> None:
        """Refuse what no network can be built from.

        Raises:
            ValueError: If there are not four scales, a number is not positive, or the channels are not 1 or 3.
        """
        self._require(
            (len(self.dims) == _SCALES, f"dims must be {_SCALES} numbers"),
            (min(*self.dims, self.blocks, self.quality_dim) > 0, "dims, blocks and quality_dim must be positive"),
            (self.channels in (1, 3), "channels must be 1 or 3"),
        )

    @property
    def scale(self) -> int:
        """Return 1: the output has the size of the input."""
        return 1

    @classmethod
    def tiny(cls) -> Self:
        """Return a configuration that builds and runs in milliseconds."""
        return cls(dims=(8, 8, 16, 16), blocks=1, quality_dim=16)


class ResidualBlock(nn.Module):
    """Add two 3x3 convolutions with a ReLU between them to what comes in."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.res = nn.Sequential(_conv(dim, dim), nn.ReLU(), _conv(dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, H, W) of the same shape."""
        out: Tensor = x + self.res(x)
        return out


class SteeredBlock(nn.Module):
    """The same, its convolutions' result scaled and shifted by what the quality asks for (QF attention)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.res = nn.Sequential(_conv(dim, dim), nn.ReLU(), _conv(dim, dim))

    def forward(self, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        """Return (N, C, H, W) of the same shape; `gamma` and `beta` are (N, C, 1, 1)."""
        out: Tensor = x + (gamma * self.res(x) + beta)
        return out


class FBCNN(nn.Module):
    """Take JPEG artefacts out of an image.

    Args:
        config: All that describes it.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        dims, blocks, deep, quality = config.dims, config.blocks, config.dims[-1], config.quality_dim
        self.m_head = _conv(config.channels, dims[0])
        self.m_down1, self.m_down2, self.m_down3 = (
            nn.Sequential(*_blocks(fine, blocks), nn.Conv2d(fine, coarse, 2, stride=2))
            for fine, coarse in pairwise(dims)
        )
        self.m_body_encoder = nn.Sequential(*_blocks(deep, blocks))
        self.m_body_decoder = nn.Sequential(*_blocks(deep, blocks))
        self.m_up3, self.m_up2, self.m_up1 = (
            nn.ModuleList([nn.ConvTranspose2d(coarse, fine, 2, stride=2), *(SteeredBlock(fine) for _ in range(blocks))])
            for fine, coarse in reversed(list(pairwise(dims)))
        )
        self.m_tail = _conv(dims[0], config.channels)
        self.qf_pred = nn.Sequential(
            *_blocks(deep, blocks), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(deep, quality), nn.ReLU(), nn.Linear(quality, quality), nn.ReLU(),
            nn.Linear(quality, 1), nn.Sigmoid(),
        )  # fmt: skip
        self.qf_embed = nn.Sequential(
            nn.Linear(1, quality), nn.ReLU(), nn.Linear(quality, quality), nn.ReLU(),
            nn.Linear(quality, quality), nn.ReLU(),
        )  # fmt: skip
        self.to_gamma_3, self.to_gamma_2, self.to_gamma_1 = (
            nn.Sequential(nn.Linear(quality, dim), nn.Sigmoid()) for dim in reversed(dims[:-1])
        )
        self.to_beta_3, self.to_beta_2, self.to_beta_1 = (
            nn.Sequential(nn.Linear(quality, dim), nn.Tanh()) for dim in reversed(dims[:-1])
        )

    def forward(self, x: Tensor) -> Tensor:
        """Restore a batch.

        Args:
            x: (N, channels, H, W) in [0, 1], H and W multiples of 8.

        Returns:
            (N, channels, H, W), not clipped.

        Raises:
            ValueError: If the channels or the size do not fit.
        """
        require_images(x, "FBCNN", self.config.channels, ARCH.multiple_of)
        skips = [self.m_head(x)]
        for down in (self.m_down1, self.m_down2, self.m_down3):
            skips.append(down(skips[-1]))
        encoded = self.m_body_encoder(skips[-1])
        quality = self.qf_embed(self.qf_pred(encoded))
        out = self.m_body_decoder(encoded)
        ways = (
            (self.m_up3, self.to_gamma_3, self.to_beta_3),
            (self.m_up2, self.to_gamma_2, self.to_beta_2),
            (self.m_up1, self.to_gamma_1, self.to_beta_1),
        )
        for up, to_gamma, to_beta in ways:
            gamma, beta = to_gamma(quality)[..., None, None], to_beta(quality)[..., None, None]
            out = up[0](out + skips.pop())
            for block in list(up)[1:]:
                out = block(out, gamma, beta)
        restored: Tensor = self.m_tail(out + skips.pop())
        return restored


def _conv(dim: int, out_dim: int) -> nn.Conv2d:
    return nn.Conv2d(dim, out_dim, 3, padding=1)


def _blocks(dim: int, count: int) -> list[nn.Module]:
    return [ResidualBlock(dim) for _ in range(count)]


def _recognise(shapes: Shapes, task: str | None) -> Config | None:
    """Return the configuration of the FBCNN that a file's tensors are of; None for another network."""
    del task
    head, embedding = shapes.get("m_head.weight", ()), shapes.get("qf_embed.0.weight", ())
    if len(head) != 4 or not embedding:
        return None
    blocks = count_of(shapes, "m_body_encoder.")
    dims = tuple(shapes[f"m_down{scale}.{blocks}.weight"][0] for scale in range(1, _SCALES))
    return Config(dims=(head[0], *dims), blocks=blocks, quality_dim=embedding[0], channels=head[1])


ARCH = Arch(
    name="fbcnn",
    config=Config,
    build=FBCNN,
    multiple_of=1 << (_SCALES - 1),
    global_attention=True,
    paper="Towards Flexible Blind JPEG Artifacts Removal, arXiv 2109.14573",
    block=ResidualBlock,
    recognise=_recognise,
    task="dejpeg",
)

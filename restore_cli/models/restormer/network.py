"""Restormer, the transformer whose attention runs over channels: every published checkpoint, dual-pixel included.

Stage 5, RUN. Paper: "Restormer: Efficient Transformer for High-Resolution Image Restoration" (CVPR 2022, arXiv
2111.09881); section 3 is the network, 3.1 and 3.2 its block. Origin of the published checkpoints: swz30/Restormer
(release v1.0), under an academic licence until 2025-10 and reported MIT since; the weights state none of their own.
This file is written from the paper and a description of the checkpoints and keeps their keys, so that they load
without conversion.

What differs from the origin, and why:
- Padding is the caller's: sizes must be multiples of eight, so that one padder serves every network.
- In inference the network goes over an image in place and in bands (see `bands`), with statistics of cells
  if wanted.
- Under autocast the norms, the sums of the attention, the image's own convolutions and the residual stream stay in
  float32.

Letters: N batch, C = `dim` channels, H W size of the input.
"""

from __future__ import annotations

from typing import Self, cast

import torch
from torch import Tensor, nn

from restore_cli.layers.tensors import at_least_float32, autocast_off, require_images
from restore_cli.models.restormer.block import Block
from restore_cli.models.restormer.config import UNIT, Config, NormKind


class PatchEmbedding(nn.Module):
    """Lift the image to C channels by a 3x3 convolution."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to (N, C, H, W)."""
        features: Tensor = self.proj(x)
        return features


class Downsample(nn.Module):
    """Halve height and width, double the channels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(dim, dim // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, 2C, H / 2, W / 2)."""
        smaller: Tensor = self.body(x)
        return smaller


class Upsample(nn.Module):
    """Double height and width, halve the channels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(dim, 2 * dim, 3, padding=1, bias=False), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C / 2, 2H, 2W)."""
        larger: Tensor = self.body(x)
        return larger


class Restormer(nn.Module):
    """Restore an image by attention over channels at four scales, down and up again (section 3).

    Args:
        inp_channels: As in `Config`, and so are the others; the defaults are the published network's.
        out_channels: Image channels out.
        dim: Feature channels of the first level.
        num_blocks: Blocks of the four levels.
        num_refinement_blocks: Blocks behind them.
        heads: Attention heads of the four levels.
        ffn_expansion_factor: Hidden channels of the feed-forward layer per channel.
        bias: Bias of the blocks' convolutions.
        LayerNorm_type: "WithBias" or "BiasFree".
        dual_pixel_task: Take two views of a scene.

    Raises:
        ValueError: If they do not fit together.
    """

    def __init__(
        self,
        inp_channels: int = Config.inp_channels,
        out_channels: int = Config.out_channels,
        dim: int = Config.dim,
        num_blocks: tuple[int, ...] | list[int] = Config.num_blocks,
        num_refinement_blocks: int = Config.num_refinement_blocks,
        heads: tuple[int, ...] | list[int] = Config.heads,
        ffn_expansion_factor: float = Config.ffn_expansion_factor,
        bias: bool = Config.bias,
        LayerNorm_type: NormKind = Config.LayerNorm_type,  # noqa: N803  (the name its users know)
        dual_pixel_task: bool = Config.dual_pixel_task,
    ) -> None:
        super().__init__()
        self.config = config = Config(
            inp_channels=inp_channels,
            out_channels=out_channels,
            dim=dim,
            num_blocks=tuple(num_blocks),
            num_refinement_blocks=num_refinement_blocks,
            heads=tuple(heads),
            ffn_expansion_factor=ffn_expansion_factor,
            bias=bias,
            LayerNorm_type=LayerNorm_type,
            dual_pixel_task=dual_pixel_task,
        )
        self.patch_embed = PatchEmbedding(inp_channels, dim)
        self.encoder_level1 = _blocks(config, 0, num_blocks[0], dim)
        self.down1_2 = Downsample(dim)
        self.encoder_level2 = _blocks(config, 1, num_blocks[1], 2 * dim)
        self.down2_3 = Downsample(2 * dim)
        self.encoder_level3 = _blocks(config, 2, num_blocks[2], 4 * dim)
        self.down3_4 = Downsample(4 * dim)
        self.latent = _blocks(config, 3, num_blocks[3], 8 * dim)
        self.up4_3 = Upsample(8 * dim)
        self.reduce_chan_level3 = nn.Conv2d(8 * dim, 4 * dim, 1, bias=bias)
        self.decoder_level3 = _blocks(config, 2, num_blocks[2], 4 * dim)
        self.up3_2 = Upsample(4 * dim)
        self.reduce_chan_level2 = nn.Conv2d(4 * dim, 2 * dim, 1, bias=bias)
        self.decoder_level2 = _blocks(config, 1, num_blocks[1], 2 * dim)
        self.up2_1 = Upsample(2 * dim)
        self.decoder_level1 = _blocks(config, 0, num_blocks[0], 2 * dim)
        self.refinement = _blocks(config, 0, num_refinement_blocks, 2 * dim)
        if dual_pixel_task:
            self.skip_conv = nn.Conv2d(dim, 2 * dim, 1, bias=bias)
        self.output = nn.Conv2d(2 * dim, out_channels, 3, padding=1, bias=bias)

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """Build the network that a configuration describes."""
        return cls(**config.to_json())

    def forward(self, x: Tensor) -> Tensor:
        """Restore a batch layer by layer: what training differentiates and compilers see.

        Args:
            x: (N, inp_channels, H, W) in [0, 1], H and W multiples of 8; of two views the left one first.

        Returns:
            (N, out_channels, H, W), float32 or better, not clipped.

        Raises:
            ValueError: If the channels or the size do not fit.
        """
        self.check(x)
        features = self._features(x)
        with autocast_off(x):
            features = at_least_float32(features)
            if self.config.dual_pixel_task:
                return cast("Tensor", self.output(features + self.skip_conv(self.patch_embed(x))))
            return cast("Tensor", self.output(features) + x)

    def check(self, x: Tensor) -> None:
        """Raise ValueError unless a batch is what `forward` takes."""
        require_images(x, "Restormer", self.config.inp_channels, UNIT)

    def _features(self, x: Tensor) -> Tensor:
        """Return what the refinement makes of a batch, (N, 2C, H, W)."""
        with autocast_off(x):
            features = self.patch_embed(x)
        skips = []
        for level, down in (
            (self.encoder_level1, self.down1_2),
            (self.encoder_level2, self.down2_3),
            (self.encoder_level3, self.down3_4),
        ):
            skips.append(level(features))
            features = down(skips[-1])
        features = self.latent(features)
        for up, reduce, level in (
            (self.up4_3, self.reduce_chan_level3, self.decoder_level3),
            (self.up3_2, self.reduce_chan_level2, self.decoder_level2),
            (self.up2_1, None, self.decoder_level1),
        ):
            features = torch.cat((up(features), skips.pop()), 1)
            features = level(features if reduce is None else reduce(features))
        return cast("Tensor", self.refinement(features))


def _blocks(config: Config, level: int, count: int, dim: int) -> nn.Sequential:
    """Return the blocks of one level of the network."""
    return nn.Sequential(
        *(
            Block(
                dim,
                heads=config.heads[level],
                hidden=int(dim * config.ffn_expansion_factor),
                bias=config.bias,
                norm_bias=config.LayerNorm_type == "WithBias",
            )
            for _ in range(count)
        )
    )

"""What a Restormer is, in numbers: its configuration, its memory, and its cost in multiply-adds.

Stage 5, RUN; the network itself is in `network`. A file of its own because nothing in here needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from restore_cli.models import JsonConfig

LEVELS = 4
UNIT = 1 << (LEVELS - 1)

NormKind = Literal["WithBias", "BiasFree"]


@dataclass(frozen=True, kw_only=True)
class Config(JsonConfig):
    """Describe one Restormer completely, in the names that its users know.

    Attributes:
        inp_channels: Channels in: the image's, or those of two views.
        out_channels: Image channels out.
        dim: Feature channels C of the first level; each level below has twice as many.
        num_blocks: Blocks of the four levels, on the way down and again on the way up.
        num_refinement_blocks: Blocks behind them, at full size.
        heads: Attention heads of the four levels.
        ffn_expansion_factor: Hidden channels of the feed-forward layer per channel.
        bias: Bias of the blocks' convolutions.
        LayerNorm_type: "WithBias", or "BiasFree", whose norms keep the mean.
        dual_pixel_task: Take two views of a scene, stacked in channels; no image is added to the output then.
    """

    NETWORK: ClassVar[str] = "Restormer"

    inp_channels: int = 3
    out_channels: int = 3
    dim: int = 48
    num_blocks: tuple[int, ...] = (4, 6, 6, 8)
    num_refinement_blocks: int = 4
    heads: tuple[int, ...] = (1, 2, 4, 8)
    ffn_expansion_factor: float = 2.66
    bias: bool = False
    LayerNorm_type: NormKind = "WithBias"
    dual_pixel_task: bool = False

    def __post_init__(self) -> None:
        views = 2 if self.dual_pixel_task else 1
        widths = tuple(self.dim << level for level in range(LEVELS))
        self._require(
            (self.out_channels in (1, 3), "out_channels must be 1 or 3"),
            (self.inp_channels == views * self.out_channels, f"inp_channels must be {views} times out_channels"),
            (self.dim > 0 and self.dim % 2 == 0, "dim must be a positive even number"),
            (len(self.num_blocks) == LEVELS, f"num_blocks must be {LEVELS} numbers"),
            (len(self.heads) == LEVELS, f"heads must be {LEVELS} numbers"),
            (min(*self.num_blocks, self.num_refinement_blocks, *self.heads) > 0, "blocks and heads must be positive"),
            (
                not any(w % max(h, 1) for w, h in zip(widths, self.heads, strict=False)),
                "heads must divide their level's width",
            ),
            (int(self.dim * self.ffn_expansion_factor) > 0, "ffn_expansion_factor must leave hidden channels"),
            (self.LayerNorm_type in ("WithBias", "BiasFree"), "LayerNorm_type must be 'WithBias' or 'BiasFree'"),
        )

    @property
    def channels(self) -> int:
        """Return the image channels, of each view where there are two."""
        return self.out_channels

    @property
    def scale(self) -> int:
        """Return 1: the size stays."""
        return 1

    @classmethod
    def tiny(cls) -> Self:
        """Return a configuration that builds and runs in milliseconds."""
        return cls(dim=8, num_blocks=(1, 1, 1, 1), num_refinement_blocks=1, heads=(1, 2, 2, 4))


def mult_adds(config: Config, height: int, width: int) -> int:
    """Count multiply-adds as the paper does, for one input of (height, width) pixels before padding.

    Convolutions and the two products of each attention count; norms, activations, gates and sums do not.
    """
    area = -(-height // UNIT) * -(-width // UNIT) * UNIT**2
    dim, levels = config.dim, range(LEVELS)
    blocks = [
        (area >> 2 * level) * config.num_blocks[level] * _block_mult_adds(config, dim << level, config.heads[level])
        for level in levels
    ]
    full = (config.num_blocks[0] + config.num_refinement_blocks) * _block_mult_adds(config, 2 * dim, config.heads[0])
    # Down and up between two levels, and the 1x1 convolution behind each concatenation but the last.
    between = [9 * (dim << level) ** 2 * (area >> 2 * level) * 5 // 2 for level in levels[:-1]]
    reductions = [2 * (dim << level) ** 2 * (area >> 2 * level) for level in levels[1:-1]]
    ends = 9 * dim * config.inp_channels + 9 * 2 * dim * config.out_channels
    skip = 2 * dim * dim if config.dual_pixel_task else 0
    return sum(blocks) + sum(blocks[1:-1]) + area * full + sum(between) + sum(reductions) + area * (ends + skip)


def footprint(config: Config) -> tuple[float, float, float]:
    """Return what an inference in bands holds at its peak: bytes whatever the size, a pixel, and a pixel of a band.

    At full size on the way up those are features and values, four maps of C channels, the image and the result, and
    ten maps of a band: over 1920x1080 at full depth 2.4 GB were resident there, the loaded process and the weights
    included. Runs on small images would not tell: there the widest weights, prepared, are more than the maps.
    """
    images = 2 * config.inp_channels + config.out_channels
    return 4096.0 * config.dim**2, 4.0 * (4 * config.dim + images), 4.0 * 10 * config.dim


def _block_mult_adds(config: Config, dim: int, heads: int) -> int:
    """Count one block, a position."""
    hidden = int(dim * config.ffn_expansion_factor)
    attention = 4 * dim * dim + 27 * dim + 2 * dim * dim // heads
    return attention + 3 * dim * hidden + 18 * hidden

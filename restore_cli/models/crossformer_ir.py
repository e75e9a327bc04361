"""CrossFormer-IR, a restoration network of our own made of CrossFormer's parts.

Stage 5, RUN. CrossFormer (arXiv 2108.00154; ++: 2303.06908) classifies; it has no head that restores, and nobody has
published restoration weights of it. What is taken from it, by `_crossformer_block`: the cross-scale embedding (section
3.1), between stages too, blocks that attend near (SDA) and far (LDA) in turn (3.2.1), dynamic position bias (3.2.2).

What is different, and why:
- The embedding has stride 1, kernels 3, 5, 7 and 9: a pixel that is thrown away cannot be restored. Where reach counts
  for more than single pixels, as in deblurring, squares of pixels may become channels first (`fold`): nothing is thrown
  away either, and the same arithmetic reaches twice as far.
- The stages go down to a quarter of the size and up again (1x1 convolution, pixel shuffle, joined with the stage of
  that size). Attention at full size alone costs four times as much for the same reach.
- Groups are as large as RAMiT's windows (8), intervals 4, 2 and 1, so that a region is 32 input pixels at every scale.
- The paper has no convolution in a block (++ has one in every third). Here each feed-forward layer has a depthwise
  3x3 one, for 5 % of a block's time: few training steps suffice to learn what is local.
- Heads are few and wide: on a CPU the logits of a head cost as much as 64 of its channels.
- A long skip runs around the stages; the input, enlarged bicubically, is added to the output, and the last convolution
  starts at zero, so that training starts from the identity.

Letters: N batch, C channels of a level, H W size of the input.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)

from restore_cli.models import Arch
from restore_cli.models._bands import wants_bands
from restore_cli.models._crossformer_block import CrossScaleConv, GroupAttention, Grouping, layer_norm
from restore_cli.models._crossformer_passes import run_block
from restore_cli.models._json_config import JsonConfig
from restore_cli.models._tensors import (
    DropPath,
    at_least_float32,
    autocast_off,
    cat_channels,
    channels_first,
    channels_last,
)

MOST_LEVELS = 3
MULTIPLE_OF = 1 << (MOST_LEVELS - 1)
MERGING_KERNELS = (2, 4)


@dataclass(frozen=True, kw_only=True)
class Config(JsonConfig):
    """Describe one CrossFormer-IR completely.

    Attributes:
        dims: Channels C of each level, each level half the size of the one before; at most three.
        depths: Blocks of each stage, down through the levels and up again: one number less than twice the levels.
        num_heads: Heads of each level.
        group_size: Side of an attention group in tokens.
        intervals: Distance of the tokens of a far group, one number a level; 1 leaves only near groups there.
        kernels: Sides of the embedding's kernels, odd, the first with half of the channels.
        fold: Side of the squares of pixels that become channels before the embedding (space to depth); 1 for none. The
            first level is so many times smaller than the input; with the levels below at most four times.
        hidden_ratio: Hidden channels of the feed-forward layer per channel.
        scale: Factor from input to output size.
        channels: Image channels, 1 or 3.
        mean: Mean of each image channel.
        std: Standard deviation of each image channel.
        drop_path: Rate of stochastic depth at the last block, rising linearly from 0; training only.
        image_skip: Start from the identity: the input, enlarged bicubically where `scale` > 1, is added to the output
            and the last convolution starts at zero.
    """

    NETWORK: ClassVar[str] = "CrossFormer-IR"
    LATER: ClassVar[frozenset[str]] = frozenset({"fold"})

    dims: tuple[int, ...] = (64, 96, 128)
    depths: tuple[int, ...] = (4, 2, 2, 2, 4)
    num_heads: tuple[int, ...] = (2, 3, 4)
    group_size: int = 8
    intervals: tuple[int, ...] = (4, 2, 1)
    kernels: tuple[int, ...] = (3, 5, 7, 9)
    fold: int = 1
    hidden_ratio: float = 2.0
    scale: int = 1
    channels: int = 3
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.25, 0.25, 0.25)
    drop_path: float = 0.0
    image_skip: bool = True

    def __post_init__(self) -> None:
        levels = len(self.dims)
        fine = 1 << (max(len(self.kernels), len(MERGING_KERNELS)) - 1)
        checks = (
            (0 < levels <= MOST_LEVELS, f"dims must be 1 to {MOST_LEVELS} numbers"),
            (all(dim > 0 and dim % fine == 0 for dim in self.dims), f"dims must be positive multiples of {fine}"),
            (len(self.depths) == 2 * levels - 1, "depths must be one number less than twice as many as dims"),
            (all(depth > 0 for depth in self.depths), "depths must be positive"),
            (len(self.num_heads) == len(self.intervals) == levels, "num_heads and intervals must be as many as dims"),
            (self._heads_divide(), "num_heads must divide dims"),
            (self.group_size > 1, "group_size must be at least 2"),
            (all(interval > 0 for interval in self.intervals), "intervals must be positive"),
            (all(kernel > 0 and kernel % 2 for kernel in self.kernels), "kernels must be odd"),
            (len(self.kernels) > 0, "kernels must name at least one"),
            (self.fold in (1, 2, 4), "fold must be 1, 2 or 4"),
            (self.unit <= MULTIPLE_OF, f"fold, doubled from level to level, must come to {MULTIPLE_OF} at most"),
            (self.hidden_ratio > 0, "hidden_ratio must be positive"),
            (self.scale >= 1, "scale must be at least 1"),
            (self.channels in (1, 3), "channels must be 1 or 3"),
            (len(self.mean) == len(self.std) == self.channels, "mean and std must have one number a channel"),
            (all(std > 0 for std in self.std), "std must be positive"),
            (0 <= self.drop_path < 1, "drop_path must lie in [0, 1)"),
        )
        for holds, message in checks:
            if not holds:
                msg = f"CrossFormer-IR: {message}"
                raise ValueError(msg)

    @property
    def unit(self) -> int:
        """Return the number that height and width must be multiples of."""
        return self.fold << (len(self.dims) - 1)

    def _heads_divide(self) -> bool:
        pairs = zip(self.dims, self.num_heads, strict=False)
        return all(heads > 0 and dim % heads == 0 for dim, heads in pairs)

    @classmethod
    def tiny(cls) -> Self:
        """Return a configuration that builds and runs in milliseconds."""
        return cls(
            dims=(32, 32, 48), depths=(2, 2, 1, 1, 1), num_heads=(1, 2, 2), group_size=4, intervals=(2, 2, 1),
            scale=2, image_skip=False,
        )  # fmt: skip


class FeedForward(nn.Module):
    """Widen the channels, mix neighbours, narrow the channels again."""

    def __init__(self, dim: int, hidden_ratio: float) -> None:
        super().__init__()
        hidden = int(dim * hidden_ratio)
        self.hidden = nn.Conv2d(dim, hidden, 1)
        self.local = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.out = nn.Conv2d(hidden, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        widened = F.gelu(self.hidden(x))
        narrowed: Tensor = self.out(widened + self.local(widened))
        return narrowed


class Block(nn.Module):
    """Attend within groups, then feed forward, each normalised before and added to its input.

    Args:
        dim: Channels C.
        heads: Heads of the attention.
        group_size: Side of a group in tokens.
        interval: Distance between the tokens of a group: 1 is SDA, more is LDA.
        hidden_ratio: Hidden channels of the feed-forward layer per channel.
        drop_path: Rate of stochastic depth.
    """

    def __init__(
        self, dim: int, heads: int, group_size: int, interval: int, *, hidden_ratio: float, drop_path: float
    ) -> None:
        super().__init__()
        self.group_size, self.interval = group_size, interval
        self.norm1 = nn.LayerNorm(dim)
        self.attn = GroupAttention(dim, heads, max(dim // 4, 1))
        self.norm2 = nn.LayerNorm(dim)
        self.ffn = FeedForward(dim, hidden_ratio)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape."""
        if wants_bands(x):
            return torch.stack([run_block(self, each) for each in x])
        grouping = Grouping(height=x.shape[1], width=x.shape[2], size=self.group_size, interval=self.interval)
        groups = self.attn(grouping.cut(layer_norm(self.norm1, x)), self.group_size, grouping.mask(x.device))
        x = x + self.drop_path(grouping.merge(groups))
        fed = self.ffn(channels_first(layer_norm(self.norm2, x)))
        out: Tensor = x + self.drop_path(channels_last(fed))
        return out


class Down(nn.Module):
    """Halve height and width by kernels of two sizes, as CrossFormer's patch merging does."""

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.reductions = CrossScaleConv(dim, out_dim, MERGING_KERNELS, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, H, W, C) to (N, H / 2, W / 2, C of the next level)."""
        normalised = channels_first(layer_norm(self.norm, x))
        with autocast_off(x):
            reduced: Tensor = self.reductions(normalised)
        return channels_last(reduced)


class Up(nn.Module):
    """Double height and width and join what the stage of that size had found on the way down."""

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(dim, 4 * out_dim, 1)
        self.join = nn.Conv2d(2 * out_dim, out_dim, 1)

    def forward(self, x: Tensor, found: Tensor) -> Tensor:
        """Map (N, H, W, C) and (N, 2H, 2W, C of the level above) to the latter's shape."""
        with autocast_off(x):
            larger = F.pixel_shuffle(self.expand(channels_first(at_least_float32(x))), 2)
            both = cat_channels((larger, channels_first(at_least_float32(found))))
            joined: Tensor = self.join(both)
        return channels_last(joined)


class Reconstruction(nn.Module):
    """Turn features into the image at its final size."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.factor = config.scale * config.fold
        self.conv = nn.Conv2d(config.dims[0], config.channels * self.factor**2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H / fold, W / fold) to (N, channels, scale * H, scale * W)."""
        return F.pixel_shuffle(self.conv(x), self.factor)


class CrossFormerIR(nn.Module):
    """Restore an image by attention near and far at up to three scales.

    Args:
        config: All that it is built from.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.tensor(config.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(1, -1, 1, 1), persistent=False)
        dims, levels = config.dims, len(config.dims)
        self.embed = CrossScaleConv(config.channels * config.fold**2, dims[0], config.kernels, 1)
        self.stages = _stages(config)
        self.downs = nn.ModuleList(Down(above, below) for above, below in pairwise(dims))
        self.ups = nn.ModuleList(Up(dims[level + 1], dims[level]) for level in reversed(range(levels - 1)))
        self.norm = nn.LayerNorm(dims[0])
        self.after = nn.Conv2d(dims[0], dims[0], 3, padding=1)
        self.to_target = Reconstruction(config)
        self._initialise()

    def _initialise(self) -> None:
        """Start the blocks' projections small; the other convolutions keep torch's start."""
        for module in self.modules():
            if isinstance(module, Block):
                for layer in (module.attn.qkv, module.attn.proj, module.ffn.hidden, module.ffn.out):
                    nn.init.trunc_normal_(layer.weight, std=0.02)
                    if layer.bias is not None:
                        nn.init.zeros_(layer.bias)
        if self.config.image_skip:
            for parameter in self.to_target.conv.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Restore a batch.

        Args:
            x: (N, channels, H, W) in [0, 1], H and W multiples of `config.unit` (4 for three levels).

        Returns:
            (N, channels, scale * H, scale * W), float32 or better, not clipped.

        Raises:
            ValueError: If the channels or the size do not fit.
        """
        unit, channels = self.config.unit, self.config.channels
        if x.ndim != 4 or x.shape[1] != channels or x.shape[2] % unit or x.shape[3] % unit or 0 in x.shape:
            msg = f"CrossFormer-IR takes (N, {channels}, H, W) with H and W multiples of {unit}, not {tuple(x.shape)}"
            raise ValueError(msg)
        x = channels_first(channels_last((x - self.mean) / self.std).contiguous())
        with autocast_off(x):
            shallow = self.embed(F.pixel_unshuffle(at_least_float32(x), self.config.fold))
        features = channels_first(layer_norm(self.norm, self._body(channels_last(shallow))))
        with autocast_off(x):
            out = self.to_target(self.after(features) + shallow)
        if self.config.image_skip:
            # The antialiased form has the field's cubic (a = -0.5); enlarging, it smooths nothing.
            scale = self.config.scale
            out = out + (x if scale == 1 else F.interpolate(x, scale_factor=scale, mode="bicubic", antialias=True))
        return torch.addcmul(self.mean, out, self.std)

    def _body(self, x: Tensor) -> Tensor:
        """Run (N, H, W, C) down through the levels and up again."""
        stages = iter(self.stages)
        found = []
        for down in self.downs:
            x = next(stages)(x)
            found.append(x)
            x = down(x)
        x = next(stages)(x)
        for up in self.ups:
            x = next(stages)(up(x, found.pop()))
        return x


def _stages(config: Config) -> nn.ModuleList:
    """Return the stages on the way down and up, blocks of near and far groups in turn."""
    levels = len(config.dims)
    path = (*range(levels), *reversed(range(levels - 1)))
    rate = config.drop_path / max(sum(config.depths) - 1, 1)
    stages = nn.ModuleList()
    done = 0
    for level, depth in zip(path, config.depths, strict=True):
        blocks = (
            Block(
                config.dims[level],
                config.num_heads[level],
                config.group_size,
                config.intervals[level] if index % 2 else 1,
                hidden_ratio=config.hidden_ratio,
                drop_path=rate * (done + index),
            )
            for index in range(depth)
        )
        stages.append(nn.Sequential(*blocks))
        done += depth
    return stages


ARCH = Arch(
    name="crossformer_ir",
    config=Config,
    build=CrossFormerIR,
    multiple_of=MULTIPLE_OF,
    global_attention=False,
    paper="CrossFormer: A Versatile Vision Transformer Hinging on Cross-scale Attention, arXiv 2108.00154",
    block=Block,
)

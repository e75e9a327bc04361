"""CrossFormer-IR, a restoration network of our own made of CrossFormer's parts.

Stage 5, RUN. CrossFormer (arXiv 2108.00154; ++: 2303.06908) classifies; it has no head that restores, and nobody has
published restoration weights of it. What is taken from it, by `layers.cross_scale`: the cross-scale embedding (section
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

from collections.abc import Callable
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)

from restore_cli.layers.cross_scale import CrossScaleConv, GroupAttention, Grouping, layer_norm
from restore_cli.layers.tensors import (
    DropPath,
    at_least_float32,
    autocast_off,
    cat_channels,
    channels_first,
    channels_last,
    require_images,
)
from restore_cli.models.crossformer_ir.config import MERGING_KERNELS, Config


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
        return self.restore(x, lambda stage, maps: cast("Tensor", stage(maps)))

    def restore(self, x: Tensor, run: Callable[[nn.Module, Tensor], Tensor]) -> Tensor:
        """Restore a batch as `forward` does, with each stage's blocks run on (N, H, W, C) by a function."""
        require_images(x, "CrossFormer-IR", self.config.channels, self.config.unit)
        x = channels_first(channels_last((x - self.mean) / self.std).contiguous())
        with autocast_off(x):
            shallow = self.embed(F.pixel_unshuffle(at_least_float32(x), self.config.fold))
        features = channels_first(layer_norm(self.norm, self._body(channels_last(shallow), run)))
        with autocast_off(x):
            out = self.to_target(self.after(features) + shallow)
        if self.config.image_skip:
            # The antialiased form has the field's cubic (a = -0.5); enlarging, it smooths nothing.
            scale = self.config.scale
            out = out + (x if scale == 1 else F.interpolate(x, scale_factor=scale, mode="bicubic", antialias=True))
        return torch.addcmul(self.mean, out, self.std)

    def _body(self, x: Tensor, run: Callable[[nn.Module, Tensor], Tensor]) -> Tensor:
        """Run (N, H, W, C) down through the levels and up again."""
        stages = iter(self.stages)
        found = []
        for down in self.downs:
            x = run(next(stages), x)
            found.append(x)
            x = down(x)
        x = run(next(stages), x)
        for up in self.ups:
            x = run(next(stages), up(x, found.pop()))
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

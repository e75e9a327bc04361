"""What CrossFormer's networks share: cross-scale convolutions, groups near and far, attention with dynamic positions.

Stage 5, RUN; `models.crossformer` (which states the paper, the origin and the licence) and `models.crossformer_ir` are
built of it.
Section 3.1 of the paper is the embedding, 3.2.1 the groupings, 3.2.2 the position bias. How it is laid out, and why:
- Maps are (N, H, W, C): linear layers and LayerNorm run where the channels already lie.
- A grouping is integers worked out from the actual size; what does not divide is padded, masked and cropped.
- The bias table of a block is computed once for all groups of a forward pass, from (2G-1)^2 offsets, not from L^2.
- Logits, bias, mask and softmax stay in float32 under autocast: in float16 the mask's -1e6 would be minus infinity.

Letters: N batch, C channels, H W size of the map, G side of a group in tokens, I interval between its tokens,
L = G * G tokens a group, B groups of the whole batch, h heads, d = C / h channels a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)

from restore_cli.layers.tensors import at_least_float32, autocast_off, cat_channels

MASKED_LOGIT = -1e6


def share_channels(channels: int, count: int) -> tuple[int, ...]:
    """Split channels over `count` kernels: a half, a quarter, an eighth, ..., the last two equal.

    Raises:
        ValueError: If they cannot be halved so often.
    """
    if count < 1 or channels < 1 or channels % (1 << (count - 1)):
        msg = f"{channels} channels cannot be halved for {count} kernels"
        raise ValueError(msg)
    shares = [channels >> (index + 1) for index in range(count - 1)]
    return (*shares, channels - sum(shares))


class CrossScaleConv(nn.ModuleList):
    """Look at each place with kernels of several sizes, the larger ones with fewer channels (section 3.1).

    Args:
        channels: Channels in.
        dim: Channels out, shared by halves.
        kernels: Sides of the kernels, each of the parity of `stride`.
        stride: Step of all of them.
    """

    def __init__(self, channels: int, dim: int, kernels: Sequence[int], stride: int) -> None:
        super().__init__(
            nn.Conv2d(channels, share, kernel, stride, padding=(kernel - stride) // 2)
            for share, kernel in zip(share_channels(dim, len(kernels)), kernels, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to (N, dim, H / stride, W / stride), rounded down."""
        return cat_channels([conv(x) for conv in self])


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """Sort the tokens of a map into groups of G x G, neighbours (SDA) or every I-th token of a region (LDA).

    Attributes:
        height: Of the map.
        width: Of the map.
        size: Side G of a group.
        interval: Distance I between neighbours in a group; 1 for SDA.
        centred: Pad half above and to the left, not all below and to the right.
    """

    height: int
    width: int
    size: int
    interval: int = 1
    centred: bool = False

    @property
    def padding(self) -> tuple[int, int, int, int]:
        """Return the tokens added at (left, right, top, bottom) so that regions of G * I divide the map."""
        region = self.size * self.interval
        down, across = -self.height % region, -self.width % region
        top, left = (down // 2, across // 2) if self.centred else (0, 0)
        return left, across - left, top, down - top

    def cut(self, x: Tensor, value: float = 0.0) -> Tensor:
        """Sort (N, H, W, C) into (B, L, C), padded with `value`."""
        if any(self.padding):
            x = F.pad(x, (0, 0, *self.padding), value=value)
        pattern = "n (rows y dy) (columns x dx) c -> (n rows columns dy dx) (y x) c"
        return rearrange(x, pattern, y=self.size, x=self.size, dy=self.interval, dx=self.interval)

    def merge(self, groups: Tensor) -> Tensor:
        """Undo `cut`: (B, L, C) to (N, H, W, C), the padding cropped."""
        left, right, top, bottom = self.padding
        height, width = self.height + top + bottom, self.width + left + right
        size, step = self.size, self.interval
        rows, columns = height // (size * step), width // (size * step)
        pattern = "(n rows columns dy dx) (y x) c -> n (rows y dy) (columns x dx) c"
        x = rearrange(groups, pattern, rows=rows, columns=columns, dy=step, dx=step, y=size, x=size)
        return x[:, top : top + self.height, left : left + self.width]

    def mask(self, device: torch.device) -> Tensor | None:
        """Return what the logits of an image's keys are raised by, (groups, 1, 1, L) float32; None without padding."""
        if not any(self.padding):
            return None
        inside = torch.zeros((1, self.height, self.width, 1), device=device)
        return self.cut(inside, MASKED_LOGIT).transpose(1, 2).unsqueeze(1)


class DynamicPositionBias(nn.Module):
    """Work out a bias for each offset between two tokens of a group by a small MLP (section 3.2.2).

    Args:
        dim: Width p of the MLP.
        heads: Heads h.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.pos_proj = nn.Linear(2, dim)
        self.pos1 = nn.Sequential(nn.LayerNorm(dim), nn.ReLU(), nn.Linear(dim, dim))
        self.pos2 = nn.Sequential(nn.LayerNorm(dim), nn.ReLU(), nn.Linear(dim, dim))
        self.pos3 = nn.Sequential(nn.LayerNorm(dim), nn.ReLU(), nn.Linear(dim, heads))

    def forward(self, size: int) -> Tensor:
        """Return the bias of every query and key of a group of side `size`, (h, L, L), in float32 or better."""
        weight = self.pos_proj.weight
        with autocast_off(weight):
            axis = torch.arange(1 - size, size, dtype=weight.dtype, device=weight.device)
            offsets = torch.cartesian_prod(axis, axis)  # ((2G-1)^2, 2) as (dy, dx), dy slow
            table: Tensor = self.pos3(self.pos2(self.pos1(self.pos_proj(offsets))))
        index = _offset_index(size, weight.device)
        return table.t()[:, index.flatten()].view(-1, size * size, size * size)


def _offset_index(size: int, device: torch.device) -> Tensor:
    """Return the row of the bias table for each query and key, (L, L)."""
    axis = torch.arange(size, device=device)
    token = torch.cartesian_prod(axis, axis)
    offset = token[:, None] - token[None] + size - 1
    return offset[..., 0] * (2 * size - 1) + offset[..., 1]


class GroupAttention(nn.Module):
    """Attend within groups, with a bias by dynamic position.

    Args:
        dim: Channels C.
        heads: Heads h.
        position_dim: Width of the position bias's MLP.
        qkv_bias: Bias of the projection to queries, keys and values.
        qk_scale: Factor of the logits; None for d^-0.5.
        attn_drop: Rate of dropout on the attention.
        proj_drop: Rate of dropout on the output.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        position_dim: int,
        *,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.scale = qk_scale or (dim // heads) ** -0.5
        self.pos = DynamicPositionBias(position_dim, heads)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, x: Tensor, size: int, mask: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            x: (B, L, C), the groups of one image after those of another.
            size: Side of a group, the square root of L.
            mask: Of an image's keys, as `Grouping.mask` returns it.

        Returns:
            (B, L, C).
        """
        groups, tokens, channels = x.shape
        qkv = self.qkv(x).view(groups, tokens, 3, self.heads, channels // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind()  # (B, h, L, d)
        bias = self.pos(size)
        if mask is None and not torch.is_grad_enabled() and not self.training:
            # On the CPU fused attention takes half the time and no memory for logits, but more than it saves to train.
            with autocast_off(x):
                q, k, v = map(at_least_float32, (q, k, v))
                mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None], scale=self.scale)
        else:
            logits = at_least_float32((q * self.scale) @ k.transpose(2, 3)) + bias
            if mask is not None:
                logits = (logits.unflatten(0, (-1, mask.shape[0])) + mask).flatten(0, 1)
            mixed = self.attn_drop(logits.softmax(-1)).to(v.dtype) @ v
        out: Tensor = self.proj_drop(self.proj(mixed.transpose(1, 2).reshape(groups, tokens, channels)))
        return out


def layer_norm(norm: nn.Module, x: Tensor) -> Tensor:
    """Normalise (..., C) in float32 or better, even under autocast."""
    with autocast_off(x):
        return cast("Tensor", norm(at_least_float32(x)))

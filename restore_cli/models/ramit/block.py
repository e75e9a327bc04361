"""The D-RAMiT block and the layers it is made of: two attentions side by side, MobiVari, a feed-forward layer.

Stage 5, RUN; `network` builds the network of them and states the paper, the origin and the licence. Section 3.2 of the
paper is the block, 3.3 MobiVari. How it is laid out, and why:
- Tensors are (N, C, H, W) in channels-last memory: 1x1 convolutions and LayerNorm run where the channels already lie,
  and queries, keys and values of all heads are views of what a convolution wrote.
- A 1x1 convolution commutes with shifting and cutting, so the C channels of a block's input are cut into windows, not
  the 3C of its projection, and the channel heads are not cut at all.
- Channel attention is three steps: sums over positions (additive over the parts of an image), the d x d matrix made of
  them, and its application, so that a runner may choose where the sums come from.
- Operations work in place where autograd allows it: new memory costs more than most of the arithmetic.
- Under autocast the norms, the logits of both attentions, LayerNorm and the residual stream stay in float32.

Letters: N batch, C = `dim` channels, H W feature size, P = H * W positions, h heads in all, d = C / h channels a head,
h1 spatial heads (the first ones), h2 channel heads, B windows of the whole batch, L tokens a window.
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)

from restore_cli.layers.tensors import (
    DropPath,
    Pointwise,
    at_least_float32,
    autocast_off,
    channels_first,
    channels_last,
    pointwise,
)
from restore_cli.models.ramit.config import expanded_channels

NORM_EPS = 1e-12  # floor of an L2 norm
MAX_LOGIT_SCALE = math.log(100.0)
START_LOGIT_SCALE = math.log(10.0)
NEGATIVE_SLOPE = 0.01
CHUNK_POSITIONS = 16_384  # float32 products summed over 32,767 positions or more are wrong on some Apple GPUs


def project(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Apply a 1x1 convolution's weight (out, in, 1, 1) to (N, H, W, in)."""
    # Not F.linear: on the CPU that fills its output with the bias first, a pass over memory more.
    return channels_last(pointwise(channels_first(x), weight, bias))


def cut_windows(x: Tensor, window_size: int, shift: int = 0) -> Tensor:
    """Cut (N, H, W, C) into windows (B, window_size, window_size, C).

    Before, the image is shifted cyclically by `-shift` in both axes. There is no mask, as in the original: windows at
    the border see the opposite border.
    """
    if shift:
        x = torch.roll(x, (-shift, -shift), (1, 2))
    return rearrange(x, "n (rows y) (columns x) c -> (n rows columns) y x c", y=window_size, x=window_size)


def merge_windows(windows: Tensor, height: int, width: int, shift: int = 0) -> Tensor:
    """Undo `cut_windows`: (B, window_size, window_size, C) to (N, height, width, C)."""
    rows, columns = height // windows.shape[1], width // windows.shape[2]
    x = rearrange(windows, "(n rows columns) y x c -> n (rows y) (columns x) c", rows=rows, columns=columns)
    return torch.roll(x, (shift, shift), (1, 2)) if shift else x


class ReshapeLayerNorm(nn.Module):
    """Normalise each position over its channels, (N, C, H, W) to the same shape in float32 or better."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W)."""
        with autocast_off(x):
            normalised: Tensor = self.norm(at_least_float32(channels_last(x)))
        return channels_first(normalised)


class QKVProjection(nn.Module):
    """Project C channels to queries, keys and values, laid out head after head as (h, 3, d)."""

    def __init__(self, dim: int, num_head: int, qkv_bias: bool = True) -> None:
        super().__init__()
        self.head_dim = dim // num_head
        self.qkv = Pointwise(dim, 3 * dim, bias=qkv_bias)

    def forward(self, x: Tensor) -> Tensor:
        """Project (N, C, H, W) to (N, 3C, H, W)."""
        projected: Tensor = self.qkv(x)
        return projected

    def parts(self, x: Tensor, heads: slice, parts: slice) -> Tensor:
        """Project (N, H, W, C) to some of the parts (query, key, value) of some heads: (N, H * W, parts, heads, d)."""
        weight = self.qkv.weight.view(-1, 3, self.head_dim, x.shape[-1])[heads, parts].transpose(0, 1)
        bias = None if self.qkv.bias is None else self.qkv.bias.view(-1, 3, self.head_dim)[heads, parts].transpose(0, 1)
        projected = project(x, weight.flatten(0, 2)[..., None, None], None if bias is None else bias.flatten())
        return projected.reshape(x.shape[0], -1, *weight.shape[:3])


class SpatialSelfAttention(nn.Module):
    """Attend by cosine over the tokens of each window, with a learned bias for each relative position."""

    relative_position_index: Tensor

    def __init__(self, head_dim: int, heads: int, window_size: int) -> None:
        super().__init__()
        self.window_size = window_size
        span = 2 * window_size - 1
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), START_LOGIT_SCALE))
        self.relative_position_bias_table = nn.Parameter(torch.empty(span * span, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        axis = torch.arange(window_size)
        token = torch.cartesian_prod(axis, axis)
        offset = token[:, None] - token[None] + window_size - 1  # (L, L, 2), query minus key
        self.register_buffer("relative_position_index", offset[..., 0] * span + offset[..., 1])
        self.proj = Pointwise(heads * head_dim, heads * head_dim)

    def position_bias(self) -> Tensor:
        """Return the bias of every query and key, (h1, L, L)."""
        tokens = self.relative_position_index.shape[0]
        bias = self.relative_position_bias_table[self.relative_position_index.flatten()]
        return bias.t().reshape(-1, tokens, tokens)

    def forward(self, qk: Tensor, v: Tensor, helper: Tensor | None = None) -> Tensor:
        """Attend within windows.

        Args:
            qk: Queries and keys, (B, L, 2, h1, d).
            v: Values, (B, L, h1, d).
            helper: (B, L, d) to weight every head's values with, or None.

        Returns:
            (B, window_size, window_size, h1 * d).
        """
        with autocast_off(qk):
            qk, v = at_least_float32(qk), at_least_float32(v)
            scale = self.logit_scale.clamp(max=MAX_LOGIT_SCALE).exp().flatten(1)
            scale = torch.stack((scale, torch.ones_like(scale)))  # (2, h1, 1), for the queries alone
            q, k = (qk * (scale / torch.linalg.vector_norm(qk, dim=-1, keepdim=True).clamp_min(NORM_EPS))).unbind(2)
            if helper is not None:
                v = v * helper[:, :, None]
            q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (B, h1, L, d)
            if torch.compiler.is_exporting():  # translations to .onnx neither know torch's own nor the layout it leaves
                out = torch.softmax(q @ k.transpose(2, 3) + self.position_bias(), -1) @ v
            else:
                out = F.scaled_dot_product_attention(q, k, v, attn_mask=self.position_bias()[None], scale=1.0)
        windows = out.transpose(1, 2).reshape(-1, self.window_size, self.window_size, self.proj.in_channels)
        return project(windows, self.proj.weight, self.proj.bias)


class ChannelSums(NamedTuple):
    """Hold what channel attention needs of an image, in float32 or better; sums of parts are the sums of the whole.

    Attributes:
        products: Queries times keys, (N, h2, d, d).
        q_squares: Squared queries, (N, h2, d).
        k_squares: Squared keys, (N, h2, d).
    """

    products: Tensor
    q_squares: Tensor
    k_squares: Tensor

    def plus(self, other: ChannelSums) -> ChannelSums:
        """Return the sums over the positions of both."""
        return ChannelSums(*(mine + others for mine, others in zip(self, other, strict=True)))


class ChannelSelfAttention(nn.Module):
    """Attend by cosine over the channels of a head, with statistics taken over the positions of the whole input."""

    def __init__(self, head_dim: int, heads: int) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), START_LOGIT_SCALE))
        self.proj = Pointwise(heads * head_dim, heads * head_dim)

    @staticmethod
    def sums(qk: Tensor) -> ChannelSums:
        """Sum over the positions of (N, P, 2, h2, d)."""
        with autocast_off(qk):
            qk = at_least_float32(qk)
            q, k = qk.transpose(1, 3).unbind(2)  # (N, h2, P, d)
            if torch.compiler.is_exporting():
                products = q.transpose(2, 3) @ k
                return ChannelSums(products, *qk.square().sum(1).unbind(1))
            starts = range(0, q.shape[2], CHUNK_POSITIONS)
            chunks = [slice(start, start + CHUNK_POSITIONS) for start in starts]
            products = torch.stack([q[:, :, chunk].transpose(2, 3) @ k[:, :, chunk] for chunk in chunks]).sum(0)
            return ChannelSums(products, *qk.square().sum(1).unbind(1))

    def matrix(self, sums: ChannelSums) -> Tensor:
        """Return the attention of every channel to every other of its head, (N, h2, d, d), rows summing to 1."""
        q_scale = sums.q_squares.clamp_min(NORM_EPS**2).rsqrt()
        k_scale = sums.k_squares.clamp_min(NORM_EPS**2).rsqrt()
        cosine = sums.products * q_scale[..., None] * k_scale[..., None, :]
        return (cosine * self.logit_scale.clamp(max=MAX_LOGIT_SCALE).exp()).softmax(-1)

    def apply_matrix(self, matrix: Tensor, v: Tensor) -> Tensor:
        """Mix the channels of v (N, P, h2, d) by `matrix` (N, h2, d, d) and project, as one product: (N, P, h2 * d)."""
        heads, d = matrix.shape[1:3]
        with autocast_off(v):
            weight = self.proj.weight.view(1, -1, heads, d).transpose(1, 2)  # (1, h2, h2 * d, d)
            mix = (weight @ matrix).transpose(1, 2).flatten(2)  # (N, h2 * d, h2 * d)
        return torch.baddbmm(cast("Tensor", self.proj.bias), v.flatten(2), mix.transpose(1, 2))

    def forward(self, qkv: Tensor, helper: Tensor | None = None) -> Tensor:
        """Attend over channels.

        Args:
            qkv: (N, P, 3, h2, d).
            helper: (N, P) to weight the values with, or None.

        Returns:
            (N, P, h2 * d).
        """
        qk, v = qkv.split_with_sizes((2, 1), 2)  # not slices, whose gradients are added up in full size
        matrix = self.matrix(self.sums(qk))
        v = v.squeeze(2)
        if helper is not None:
            v = v * helper[..., None, None]
        return self.apply_matrix(matrix, v)


class MobiVari1(nn.Module):
    """Mix neighbours, then channels: depthwise 3x3 and 1x1 convolutions with sums around them."""

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.dw_conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.pw_conv = Pointwise(dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, dim, H, W) to (N, out_dim, H, W)."""
        y = F.leaky_relu(self.dw_conv(x), NEGATIVE_SLOPE, inplace=True) + x
        z = F.leaky_relu(self.pw_conv(y), NEGATIVE_SLOPE, inplace=True)
        return z + x if z.shape == x.shape else z


class MobiVari2(nn.Module):
    """Expand the channels, mix neighbours, then project: the version with an inverted bottleneck."""

    def __init__(self, dim: int, out_dim: int, exp_factor: float, exp_groups: int) -> None:
        super().__init__()
        expanded = expanded_channels(dim, exp_factor, exp_groups)
        self.dw_conv = nn.Conv2d(expanded, expanded, 3, padding=1, groups=expanded)
        self.pw_conv = Pointwise(expanded, out_dim)
        self.exp_conv = nn.Conv2d(dim, expanded, 1, groups=exp_groups)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, dim, H, W) to (N, out_dim, H, W)."""
        e = F.leaky_relu(self.exp_conv(x), NEGATIVE_SLOPE, inplace=True)
        y = F.leaky_relu(self.dw_conv(e).add_(e), NEGATIVE_SLOPE, inplace=True)
        z: Tensor = self.pw_conv(y)
        return z.add_(x) if z.shape == x.shape else z


def mobivari(dim: int, out_dim: int, mv_ver: int, exp_factor: float, exp_groups: int) -> nn.Module:
    """Build MobiVari of either version; the first takes no expansion."""
    return MobiVari1(dim, out_dim) if mv_ver == 1 else MobiVari2(dim, out_dim, exp_factor, exp_groups)


class FeedForward(nn.Module):
    """Widen the channels, apply the exact GELU, narrow them again."""

    def __init__(self, dim: int, hidden_ratio: float) -> None:
        super().__init__()
        hidden = int(dim * hidden_ratio)
        self.hidden = Pointwise(dim, hidden)
        self.out = Pointwise(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        widened: Tensor = self.out(F.gelu(self.hidden(x)))
        return widened


class BlockOutput(NamedTuple):
    """Hold a block's outputs: features, spatial and channel attention (the next block's helpers), their mixture."""

    x: Tensor
    sp: Tensor
    ch: Tensor
    attn: Tensor


class DRAMiTransformer(nn.Module):
    """Attend over windows and over channels side by side, then mix: one D-RAMiT block (section 3.2).

    Args:
        dim: Channels C.
        num_head: Heads h.
        chsa_head_ratio: Share of heads that attend over channels.
        window_size: Side of a window.
        shift: Cyclic shift of the windows in both axes.
        qkv_bias: Bias of the projection to queries, keys and values.
        mv_ver: Version of MobiVari.
        hidden_ratio: Hidden channels of the feed-forward layer per channel.
        exp_factor: Expansion of MobiVari 2.
        exp_groups: Groups of its expanding convolution.
        helper: Use the helpers given to `forward`.
        drop_path: Rate of stochastic depth.
    """

    def __init__(
        self,
        dim: int,
        num_head: int = 4,
        chsa_head_ratio: float = 0.25,
        window_size: int = 8,
        shift: int = 0,
        *,
        qkv_bias: bool = True,
        mv_ver: int = 1,
        hidden_ratio: float = 2.0,
        exp_factor: float = 1.2,
        exp_groups: int = 4,
        helper: bool = True,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.window_size, self.shift, self.helper = window_size, shift, helper
        self.num_head, self.channel_heads = num_head, int(num_head * chsa_head_ratio)
        self.spatial_heads = num_head - self.channel_heads
        self.qkv_proj = QKVProjection(dim, num_head, qkv_bias)
        self.sp_attn = SpatialSelfAttention(dim // num_head, self.spatial_heads, window_size)
        self.ch_attn = ChannelSelfAttention(dim // num_head, self.channel_heads)
        self.mobivari = mobivari(dim, dim, mv_ver, exp_factor, exp_groups)
        self.norm1 = ReshapeLayerNorm(dim)
        self.ffn = FeedForward(dim, hidden_ratio)
        self.norm2 = ReshapeLayerNorm(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, sp: Tensor | None = None, ch: Tensor | None = None) -> BlockOutput:
        """Run the block.

        Args:
            x: (N, C, H, W), H and W multiples of the window.
            sp: Spatial attention of the block before, (N, h1 * d, H, W), or None.
            ch: Channel attention of the block before, (N, h2 * d, H, W), or None.

        Returns:
            Features (N, C, H, W), spatial (N, h1 * d, H, W) and channel attention (N, h2 * d, H, W), and their
            mixture (N, C, H, W).
        """
        spatial = self.attend_space(channels_last(x), ch)
        channel = self.attend_channels(channels_last(x), sp)
        both = channels_first(torch.cat((spatial, channel), -1))
        mixed = self.mobivari(both)
        x = self.drop_path(self.norm1(mixed)).add_(x)
        x = self.drop_path(self.norm2(self.ffn(x))).add_(x)
        return BlockOutput(x, channels_first(spatial), channels_first(channel), mixed)

    def attend_space(self, x: Tensor, ch: Tensor | None) -> Tensor:
        """Attend (N, H, W, C) within shifted windows, (N, H, W, h1 * d); `ch` as in `forward`."""
        helper = None
        if self.helper and ch is not None:
            mean = channels_last(at_least_float32(ch)).reshape(*x.shape[:3], self.channel_heads, -1).mean(3)
            helper = cut_windows(mean, self.window_size, self.shift).flatten(1, 2)
        windows = cut_windows(x, self.window_size, self.shift)
        heads = slice(self.spatial_heads)
        # Two products, so that what is normalised lies together: on the CPU half the time of a strided pass.
        qk = self.qkv_proj.parts(windows, heads, slice(2))
        v = self.qkv_proj.parts(windows, heads, slice(2, 3)).squeeze(2)
        return merge_windows(self.sp_attn(qk, v, helper), x.shape[1], x.shape[2], self.shift)

    def attend_channels(self, x: Tensor, sp: Tensor | None) -> Tensor:
        """Attend (N, H, W, C) over channels, (N, H, W, h2 * d); `sp` as in `forward`."""
        helper = at_least_float32(sp).mean(1).flatten(1) if self.helper and sp is not None else None
        qkv = self.qkv_proj.parts(x, slice(self.spatial_heads, None), slice(3))
        channel: Tensor = self.ch_attn(qkv, helper)
        return channel.view(*x.shape[:3], -1)

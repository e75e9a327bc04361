"""The transformer block of Restormer: attention over channels (MDTA), then a gated feed-forward layer (GDFN).

Stage 5, RUN; `network` builds the network of them and states the paper, the origin and the licence. Section 3.1 of
the paper is MDTA, 3.2 GDFN. This is the plain form, which autograd, compilers and autocast take; `passes`
has the other, for inference in bands. Channel attention is three steps: sums over positions (additive over the parts
of an image), the c x c matrix of each head made of them, and its application, so that a runner may choose where the
sums come from. The matrix and `project_out` are applied as one C x C product, which is exact.

Letters: N batch, C channels, H W feature size, P = H * W positions, h heads, c = C / h channels a head, K hidden width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)

from restore_cli.layers.tensors import at_least_float32, autocast_off, channels_first, channels_last

NORM_EPS = 1e-12  # floor of an L2 norm
CHUNK_POSITIONS = 16_384  # float32 products summed over 32,767 positions or more are wrong on some Apple GPUs


class ChannelNorm(nn.Module):
    """Normalise each position over its channels, with a bias, or ("BiasFree") without one and keeping the mean."""

    def __init__(self, dim: int, *, with_bias: bool) -> None:
        super().__init__()
        self.body = nn.LayerNorm(dim, bias=with_bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (..., C) to the same shape, in float32 or better."""
        body = self.body
        with autocast_off(x):
            x = at_least_float32(x)
            if body.bias is not None:
                normalised: Tensor = body(x)
                return normalised
            centred, mean, scale = torch.native_layer_norm(x, body.normalized_shape, body.weight, None, body.eps)
            return torch.addcmul(centred, mean * scale, body.weight)


class ChannelSums(NamedTuple):
    """Hold what channel attention needs of an image, in float32 or better; sums of parts are the sums of the whole.

    Attributes:
        products: Queries times keys, (N, h, c, c).
        q_squares: Squared queries, (N, h, c).
        k_squares: Squared keys, (N, h, c).
    """

    products: Tensor
    q_squares: Tensor
    k_squares: Tensor

    def plus(self, other: ChannelSums) -> ChannelSums:
        """Return the sums over the positions of both."""
        return ChannelSums(*(mine + others for mine, others in zip(self, other, strict=True)))


class TransposedAttention(nn.Module):
    """Attend by cosine over the channels of each head, with statistics over all positions (MDTA).

    Args:
        dim: Channels C.
        heads: Heads h.
        bias: Bias of the convolutions.
    """

    def __init__(self, dim: int, heads: int, *, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(dim, 3 * dim, 1, bias=bias)
        self.qkv_dwconv = nn.Conv2d(3 * dim, 3 * dim, 3, padding=1, groups=3 * dim, bias=bias)
        self.project_out = nn.Conv2d(dim, dim, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Attend over (N, C, H, W), the same shape out."""
        n, channels, height, width = x.shape
        qkv = channels_last(self.qkv_dwconv(self.qkv(x))).reshape(n, height * width, 3, self.heads, -1)
        q, k, v = qkv.unbind(2)
        mixed = self.apply_matrix(self.matrix(self.sums(q, k)), v)
        return channels_first(mixed.view(n, height, width, channels))

    @staticmethod
    def sums(q: Tensor, k: Tensor) -> ChannelSums:
        """Sum over the positions of queries and keys, (N, P, h, c) each."""
        with autocast_off(q):
            q, k = at_least_float32(q).transpose(1, 2), at_least_float32(k).transpose(1, 2)  # (N, h, P, c)
            if torch.compiler.is_exporting():
                products = q.transpose(2, 3) @ k
                return ChannelSums(products, q.square().sum(2), k.square().sum(2))
            starts = range(0, q.shape[2], CHUNK_POSITIONS)
            chunks = [slice(start, start + CHUNK_POSITIONS) for start in starts]
            products = torch.stack([q[:, :, chunk].transpose(2, 3) @ k[:, :, chunk] for chunk in chunks]).sum(0)
            return ChannelSums(products, q.square().sum(2), k.square().sum(2))

    def matrix(self, sums: ChannelSums) -> Tensor:
        """Return the attention of every channel to every other of its head, (N, h, c, c), rows summing to 1."""
        q_scale = sums.q_squares.clamp_min(NORM_EPS**2).rsqrt()
        k_scale = sums.k_squares.clamp_min(NORM_EPS**2).rsqrt()
        cosine = sums.products * q_scale[..., None] * k_scale[..., None, :]
        return (cosine * self.temperature).softmax(-1)

    def mix(self, matrix: Tensor) -> Tensor:
        """Return `matrix` (N, h, c, c) with the projection behind it as one product, (N, C in, C out)."""
        heads, c = matrix.shape[1:3]
        weight = self.project_out.weight.view(1, -1, heads, c).transpose(1, 2)  # (1, h, C, c)
        return (weight @ matrix).transpose(2, 3).flatten(1, 2)

    def apply_matrix(self, matrix: Tensor, v: Tensor) -> Tensor:
        """Mix the channels of v (N, P, h, c) by `matrix` (N, h, c, c) and project: (N, P, C)."""
        with autocast_off(v):
            mix = self.mix(matrix)
        if self.project_out.bias is None:
            return v.flatten(2) @ mix
        return torch.baddbmm(self.project_out.bias, v.flatten(2), mix)


class GatedFeedForward(nn.Module):
    """Widen the channels, mix neighbours, let one half gate the other through the exact GELU, narrow again (GDFN).

    Args:
        dim: Channels C.
        hidden: Hidden width K of each half.
        bias: Bias of the convolutions.
    """

    def __init__(self, dim: int, hidden: int, *, bias: bool) -> None:
        super().__init__()
        self.project_in = nn.Conv2d(dim, 2 * hidden, 1, bias=bias)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=bias)
        self.project_out = nn.Conv2d(hidden, dim, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        gate, gated = self.dwconv(self.project_in(x)).chunk(2, 1)
        narrowed: Tensor = self.project_out(F.gelu(gate) * gated)
        return narrowed


class Block(nn.Module):
    """Attend over channels, then feed forward, each on normalised features and added to them.

    Args:
        dim: Channels C.
        heads: Heads of the attention.
        hidden: Hidden width of the feed-forward layer.
        bias: Bias of the convolutions.
        norm_bias: Whether the norms have a bias ("WithBias").
    """

    def __init__(self, dim: int, *, heads: int, hidden: int, bias: bool, norm_bias: bool) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(dim, with_bias=norm_bias)
        self.attn = TransposedAttention(dim, heads, bias=bias)
        self.norm2 = ChannelNorm(dim, with_bias=norm_bias)
        self.ffn = GatedFeedForward(dim, hidden, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block on (N, C, H, W), the same shape out."""
        x = x + self.attn(channels_first(self.norm1(channels_last(x))))
        result: Tensor = x + self.ffn(channels_first(self.norm2(channels_last(x))))
        return result

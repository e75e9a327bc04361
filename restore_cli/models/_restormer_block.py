"""The transformer block of Restormer: attention over channels (MDTA), then a gated feed-forward layer (GDFN).

Stage 5, RUN; `restormer` builds the network of them and states the paper, the origin and the licence. Section 3.1 of
the paper is MDTA, 3.2 GDFN. How it is laid out, and why:
- A block has two forms that agree. `forward` is plain: autograd, compilers, GPUs and autocast take it. `add_` is for
  inference on the CPU: it adds both layers to its input in place, a band of rows at a time, so that the widest maps
  (over ten times the block's own channels) stay in the cache and never exist whole. Bands share no arithmetic: the two
  rows that the 3x3 convolutions of neighbouring bands have in common are kept, not computed again.
- Channel attention is three steps: sums over positions (additive over the parts of an image), the c x c matrix of each
  head made of them, and its application, so that a runner may choose where the sums come from. The matrix and
  `project_out` are applied as one C x C product, which is exact.
- Queries and keys are never normalised: their products and squares are summed as they are, and the sums scaled.
- Hidden widths such as 255 are filled up with zeros to whole vectors in `add_`; GELU(0) * 0 stays 0.

Letters: N batch, C channels, H W feature size, P = H * W positions, h heads, c = C / h channels a head, K hidden width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)

from restore_cli.models._tensors import at_least_float32, autocast_off, channels_first, channels_last

NORM_EPS = 1e-12  # floor of an L2 norm
CHUNK_POSITIONS = 16_384  # float32 products summed over 32,767 positions or more are wrong on some Apple GPUs
BAND_BYTES = 16 << 20  # of one part's map in a band: from 4 to 32 MiB the time falls by a tenth, the memory rises
VECTOR = 16  # float32 numbers of the widest CPU registers


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

    def add_(self, x: Tensor, norm: ChannelNorm) -> None:
        """Add the attention over the normalised image to the image (H, W, C), in place and in bands."""
        channels = x.shape[2]
        taps = self.qkv_dwconv.weight.view(3, channels, 1, 3, 3)
        offsets = (None,) * 3 if self.qkv_dwconv.bias is None else self.qkv_dwconv.bias.view(3, channels).unbind()
        project = _projection(self.qkv.weight.view(3, channels, channels), self.qkv.bias)
        values = torch.empty_like(x)
        total: ChannelSums | None = None
        for rows, parts in bands(x, norm, project, width=channels, parts=3):
            q, k, v = (_depthwise(*part) for part in zip(parts, taps, offsets, strict=True))
            values[rows] = v
            sums = self.sums(*(part.view(1, -1, self.heads, channels // self.heads) for part in (q, k)))
            total = sums if total is None else total.plus(sums)
        mix = self.mix(self.matrix(cast("ChannelSums", total)))[0]
        x.view(-1, channels).addmm_(values.view(-1, channels), mix)
        if self.project_out.bias is not None:
            x += self.project_out.bias


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
        gate, carried = self.dwconv(self.project_in(x)).chunk(2, 1)
        narrowed: Tensor = self.project_out(F.gelu(gate) * carried)
        return narrowed

    def add_(self, x: Tensor, norm: ChannelNorm) -> None:
        """Add the layer's output for the normalised image to the image (H, W, C), in place and in bands."""
        width = -(-self.project_out.in_channels // VECTOR) * VECTOR
        taps = _filled(self.dwconv.weight.flatten(1), width).view(2, width, 1, 3, 3)
        offsets = (None,) * 2 if self.dwconv.bias is None else _filled(self.dwconv.bias[:, None], width)[..., 0]
        widening = _filled(self.project_in.weight[..., 0, 0], width)
        narrowing = F.pad(self.project_out.weight[..., 0, 0], (0, width - self.project_out.in_channels)).t()
        start = None if self.project_in.bias is None else _filled(self.project_in.bias[:, None], width).flatten()
        for rows, parts in bands(x, norm, _projection(widening, start), width=width, parts=2):
            gate, carried = (_depthwise(*part) for part in zip(parts, taps, offsets, strict=True))
            gated = F.gelu(gate).mul_(carried)
            image = x[rows].view(-1, x.shape[2])
            image.addmm_(gated.view(-1, width), narrowing)
            if self.project_out.bias is not None:
                image += self.project_out.bias


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

    def add_(self, x: Tensor) -> None:
        """Run the block on (N, C, H, W) in channels-last memory, in place; without gradients."""
        for image in channels_last(x):
            self.attn.add_(image, self.norm1)
            self.ffn.add_(image, self.norm2)


Projection = Callable[[Tensor, int, Tensor], Tensor]


def bands(
    x: Tensor, norm: ChannelNorm, project: Projection, *, width: int, parts: int
) -> Iterator[tuple[slice, Tensor]]:
    """Yield an image's projection band by band, from the top, each with a row more above and below.

    The band's rows of `x` may be written to before the next is asked for.

    Args:
        x: The image, (H, W, C).
        norm: Applied to it first.
        project: Takes normalised positions (P, C) and a part's number, fills and returns (P, width).
        width: Channels of a part.
        parts: How many parts the projection has.

    Yields:
        The rows of the image, and (parts, rows + 2, W, width), zeros beyond the image.
    """
    height, columns, channels = x.shape
    step = min(height, max(2, BAND_BYTES // (columns * width * x.element_size())))
    window = x.new_empty(parts, step + 2, columns, width)
    window[:, 0] = 0
    done = 0
    for top in range(0, height, step):
        bottom = min(top + step, height)
        end = min(bottom + 1, height)
        first = top - 1  # the image's row that lies in the window's row 0
        normalised = norm(x[done:end]).view(-1, channels)
        for part in range(parts):
            project(normalised, part, window[part, done - first : end - first].view(-1, width))
        if bottom == height:
            window[:, bottom - first] = 0
        yield slice(top, bottom), window[:, : bottom - top + 2]
        if bottom < height:
            window[:, :2] = window[:, step : step + 2]
        done = end


def _projection(weight: Tensor, bias: Tensor | None) -> Projection:
    """Return a 1x1 convolution of several parts, (parts, out, in) and (parts * out)."""
    if bias is None:
        return lambda x, part, out: torch.mm(x, weight[part].t(), out=out)
    start = bias.view(len(weight), -1)
    return lambda x, part, out: torch.addmm(start[part], x, weight[part].t(), out=out)


def _depthwise(window: Tensor, taps: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve (rows + 2, W, K) with a 3x3 filter a channel, (K, 1, 3, 3): (rows, W, K)."""
    # The batch dimension comes first, then the view: with other strides of it oneDNN takes eight times as long.
    x = window[None].permute(0, 3, 1, 2)
    return channels_last(F.conv2d(x, taps, bias, padding=(0, 1), groups=len(taps)))[0]


def _filled(weight: Tensor, width: int) -> Tensor:
    """Cut (2K, M) into its halves and fill each up with rows of zeros: (2, width, M)."""
    halves = weight.view(2, -1, weight.shape[1])
    return F.pad(halves, (0, 0, 0, width - halves.shape[1]))

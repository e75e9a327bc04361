"""Products with a layer's weights over a band: of each position by itself, and of each with its neighbours.

Stage 5, RUN. On the CPU through oneDNN where torch reaches it: bias and GELU then cost no pass of their own, and a
position's result does not depend on how many threads share the work, as torch's own GELU does in its last bits.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)

from restore_cli.layers.tensors import channels_first, channels_last

# Rows of a strip that `pointwise` makes a sample of: of 1, 4, 8, 16 and 32 the fastest, forward and backward.
_STRIP_ROWS = 8
# Numbers that torch gives a thread at least; of fewer in all one thread takes them.
_GRAIN = 1 << 15


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, *, gelu: bool = False) -> Tensor:
    """Multiply the channels of every position.

    Args:
        x: (..., in), contiguous; rounded to the weight's dtype.
        weight: (out, in), contiguous.
        bias: (out,) or None.
        gelu: Apply the exact GELU to the result.

    Returns:
        (..., out) in the weight's dtype.
    """
    x = x.to(weight.dtype)
    if not _reaches_onednn(x):
        result = F.linear(x, weight, bias)
        return F.gelu(result) if gelu else result
    flat = x.view(-1, x.shape[-1])
    name, algorithm = ("gelu", "none") if gelu else ("none", "")
    product: Tensor = torch.ops.mkldnn._linear_pointwise(flat, weight, bias, name, [], algorithm)
    return product.view(*x.shape[:-1], weight.shape[0])


class Pointwise(nn.Conv2d):
    """A 1x1 convolution, quick to differentiate (see `pointwise`).

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        bias: Whether it has one.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in, H, W) to (N, out, H, W)."""
        return pointwise(x, self.weight, self.bias)


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve (N, in, H, W), channels last in memory, with 1x1 filters (out, in, 1, 1): (N, out, H, W).

    On one thread torch gives batches of fewer than 16 samples to an algorithm of its own, which copies them into
    another layout; where gradients are wanted, strips of rows go to oneDNN as samples instead.
    """
    count, channels, height, width = x.shape
    if x.device.type != "cpu" or not torch.is_grad_enabled():
        return F.conv2d(x, weight, bias)
    strips = channels_last(x).reshape(-1, math.gcd(height, _STRIP_ROWS), width, channels)
    result = channels_last(F.conv2d(channels_first(strips), weight, bias))
    return channels_first(result.reshape(count, height, width, -1))


def depthwise3x3(x: Tensor, taps: Tensor, bias: Tensor | None, *, gelu: bool = False) -> Tensor:
    """Convolve every channel with a 3x3 filter of its own, with zeros left and right, none above and below.

    Args:
        x: (R + 2, W, channels), contiguous.
        taps: (channels, 1, 3, 3).
        bias: (channels,) or None.
        gelu: Apply the exact GELU to the result.

    Returns:
        (R, W, channels).
    """
    # The batch dimension comes first, then the view: with other strides of it oneDNN takes eight times as long.
    image = channels_first(x[None])
    if gelu and _reaches_onednn(x):
        ones = [1, 1]
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(
            image, taps, bias, [0, 1], ones, ones, len(taps), "gelu", [], "none"
        )
    else:
        result = F.conv2d(image, taps, bias, padding=(0, 1), groups=len(taps))
        result = F.gelu(result) if gelu else result
    return channels_last(result)[0]


def exp2_(x: Tensor) -> Tensor:
    """Raise two to every number of a contiguous tensor, in place and to the same bits on any number of threads.

    Of all of torch's exponential functions the quickest on the CPU.
    """
    if x.device.type != "cpu":
        return x.exp2_()
    for part in _whole_vectors(x.view(-1)):
        part.exp2_()
    return x


def silu(x: Tensor) -> Tensor:
    """Apply SiLU: in place, to the same bits on any number of threads, on the CPU where nobody differentiates.

    Args:
        x: Dense in any order of its dimensions; needed by nobody else.
    """
    if x.device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return F.silu(x)
    for part in _whole_vectors(torch.as_strided(x, (x.numel(),), (1,))):
        F.silu(part, inplace=True)
    return x


def _whole_vectors(flat: Tensor) -> tuple[Tensor, ...]:
    """Cut (P,) into parts that torch's threads share where vectors end.

    Torch rounds the last numbers of each thread's part, where they fill no vector, otherwise than all the others.
    """
    threads = torch.get_num_threads()
    shared = len(flat) // (threads * _GRAIN) * threads * _GRAIN
    return (flat[:shared], *torch.split(flat[shared:], _GRAIN))


def _reaches_onednn(x: Tensor) -> bool:
    """Return whether torch's private ways to oneDNN are there and take such a tensor."""
    return x.device.type == "cpu" and _has_onednn(x.dtype)


@cache
def _has_onednn(dtype: torch.dtype) -> bool:
    names = ("_linear_pointwise", "_convolution_pointwise", "_is_mkldnn_bf16_supported")
    if not torch._C._has_mkldnn or not all(hasattr(torch.ops.mkldnn, name) for name in names):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))

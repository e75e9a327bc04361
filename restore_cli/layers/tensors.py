"""What networks do to tensors: check what comes in, keep float32, order channels, multiply, hold large maps.

Stage 5, RUN. The networks never import each other; this is below all of them.

Products with a layer's weights go through oneDNN on the CPU, where torch reaches it: bias and GELU then cost no pass of
their own, and a position's result does not depend on how many threads share the work, as torch's own GELU does in its
last bits.

The kernel hands out a map of hundreds of megabytes in pages of 4 KiB, each fetched when it is first touched: 0.4 faults
for each input pixel of RAMiT at 3.7 Mpixel. In pages of 2 MiB there are a few thousand in all.

Letters: N batch, C channels, H W feature size.
"""

from __future__ import annotations

import ctypes
import math
import mmap
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)

# Below this a map is no larger than what bands leave behind, in memory that is touched already.
_LEAST_MAP_BYTES = 16 << 20
# Rows of a strip that `pointwise` makes a sample of: of 1, 4, 8, 16 and 32 the fastest, forward and backward.
_STRIP_ROWS = 8
# Numbers that torch gives a thread at least; of fewer in all one thread takes them.
_GRAIN = 1 << 15


class DropPath(nn.Module):
    """Drop whole samples of a residual branch while training and rescale the others (stochastic depth)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, in training with each sample zeroed with probability `rate`."""
        if not self.training or self.rate == 0.0:
            return x
        kept = x.new_full((x.shape[0], *[1] * (x.ndim - 1)), 1.0 - self.rate).bernoulli()
        return x * (kept / (1.0 - self.rate))


def require_images(x: Tensor, network: str, channels: int, multiple_of: int = 1) -> None:
    """Refuse what is no batch of images that a network takes, (N, channels, H, W).

    Args:
        x: What came in.
        network: Its name, for the message.
        channels: Those of its images.
        multiple_of: What its images' height and width are multiples of.

    Raises:
        ValueError: If the channels or the size do not fit, or there are no pixels.
    """
    if x.ndim != 4 or x.shape[1] != channels or x.shape[2] % multiple_of or x.shape[3] % multiple_of or 0 in x.shape:
        sizes = "" if multiple_of == 1 else f" with H and W multiples of {multiple_of}"
        msg = f"{network} takes (N, {channels}, H, W){sizes}, not {tuple(x.shape)}"
        raise ValueError(msg)


def at_least_float32(x: Tensor) -> Tensor:
    """Return `x` in float32, or in its own type where that is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def autocast_off(x: Tensor) -> AbstractContextManager[object]:
    """Return a context in which operations on `x` keep its type."""
    # The meta device, on which costs are counted, has no autocast that could be on. An exported program has its types
    # from the trace, and for each context torch.export builds the graph anew: for RAMiT-1 that took minutes.
    is_typed = x.is_meta or torch.compiler.is_exporting()
    return nullcontext() if is_typed else torch.autocast(x.device.type, enabled=False)


def product_type(x: Tensor) -> torch.dtype:
    """Return the type that products on `x` are to have: autocast's where it is on."""
    if x.is_meta or not torch.is_autocast_enabled(x.device.type):
        return x.dtype
    return torch.get_autocast_dtype(x.device.type)


def channels_last(x: Tensor) -> Tensor:
    """Return (N, C, H, W) as (N, H, W, C), a view."""
    return x.permute(0, 2, 3, 1)


def cat_channels(parts: Sequence[Tensor]) -> Tensor:
    """Join (N, C, H, W) along the channels: where these come last in memory, in a third of torch's time for it."""
    if all(part.is_contiguous(memory_format=torch.channels_last) for part in parts):
        return torch.cat([channels_last(part) for part in parts], -1).permute(0, 3, 1, 2)
    return torch.cat(list(parts), 1)


def channels_first(x: Tensor) -> Tensor:
    """Return (N, H, W, C) as (N, C, H, W): a view, or a copy on Apple GPUs, whose convolutions err on such views."""
    x = x.permute(0, 3, 1, 2)
    return x.contiguous() if x.is_mps else x


def new_map(like: Tensor, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
    """Return an uninitialised tensor on the device of `like`, for a map that lives as long as a stage.

    Args:
        like: Gives device and, where none is named, dtype.
        shape: Of the map.
        dtype: Of the map.
    """
    tensor = like.new_empty(shape, dtype=dtype)
    if tensor.device.type == "cpu" and tensor.nbytes >= _LEAST_MAP_BYTES:
        prefer_large_pages(tensor.data_ptr(), tensor.nbytes)
    return tensor


def prefer_large_pages(address: int, length: int) -> None:
    """Ask for large pages in a range of memory; a setting, so no answer matters."""
    madvise = _madvise()
    first = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    whole = (address + length - first) // mmap.PAGESIZE * mmap.PAGESIZE
    if madvise is not None and whole > 0:
        madvise(ctypes.c_void_p(first), ctypes.c_size_t(whole), mmap.MADV_HUGEPAGE)


@cache
def _madvise() -> Any:
    """Return the system's madvise, None where it knows no large pages (anywhere but Linux)."""
    return getattr(ctypes.CDLL(None), "madvise", None) if hasattr(mmap, "MADV_HUGEPAGE") else None


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

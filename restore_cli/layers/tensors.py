"""What networks do to tensors: check what comes in, keep float32, order channels, drop paths, hold large maps.

Stage 5, RUN. The networks never import each other; this is below all of them.

The kernel hands out a map of hundreds of megabytes in pages of 4 KiB, each fetched when it is first touched: 0.4 faults
for each input pixel of RAMiT at 3.7 Mpixel. In pages of 2 MiB there are a few thousand in all.

Letters: N batch, C channels, H W feature size.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

# Below this a map is no larger than what bands leave behind, in memory that is touched already.
_LEAST_MAP_BYTES = 16 << 20


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

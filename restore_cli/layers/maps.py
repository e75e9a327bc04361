"""Feature maps of whole images, in large pages where the system has them.

Stage 5, RUN. The kernel hands out a map of hundreds of megabytes in pages of 4 KiB, each fetched when it is first
touched: 0.4 faults for each input pixel of RAMiT at 3.7 Mpixel, and as many addresses for the processor to look up. In
pages of 2 MiB there are a few thousand in all.
"""

from __future__ import annotations

import ctypes
import mmap
from functools import cache
from typing import Any

import torch
from torch import Tensor

# Below this a map is no larger than what bands leave behind, in memory that is touched already.
_LEAST_BYTES = 16 << 20


def new_map(like: Tensor, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
    """Return an uninitialised tensor on the device of `like`, for a map that lives as long as a stage.

    Args:
        like: Gives device and, where none is named, dtype.
        shape: Of the map.
        dtype: Of the map.
    """
    tensor = like.new_empty(shape, dtype=dtype)
    if tensor.device.type == "cpu" and tensor.nbytes >= _LEAST_BYTES:
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

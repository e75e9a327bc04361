"""Keep freed memory in the process instead of handing it back page by page.

Stage 5, RUN, on the CPU. A network allocates and frees feature maps of megabytes by the hundred. glibc gets each from
the kernel and gives it back, and the kernel clears every page each time: a quarter of the CPU time of RAMiT-1 x4 at
320x192 (4.87 s without, 3.82 s with this, one thread; peak memory 598 and 707 MB). The first gibibyte comes in pages of
2 MiB where the system has them, which takes another twentieth off.
"""

from __future__ import annotations

import ctypes
import sys

from restore_cli.layers.maps import prefer_large_pages

# Numbers of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_MOST_KEPT_BYTES = 2**31 - 1  # the parameter is a C int
_STEP_BYTES = 64 << 20
_LARGE_PAGES_BYTES = 1 << 30


def keep_freed_memory() -> bool:
    """Let malloc keep what is freed, up to 2 GiB, for the rest of the process; return whether it could be told to.

    For programs, which own their process; a library leaves its host's allocator alone. Does nothing but on Linux with
    glibc. Environment variables of the user (MALLOC_MMAP_MAX_ and others) are overridden.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    mallopt = getattr(libc, "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_MMAP_MAX, 0), (_ARENA_MAX, 1), (_TRIM_THRESHOLD, _MOST_KEPT_BYTES), (_TOP_PAD, _STEP_BYTES))
    # glibc answers 1 for yes; musl has no mallopt, others may know only some of the parameters.
    if not all(mallopt(parameter, value) == 1 for parameter, value in settings):
        return False
    # Taken and given back, so that the heap has grown over it: addresses alone, no memory before it is touched.
    libc.malloc.restype = ctypes.c_void_p
    address = libc.malloc(ctypes.c_size_t(_LARGE_PAGES_BYTES))
    if address is not None:
        prefer_large_pages(address, _LARGE_PAGES_BYTES)
        libc.free(ctypes.c_void_p(address))
    return True

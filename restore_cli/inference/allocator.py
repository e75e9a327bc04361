"""Keep freed memory in the process instead of handing it back page by page.

Stage 5, RUN, on the CPU. A network allocates and frees feature maps of megabytes by the hundred. glibc gets each from
the kernel and gives it back, and the kernel clears every page each time: a quarter of the CPU time of RAMiT-1 x4 at
320x192 (4.87 s without, 3.82 s with this, one thread; peak memory 598 and 707 MB).
"""

from __future__ import annotations

import ctypes
import sys

# Numbers of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_MOST_KEPT_BYTES = 2**31 - 1  # the parameter is a C int
_STEP_BYTES = 64 << 20


def keep_freed_memory() -> bool:
    """Let malloc keep what is freed, up to 2 GiB, for the rest of the process; return whether it could be told to.

    For programs, which own their process; a library leaves its host's allocator alone. Does nothing but on Linux with
    glibc. Environment variables of the user (MALLOC_MMAP_MAX_ and others) are overridden.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_MMAP_MAX, 0), (_ARENA_MAX, 1), (_TRIM_THRESHOLD, _MOST_KEPT_BYTES), (_TOP_PAD, _STEP_BYTES))
    # glibc answers 1 for yes; musl has no mallopt, others may know only some of the parameters.
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)

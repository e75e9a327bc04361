"""How much memory there is, how much of it an image may take, and how freed memory is kept.

Stage 5, RUN. The machine's free memory is not what a process may have: containers set limits of their own, and what
they do not forbid they kill for. So the least of all limits counts, and of that only a part is planned with.

On the CPU freed memory stays in the process (`keep_freed_memory`). A network allocates and frees feature maps of
megabytes by the hundred. glibc gets each from the kernel and gives it back, and the kernel clears every page each time:
a quarter of the CPU time of RAMiT-1 x4 at 320x192 (4.87 s without, 3.82 s with this, one thread; peak memory 598 and
707 MB). The first gibibyte comes in pages of 2 MiB where the system has them, which takes another twentieth off.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from restore_cli.layers.maps import prefer_large_pages

GIB = 2**30

# The rest is left to the decoded and the encoded neighbours, and to everybody else on the machine.
_HOST_SHARE = 0.5
_HOST_MOST_BYTES = 4 * GIB
# In bands more memory changes no pixel and costs no time, and less would mean tiles, which do both.
_BANDS_HOST_SHARE = 0.6
_CUDA_SHARE = 0.8
# Nothing is known of free memory on such a system: what any machine that runs torch has.
_HOST_UNKNOWN_BYTES = 4 * GIB


def plan_budget(free_bytes: int, device_type: str, *, in_bands: bool = False) -> int:
    """Return the bytes a network's feature maps may take on a device ("cpu", "cuda", "mps").

    On the CPU half of what is free and at most 4 GiB, or six tenths of it for a whole image in bands; the result is
    rounded down to 2**k or 1.5 * 2**k bytes, so that a little more or less free memory gives the same tiles, and so the
    same pixels.
    """
    if device_type == "cuda":
        return _round_down(int(free_bytes * _CUDA_SHARE))
    if in_bands and device_type == "cpu":
        return _round_down(int(free_bytes * _BANDS_HOST_SHARE))
    budget = int(free_bytes * _HOST_SHARE)
    return _round_down(budget if device_type == "mps" else min(budget, _HOST_MOST_BYTES))


def host_free_memory(*, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes this process can still take from the machine: the least of all limits that apply.

    Args:
        proc: Where the kernel tells of the machine and of this process (Linux).
        cgroups: Where it tells of control groups, version 1 or 2 (Linux).
    """
    known = [*_available_by_kernel(proc), *_left_in_cgroups(proc, cgroups)] or [*_available_by_sysconf()]
    return min(known, default=_HOST_UNKNOWN_BYTES)


def _round_down(size: int) -> int:
    power = 1 << max(0, size.bit_length() - 1)
    return power + power // 2 if size >= power + power // 2 else power


def _available_by_kernel(proc: Path) -> Iterator[int]:
    for line in _lines(proc / "meminfo"):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _available_by_sysconf() -> Iterator[int]:
    names = getattr(os, "sysconf_names", {})
    if "SC_AVPHYS_PAGES" in names:
        yield os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    elif "SC_PHYS_PAGES" in names:  # macOS tells only what is built in; half of it is seldom taken
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _left_in_cgroups(proc: Path, cgroups: Path) -> Iterator[int]:
    """Yield what each control group above this process leaves it; groups without a limit yield nothing."""
    for line in _lines(proc / "self" / "cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, limit, usage, cached = cgroups, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit, usage = cgroups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cached = "total_inactive_file"
        else:
            continue
        group = root / path.lstrip("/")
        # A container may see its group's path from outside, where nothing lies; the root then is its own group.
        for folder in (group, *group.parents):
            most, used = _number(folder / limit), _number(folder / usage)
            if most is not None and used is not None:
                reclaimable = _statistic(folder / "memory.stat", cached)
                yield max(0, most - max(0, used - reclaimable))
            if folder == root:
                break


def _number(path: Path) -> int | None:
    text = "".join(_lines(path))
    return int(text) if text.isdecimal() else None  # "max" means no limit


def _statistic(path: Path, name: str) -> int:
    for line in _lines(path):
        key, _, value = line.partition(" ")
        if key == name and value.isdecimal():
            return int(value)
    return 0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


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

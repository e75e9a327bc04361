"""How much memory there is and how much of it an image may take.

Stage 5, RUN. The machine's free memory is not what a process may have: containers set limits of their own, and what
they do not forbid they kill for. So the least of all limits counts, and of that only a part is planned with.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

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

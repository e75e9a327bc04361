"""Peak memory of a piece of work, above what the loaded process held before it.

CUDA's allocator keeps a high-water mark of its own. On the CPU the kernel keeps one of the resident set: on Linux it is
reset before the work, so it misses no spike between two samples and costs the work nothing. Where it cannot be reset
(other systems, locked-down containers) the mark since the process began is taken, which is only right in a fresh
process: what loading touched and gave back hides as much of the work's peak. The report names the method for each row.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_HIGH_WATER_MARK = "5"  # proc(5): resets VmHWM to the present resident set


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Tell how much memory a piece of work needed.

    Attributes:
        loaded_bytes: Held before the work began (process, libraries, network, input; on a GPU the last two).
        peak_bytes: The highest it went.
        method: Where the numbers come from.
    """

    loaded_bytes: int
    peak_bytes: int
    method: str

    @property
    def above_loaded_bytes(self) -> int:
        """Return what the work itself needed."""
        return self.peak_bytes - self.loaded_bytes


def measure_peak(work: Callable[[], object], device: torch.device) -> Memory | None:
    """Do the work once and tell its peak, or None on a system that does not tell.

    The work must leave the device idle.
    """
    if device.type == "cuda":
        return _peak_of_cuda(work, device)
    if device.type == "mps":
        return _peak_of_mps(work)
    return _peak_of_resident_set(work)


def _peak_of_cuda(work: Callable[[], object], device: torch.device) -> Memory:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    loaded = torch.cuda.memory_allocated(device)
    work()
    return Memory(
        loaded_bytes=loaded,
        peak_bytes=torch.cuda.max_memory_allocated(device),
        method="CUDA allocator's high-water mark",
    )


def _peak_of_mps(work: Callable[[], object]) -> Memory:
    # Metal tells no peak, but its driver's pool gives nothing back before it is asked to.
    loaded = torch.mps.driver_allocated_memory()
    work()
    return Memory(
        loaded_bytes=loaded, peak_bytes=torch.mps.driver_allocated_memory(), method="Metal driver's pool after the run"
    )


def _peak_of_resident_set(work: Callable[[], object]) -> Memory | None:
    if _reset_high_water_mark():
        method = "resident set, high-water mark reset before the run"
        read_loaded, read_peak = _status_reader("VmRSS"), _status_reader("VmHWM")
    elif sys.platform != "win32":
        method = "resident set, high-water mark since the process began"
        read_loaded = read_peak = _high_water_mark_of_rusage
    else:
        return None
    loaded = read_loaded()
    work()
    # Threads keep counters of their own that are folded in late, so the mark may read a little below the start.
    return Memory(loaded_bytes=loaded, peak_bytes=max(loaded, read_peak()), method=method)


def _reset_high_water_mark() -> bool:
    try:
        _CLEAR_REFS.write_text(_RESET_HIGH_WATER_MARK, encoding="ascii")
    except OSError:
        return False
    return True


def _status_reader(field: str) -> Callable[[], int]:
    def read() -> int:
        for line in _STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024  # the kernel writes kB and means KiB
        msg = f"{_STATUS} has no {field}"
        raise OSError(msg)

    return read


def _high_water_mark_of_rusage() -> int:
    import resource  # POSIX only

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, KiB elsewhere

"""Which device and which precision, and the reason in words; and how much of its memory an image may take.

Stage 5, RUN. The only place that asks torch for devices, and only when called. A choice travels with its reason, so
that -v and `restore doctor` say why a graphics card stands idle.

The machine's free memory is not what a process may have: containers set limits of their own, and what they do not
forbid they kill for. So the least of all limits counts, and of that only a part is planned with.

On the CPU freed memory stays in the process (`keep_freed_memory`). A network allocates and frees feature maps of
megabytes by the hundred. glibc gets each from the kernel and gives it back, and the kernel clears every page each time:
a quarter of the CPU time of RAMiT-1 x4 at 320x192 (4.87 s without, 3.82 s with this, one thread; peak memory 598 and
707 MB). The first gibibyte comes in pages of 2 MiB where the system has them, which takes another twentieth off.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from restore_cli.errors import DeviceError, UsageError
from restore_cli.layers.tensors import prefer_large_pages
from restore_cli.settings import Share

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# What the errors of exhausted memory have in common; torch has one class for CUDA's and none for the others.
_OUT_OF_MEMORY_PHRASES = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "std::bad_alloc",
    "alloc_failed",
    "could not create a memory object",
)


@dataclass(frozen=True, kw_only=True)
class DeviceChoice:
    """A device and why it was chosen."""

    device: torch.device
    reason: str


@dataclass(frozen=True, kw_only=True)
class DtypeChoice:
    """A precision and why it was chosen; below float32 it means autocast, weights stay float32."""

    dtype: torch.dtype
    reason: str

    @property
    def name(self) -> str:
        """Return the dtype as `--dtype` writes it."""
        return str(self.dtype).removeprefix("torch.")


def choose_device(setting: str) -> DeviceChoice:
    """Return the device for a setting ("auto", "cpu", "cuda", "cuda:1", "mps").

    Raises:
        UsageError: If the setting names no kind of device known here.
        DeviceError: If the device is not there; what is there stands in the message.
    """
    if setting == "auto":
        return _best_device()
    kind, _, index = setting.partition(":")
    if kind not in {"cpu", "cuda", "mps"} or (":" in setting and not (kind == "cuda" and index.isdecimal())):
        msg = f"unknown device {setting!r}"
        raise UsageError(msg, hint="use auto, cpu, cuda, cuda:<number> or mps")
    if kind == "cuda":
        return _cuda_device(setting, int(index or 0))
    if kind == "mps" and not torch.backends.mps.is_available():
        msg = f"device mps is not available; available: {', '.join(available_devices())}"
        raise DeviceError(msg, hint="use --device auto")
    return DeviceChoice(device=torch.device(kind), reason="asked for")


def available_devices() -> tuple[str, ...]:
    """Return the names `choose_device` takes on this machine, best first."""
    cuda = tuple(f"cuda:{index}" for index in range(torch.cuda.device_count())) if torch.cuda.is_available() else ()
    mps = ("mps",) if torch.backends.mps.is_available() else ()
    return (*cuda, *mps, "cpu")


def choose_dtype(setting: str, device: torch.device, measured_good: tuple[str, ...]) -> DtypeChoice:
    """Return the precision for a setting ("auto", "float32", "bfloat16", "float16").

    Args:
        setting: What the user asked for.
        device: Where the network runs.
        measured_good: Names of the dtypes the architecture was measured to be good in.

    Raises:
        UsageError: If the setting names no dtype known here.
    """
    if setting != "auto":
        if setting not in _DTYPES:
            msg = f"unknown dtype {setting!r}"
            raise UsageError(msg, hint=f"use auto, {', '.join(_DTYPES)}")
        reason = (
            "asked for" if setting in measured_good else "asked for, though not measured to be good for this network"
        )
        return DtypeChoice(dtype=_DTYPES[setting], reason=reason)
    if device.type != "cuda":
        reason = f"exact, and the rule on {device.type}"
        if "bfloat16" in measured_good and device.type == "cpu" and _is_bfloat16_fast():
            reason += "; bfloat16 is faster here and was measured to be good for this network"
        return DtypeChoice(dtype=torch.float32, reason=reason)
    if "bfloat16" not in measured_good:
        return DtypeChoice(dtype=torch.float32, reason="bfloat16 was not measured to be good for this network")
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        return DtypeChoice(dtype=torch.float32, reason=f"{device} has no bfloat16")
    return DtypeChoice(dtype=torch.bfloat16, reason="measured to be good for this network, and fast here")


def free_memory(device: torch.device, share: Share | None = None) -> int:
    """Return the bytes that can be had on a device now; on the CPU what the machine and its limits leave us.

    Args:
        device: Which.
        share: What of the machine is ours; None for all that is free.
    """
    part = 1.0 if share is None else share.device
    if device.type == "cuda":
        unused_in_pool = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free, total = torch.cuda.mem_get_info(device)
        return min(int(free) + unused_in_pool, int(total * part))
    if device.type == "mps":
        most = int(torch.mps.recommended_max_memory() * part)
        return max(0, most - torch.mps.driver_allocated_memory())
    return host_free_memory() if share is None else min(host_free_memory(), share.memory)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on whichever device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error).lower() for phrase in _OUT_OF_MEMORY_PHRASES)


def release_memory(device: torch.device) -> None:
    """Give back what torch keeps for later on a device, and what only cycles still hold."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def keep_float32_exact(device: torch.device) -> None:
    """Turn TF32 off, which torch allows in convolutions by default: float32 is to mean float32."""
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False


def _best_device() -> DeviceChoice:
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name(0)
        return DeviceChoice(device=torch.device("cuda:0"), reason=f"the first CUDA device, {name}")
    if torch.backends.mps.is_available():
        return DeviceChoice(device=torch.device("mps"), reason="Apple's GPU; there is no CUDA device")
    if torch.version.cuda is None and torch.version.hip is None:
        return DeviceChoice(
            device=torch.device("cpu"), reason=f"torch {torch.__version__} is built without CUDA, no MPS"
        )
    return DeviceChoice(device=torch.device("cpu"), reason="torch finds no CUDA device (no card, or no driver), no MPS")


def _is_bfloat16_fast() -> bool:
    """Return whether the CPU multiplies in bfloat16 itself; elsewhere it is emulated, and slower than float32."""
    return any(getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))


def _cuda_device(setting: str, index: int) -> DeviceChoice:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= count:
        msg = f"device {setting} is not available; available: {', '.join(available_devices())}"
        raise DeviceError(msg, hint="use --device auto")
    return DeviceChoice(device=torch.device(f"cuda:{index}"), reason=f"asked for, {torch.cuda.get_device_name(index)}")


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

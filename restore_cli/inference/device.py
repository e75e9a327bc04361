"""Which device and which precision, and the reason in words.

Stage 5, RUN. The only place that asks torch for devices, and only when called. A choice travels with its reason, so
that -v and `restore doctor` say why a graphics card stands idle.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass

import torch

from restore_cli.errors import DeviceError, UsageError
from restore_cli.inference.memory import host_free_memory
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
        raise UsageError(msg, hint="take auto, cpu, cuda, cuda:<number> or mps")
    if kind == "cuda":
        return _cuda_device(setting, int(index or 0))
    if kind == "mps" and not torch.backends.mps.is_available():
        msg = f"device mps is not there; there is {', '.join(available_devices())}"
        raise DeviceError(msg, hint="take --device auto")
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
            raise UsageError(msg, hint=f"take auto, {', '.join(_DTYPES)}")
        reason = (
            "asked for" if setting in measured_good else "asked for, though not measured to be good for this network"
        )
        return DtypeChoice(dtype=_DTYPES[setting], reason=reason)
    if device.type != "cuda":
        return DtypeChoice(dtype=torch.float32, reason=f"exact, and the rule on {device.type}")
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


def _cuda_device(setting: str, index: int) -> DeviceChoice:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= count:
        msg = f"device {setting} is not there; there is {', '.join(available_devices())}"
        raise DeviceError(msg, hint="take --device auto")
    return DeviceChoice(device=torch.device(f"cuda:{index}"), reason=f"asked for, {torch.cuda.get_device_name(index)}")

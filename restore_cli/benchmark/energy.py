"""Energy of a piece of work, where the hardware counts it.

Processors of Intel and AMD count what a package draws (RAPL), which Linux shows under /sys/class/powercap, on most
systems to root alone; NVIDIA's cards since Volta count too and tell through the module pynvml, if it is installed. Both
count all that runs there, others' work and idling included: figures of a quiet machine only. Elsewhere nobody tells,
and the report says why.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

_POWERCAP = Path("/sys/class/powercap")
# Packages and not their parts (intel-rapl:0:0), which are counted in them; AMD's go by the same name.
_PACKAGES = "intel-rapl:[0-9]*"
_WHOLE_PLATFORM = "psys"  # counts the packages again


@dataclass(frozen=True, kw_only=True)
class Counter:
    """Count energy upward from some time in the past.

    Attributes:
        name: What it counts the energy of.
        read: Returns joules.
        wraps_at: Joules at which it begins anew, None for never.
    """

    name: str
    read: Callable[[], float]
    wraps_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class EnergyMeter:
    """Read all counters of a device together.

    Attributes:
        counters: None of them counts what another counts; empty where nobody tells.
        method: What is read, or why nothing is.
    """

    counters: tuple[Counter, ...]
    method: str

    def read(self) -> tuple[float, ...]:
        """Return where the counters stand now."""
        return tuple(counter.read() for counter in self.counters)

    def joules_since(self, earlier: tuple[float, ...]) -> float | None:
        """Return what was drawn since an earlier reading, None where nobody tells."""
        if not self.counters:
            return None
        spent = 0.0
        for counter, before, now in zip(self.counters, earlier, self.read(), strict=True):
            wrapped = now < before and counter.wraps_at is not None
            spent += now - before + (counter.wraps_at or 0.0 if wrapped else 0.0)
        return spent


def find_meter(device: torch.device, *, powercap: Path = _POWERCAP) -> EnergyMeter:
    """Find what tells the energy of a device.

    Args:
        device: Where the work runs.
        powercap: Where Linux shows the processor's counters.
    """
    if device.type == "cuda":
        return _meter_of_card(device)
    if device.type == "cpu":
        return _meter_of_packages(powercap)
    return _nobody(f"nothing here asks {device.type} for it")


def _meter_of_packages(powercap: Path) -> EnergyMeter:
    folders = sorted(folder for folder in powercap.glob(_PACKAGES) if folder.name.count(":") == 1)
    if not folders:
        return _nobody(f"no processor counters (RAPL) under {powercap}")
    try:
        counters = [_package(folder) for folder in folders]
    except (OSError, ValueError) as error:
        return _nobody(f"the processor's counters (RAPL) cannot be read: {error}")
    packages = tuple(counter for counter in counters if counter.name != _WHOLE_PLATFORM)
    names = ", ".join(counter.name for counter in packages)
    return EnergyMeter(counters=packages, method=f"RAPL of {names}, all that ran there")


def _package(folder: Path) -> Counter:
    def read_microjoules(name: str) -> float:
        return int((folder / name).read_text(encoding="ascii")) / 1e6

    def read() -> float:
        return read_microjoules("energy_uj")

    read()  # may be closed to us
    name = (folder / "name").read_text(encoding="ascii").strip()
    return Counter(name=name, read=read, wraps_at=read_microjoules("max_energy_range_uj"))


def _meter_of_card(device: torch.device) -> EnergyMeter:
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return _nobody("the module pynvml is not installed (pip install nvidia-ml-py)")
    try:
        nvml.nvmlInit()
        # By its own number, since CUDA's order need not be the driver's.
        card = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")

        def read() -> float:
            return float(nvml.nvmlDeviceGetTotalEnergyConsumption(card)) / 1e3

        read()  # cards before Volta have no counter
    except nvml.NVMLError as error:
        return _nobody(f"the driver does not tell: {error}")
    return EnergyMeter(counters=(Counter(name=str(device), read=read),), method="NVML, all that ran on the card")


def _nobody(reason: str) -> EnergyMeter:
    return EnergyMeter(counters=(), method=f"not told: {reason}")

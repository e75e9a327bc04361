"""What the machine is, and what it can do at best: its own ceilings, measured beside each row.

A latency alone says little on another machine. The rate of one plain 64-channel convolution and the rate of a copy are
measured in the same process under the same conditions, before and after the network; the share it reaches carries over.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from restore_cli._version import __version__
from restore_cli.benchmark.timing import percentile, time_once

UNIT_CHANNELS = 64
UNIT_SIZE = (192, 320)
UNIT_MULT_ADDS = UNIT_SIZE[0] * UNIT_SIZE[1] * UNIT_CHANNELS * UNIT_CHANNELS * 9
COPY_BYTES = 256 * 2**20
CONVOLUTIONS = 5
COPIES = 3


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Say what the numbers were taken with.

    Attributes:
        restore: Version of this package.
        torch: Version of torch.
        python: Version of Python.
        platform: Operating system and its version.
        processor: Model name of the CPU.
        cores: CPU cores this process may use.
        device: Device of the run, as torch writes it.
        device_name: Name of the GPU, or the processor again.
        device_reason: Why this device.
        cuda: CUDA version torch was built for, None without.
    """

    restore: str
    torch: str
    python: str
    platform: str
    processor: str
    cores: int
    device: str
    device_name: str
    device_reason: str
    cuda: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the environment as a JSON object."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """Tell what the machine can do at best, under the conditions of the row (threads, device).

    Attributes:
        unit_seconds: Median of one Conv2d(64, 64, 3, padding=1) on (1, 64, 192, 320) in float32: the unit of "conv
            units", the same whatever dtype the network runs in.
        conv_seconds: The same in the network's dtype.
        copy_bytes_per_second: Bytes read plus bytes written in a plain copy of 256 MiB.
    """

    unit_seconds: float
    conv_seconds: float
    copy_bytes_per_second: float

    @property
    def conv_flops_per_second(self) -> float:
        """Return the arithmetic rate of the convolution in the network's dtype, two a multiply-add."""
        return 2 * UNIT_MULT_ADDS / self.conv_seconds


@dataclass(frozen=True, kw_only=True)
class CeilingSamples:
    """Hold durations in seconds of what `Ceilings` are made of; those of several moments add up to one."""

    unit: tuple[float, ...]
    conv: tuple[float, ...]
    copy: tuple[float, ...]

    def __add__(self, other: CeilingSamples) -> CeilingSamples:
        """Return the samples of both."""
        return CeilingSamples(unit=self.unit + other.unit, conv=self.conv + other.conv, copy=self.copy + other.copy)

    @property
    def ceilings(self) -> Ceilings:
        """Return their medians."""
        return Ceilings(
            unit_seconds=percentile(self.unit, 50),
            conv_seconds=percentile(self.conv, 50),
            copy_bytes_per_second=2 * COPY_BYTES / percentile(self.copy, 50),
        )


def describe_environment(device: torch.device, reason: str) -> Environment:
    """Look at the machine."""
    processor = processor_name()
    return Environment(
        restore=__version__,
        torch=torch.__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        processor=processor,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        device=str(device),
        device_name=torch.cuda.get_device_name(device) if device.type == "cuda" else processor,
        device_reason=reason,
        cuda=torch.version.cuda,
    )


def processor_name() -> str:
    """Return the CPU's model name, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def sample_ceilings(device: torch.device, dtype: torch.dtype, synchronize: Callable[[], None]) -> CeilingSamples:
    """Time the convolution and the copy a few times."""
    source = torch.ones(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.ones_like(source)
    with torch.inference_mode():
        unit = _time_convolution(device, torch.float32, synchronize)
        conv = unit if dtype == torch.float32 else _time_convolution(device, dtype, synchronize)
        copy = _several_seconds(lambda: target.copy_(source), synchronize, COPIES)
    return CeilingSamples(unit=unit, conv=conv, copy=copy)


def _time_convolution(device: torch.device, dtype: torch.dtype, synchronize: Callable[[], None]) -> tuple[float, ...]:
    conv = nn.Conv2d(UNIT_CHANNELS, UNIT_CHANNELS, 3, padding=1).to(device, dtype)
    features = torch.randn((1, UNIT_CHANNELS, *UNIT_SIZE), device=device, dtype=dtype)
    return _several_seconds(lambda: conv(features), synchronize, CONVOLUTIONS)


def _several_seconds(run: Callable[[], object], synchronize: Callable[[], None], runs: int) -> tuple[float, ...]:
    run()
    return tuple(time_once(run, synchronize) for _ in range(runs))

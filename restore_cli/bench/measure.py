"""Measure one case in this process: peak memory, latency, and the machine's ceilings beside them.

What is timed is the network alone, on an input already padded and on the device: no file, no tiling. Meant for a fresh
process (see `apart`): memory that an earlier case touched and gave back would hide this one's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from restore_cli.bench.cases import BenchWishes, Case
from restore_cli.bench.counts import geometry_of
from restore_cli.bench.machine import Ceilings, measure_ceilings
from restore_cli.bench.memory import Memory, measure_peak
from restore_cli.bench.timing import OnStep, Timing, percentile, time_once, time_runs, warm_up
from restore_cli.errors import DeviceError
from restore_cli.inference.device import choose_device, choose_dtype, is_out_of_memory, keep_float32_exact
from restore_cli.models import get_architecture

SEED = 0


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Hold what one case was measured to need.

    Attributes:
        device: Device it ran on, as torch writes it.
        dtype: Name of the dtype it ran in.
        dtype_reason: Why that one.
        threads: CPU threads of one operation.
        timing: Latency of a whole batch.
        memory: Peak memory of one run, None where the system tells none.
        ceilings: What the machine did at best right after.
    """

    device: str
    dtype: str
    dtype_reason: str
    threads: int
    timing: Timing
    memory: Memory | None
    ceilings: Ceilings


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A network on its device with its input.

    Attributes:
        run: One forward pass.
        synchronize: Waits until the device is idle.
        device: Where it runs.
        compiled: Whether the first run compiles.
    """

    run: Callable[[], object]
    synchronize: Callable[[], None]
    device: torch.device
    compiled: bool


def measure(case: Case, wishes: BenchWishes, on_step: OnStep) -> Measurement:
    """Build the network with random weights, run it, and tell what it took.

    Raises:
        UsageError: If device or dtype are not known.
        DeviceError: If the device is not there or its memory runs out.
    """
    on_step("loading", 0, None)
    if case.threads is not None:
        torch.set_num_threads(case.threads)
    device = choose_device(wishes.device).device
    dtype = choose_dtype(case.dtype, device, get_architecture(case.arch).dtypes)
    keep_float32_exact(device)
    try:
        workload = _prepare(case, device, dtype.dtype, compiled=wishes.compile)
        timing, memory = weigh_and_time(workload, wishes, on_step)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        msg = f"{device} ran out of memory with a batch of {case.batch}"
        raise DeviceError(msg, hint="take a smaller --size or --batch") from error
    on_step("ceilings", 0, None)
    return Measurement(
        device=str(device),
        dtype=dtype.name,
        dtype_reason=dtype.reason,
        threads=torch.get_num_threads(),
        timing=timing,
        memory=memory,
        ceilings=measure_ceilings(device, dtype.dtype, workload.synchronize),
    )


def _prepare(case: Case, device: torch.device, dtype: torch.dtype, *, compiled: bool) -> Workload:
    arch = get_architecture(case.arch)
    torch.manual_seed(SEED)
    network: nn.Module = arch.build(arch.config.from_json(case.config)).eval().to(device)
    if compiled:
        network.compile(dynamic=False)
    padded = geometry_of(case.size, scale=case.scale, multiple_of=arch.multiple_of).padded
    image = torch.rand((case.batch, arch.config.from_json(case.config).channels, *padded)).to(device)

    def run() -> Tensor:
        with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            output: Tensor = network(image)
        return output

    return Workload(run=run, synchronize=partial(_synchronize, device), device=device, compiled=compiled)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def weigh_and_time(workload: Workload, wishes: BenchWishes, on_step: OnStep) -> tuple[Timing, Memory | None]:
    """Compile if need be, warm up, weigh the first run and time the later ones."""
    run, synchronize = workload.run, workload.synchronize
    compile_seconds = None
    if workload.compiled:
        on_step("compiling", 0, 1)
        compile_seconds = time_once(run, synchronize)
    first_seconds: list[float] = []
    on_step("warming up", 0, wishes.warmup)
    # Weighed on the first run: allocators that keep what they once had would hide a later one's peak.
    memory = measure_peak(lambda: first_seconds.append(time_once(run, synchronize)), workload.device)
    warmup = warm_up(run, synchronize, first_seconds=sum(first_seconds), runs=wishes.warmup, on_step=on_step)
    seconds = time_runs(run, synchronize, runs=wishes.runs, budget_seconds=wishes.seconds, on_step=on_step)
    if compile_seconds is not None:
        compile_seconds = max(0.0, compile_seconds - percentile(seconds, 50))
    return Timing(seconds=seconds, warmup=warmup, compile_seconds=compile_seconds), memory

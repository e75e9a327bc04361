"""Measure one case in this process: peak memory, latency, energy, and the machine's ceilings beside them.

Meant for a fresh process (see `process`): memory that an earlier case touched and gave back would hide this one's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from restore_cli.benchmark.cases import BenchSettings, Case
from restore_cli.benchmark.energy import EnergyMeter, find_meter
from restore_cli.benchmark.machine import Ceilings, sample_ceilings
from restore_cli.benchmark.memory import Memory, measure_peak
from restore_cli.benchmark.timing import OnStep, Timing, percentile, time_once, time_runs, warm_up
from restore_cli.benchmark.workloads import Workload, WorkloadFacts, prepare
from restore_cli.errors import DeviceError
from restore_cli.inference.device import choose_device, is_out_of_memory

_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Tell what runs drew.

    Attributes:
        joules: Of one run, a batch; None where nobody tells.
        method: Where the number comes from, or why there is none.
    """

    joules: float | None
    method: str


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Hold what one case was measured to need.

    Attributes:
        device: Device it ran on, as torch writes it.
        threads: CPU threads of one operation.
        facts: How it was run.
        timing: Latency of a whole batch.
        cpu_seconds: CPU time of one run, all threads together: what others do on the machine lengthens the latency and
            hardly this.
        memory: Peak memory of one run, None where the system tells none.
        energy: What a run drew.
        ceilings: What the machine did at best right before and after.
    """

    device: str
    threads: int
    facts: WorkloadFacts
    timing: Timing
    cpu_seconds: float
    memory: Memory | None
    energy: Energy
    ceilings: Ceilings


def measure(case: Case, settings: BenchSettings, on_step: OnStep) -> Measurement:
    """Build the network with random weights, run it, and tell what it took.

    Raises:
        UsageError: If device, dtype, tile or context are not known.
        DeviceError: If the device is not there or its memory runs out.
        ImageError: If the engine cannot run an image of that size.
    """
    on_step("loading", 0, None)
    try:
        workload = prepare(case, settings)
        return run_and_report(workload, settings, find_meter(workload.device), on_step)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        msg = f"{choose_device(settings.device).device} ran out of memory with a batch of {case.batch}"
        raise DeviceError(msg, hint="use a smaller --size or --batch") from error


def run_and_report(workload: Workload, settings: BenchSettings, meter: EnergyMeter, on_step: OnStep) -> Measurement:
    """Compile if need be, weigh the first run, warm up, time the later ones, and look at the machine around them."""
    run, synchronize = workload.run, workload.synchronize
    compile_seconds = None
    if workload.compiled:
        on_step("compiling", 0, 1)
        compile_seconds = time_once(run, synchronize)
    first: list[float] = []
    on_step("warming up", 0, settings.warmup)
    # Weighed on the first run: allocators that keep what they once had would hide a later one's peak.
    memory, effort_of_first = _watched(
        lambda: measure_peak(lambda: first.append(time_once(run, synchronize)), workload.device), meter
    )
    # A run as long as the budget is timed even so: what only the first has to do is little beside it. But a growth,
    # whose small sizes are warm, would be bent by it: fresh memory was up to a fifth of a first run.
    counts = (
        settings.runs is None and settings.warmup is None and settings.growth is None and first[0] >= settings.seconds
    )
    on_step("ceilings", 0, None)
    samples = sample_ceilings(workload.device, workload.dtype, synchronize)
    warmup = 0
    if not counts:
        warmup = warm_up(run, synchronize, first_seconds=first[0], runs=settings.warmup, on_step=on_step)
    seconds, effort = _watched(
        lambda: time_runs(
            run,
            synchronize,
            runs=settings.runs,
            budget_seconds=settings.seconds,
            on_step=on_step,
            already=tuple(first) if counts else (),
        ),
        meter,
    )
    on_step("ceilings", 1, None)
    samples += sample_ceilings(workload.device, workload.dtype, synchronize)
    if compile_seconds is not None:
        compile_seconds = max(0.0, compile_seconds - percentile(seconds, 50))
    efforts = (effort_of_first, effort) if counts else (effort,)
    joules = [part.joules for part in efforts if part.joules is not None]
    return Measurement(
        device=str(workload.device),
        threads=torch.get_num_threads(),
        facts=workload.describe(),
        timing=Timing(seconds=seconds, warmup=warmup, compile_seconds=compile_seconds),
        cpu_seconds=sum(part.cpu_seconds for part in efforts) / len(seconds),
        memory=memory,
        energy=Energy(joules=sum(joules) / len(seconds) if joules else None, method=meter.method),
        ceilings=samples.ceilings,
    )


@dataclass(frozen=True, kw_only=True)
class _Effort:
    """What several runs together took of CPU and energy."""

    cpu_seconds: float
    joules: float | None


def _watched(work: Callable[[], _Result], meter: EnergyMeter) -> tuple[_Result, _Effort]:
    before, start = meter.read(), time.process_time()
    result = work()
    return result, _Effort(cpu_seconds=time.process_time() - start, joules=meter.joules_since(before))

"""Latency: how long one run takes once everything is warm.

Medians and percentiles, never means: a shared machine's hiccups are long and one-sided. All samples are kept, so a
reader of the JSON can judge for himself.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Stage = Literal["loading", "compiling", "warming up", "timing", "ceilings"]
OnStep = Callable[[Stage, int, int | None], None]
"""Called before each step: the stage, steps done in it, and how many there will be (None where time decides)."""

MIN_RUNS = 3
MAX_BUDGETS = 3  # so that a run of a minute is not waited for three times
MAX_RUNS = 100
MAX_WARMUP_RUNS = 20
WARMUP_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Hold the durations of one case.

    Attributes:
        seconds: Every timed run in order, at least one.
        warmup: Runs before them; 0 where even the first was too long not to be used.
        compile_seconds: What the first run took beyond a median run where the network was compiled, else None.
    """

    seconds: tuple[float, ...]
    warmup: int
    compile_seconds: float | None = None

    @property
    def median(self) -> float:
        """Return the 50th percentile."""
        return percentile(self.seconds, 50)


def percentile(values: Sequence[float], percent: float) -> float:
    """Interpolate linearly between the two nearest ranks, as numpy does by default.

    Args:
        values: At least one, in any order.
        percent: 0..100.

    Example:
        >>> percentile([4.0, 1.0, 2.0], 50)
        2.0
    """
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    low, high = math.floor(position), math.ceil(position)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def time_once(run: Callable[[], object], synchronize: Callable[[], None]) -> float:
    """Time one run in seconds, from an idle device to an idle device."""
    synchronize()
    start = time.perf_counter()
    run()
    synchronize()
    return time.perf_counter() - start


def warm_up(
    run: Callable[[], object],
    synchronize: Callable[[], None],
    *,
    first_seconds: float,
    runs: int | None,
    on_step: OnStep,
) -> int:
    """Go on after a first run until caches, clocks and allocators have settled; return how many runs that took in all.

    Args:
        run: One run.
        synchronize: Waits for the device.
        first_seconds: What the first run took, which counts as warm-up.
        runs: How many in all, at least 1; None goes on until a second is filled.
        on_step: Called before each run.
    """
    done, spent = 1, first_seconds
    while done < (runs or MAX_WARMUP_RUNS) and (runs is not None or spent < WARMUP_SECONDS):
        on_step("warming up", done, runs)
        spent += time_once(run, synchronize)
        done += 1
    return done


def time_runs(
    run: Callable[[], object],
    synchronize: Callable[[], None],
    *,
    runs: int | None,
    budget_seconds: float,
    on_step: OnStep,
    already: tuple[float, ...] = (),
) -> tuple[float, ...]:
    """Time runs one by one in seconds, with the garbage collector held off.

    Args:
        run: One run.
        synchronize: Waits for the device.
        runs: How often, at least 1; None takes as many as fit the budget, 100 at most and 3 at least, or fewer where
            three take more than three budgets.
        budget_seconds: See `runs`.
        on_step: Called before each run.
        already: Seconds of runs that count as the first of these.
    """
    seconds = list(already)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        while not _are_enough(seconds, runs, budget_seconds):
            on_step("timing", len(seconds), runs)
            seconds.append(time_once(run, synchronize))
    finally:
        if collecting:
            gc.enable()
    return tuple(seconds)


def _are_enough(seconds: Sequence[float], runs: int | None, budget_seconds: float) -> bool:
    if runs is not None or not seconds:
        return len(seconds) >= (runs or 1)
    budgets = 1 if len(seconds) >= MIN_RUNS else MAX_BUDGETS
    return len(seconds) >= MAX_RUNS or sum(seconds) >= budgets * budget_seconds

from __future__ import annotations

import gc
import time

import numpy as np
import pytest

from restore_cli.benchmark import timing
from restore_cli.benchmark.timing import MAX_RUNS, MAX_WARMUP_RUNS, Stage, percentile, time_once, time_runs, warm_up


class Work:
    """Take a set time by a clock of its own, and count runs and steps."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.now = 0.0
        self.runs = 0
        self.collecting: list[bool] = []
        self.steps: list[tuple[Stage, int, int | None]] = []

    def run(self) -> None:
        self.runs += 1
        self.collecting.append(gc.isenabled())
        self.now += self.seconds

    def clock(self) -> float:
        return self.now

    def synchronize(self) -> None: ...

    def on_step(self, stage: Stage, done: int, total: int | None) -> None:
        self.steps.append((stage, done, total))


@pytest.mark.parametrize("size", [1, 2, 3, 10, 99])
@pytest.mark.parametrize("percent", [0, 10, 50, 90, 100])
def test_percentiles_are_those_of_numpy(size: int, percent: float):
    values = np.random.default_rng(size).exponential(size=size).tolist()
    assert percentile(values, percent) == pytest.approx(float(np.percentile(values, percent)), rel=1e-12)


def test_a_run_is_timed_until_the_device_is_idle():
    finished = []
    seconds = time_once(lambda: None, lambda: finished.append(time.sleep(0.02)))
    assert len(finished) == 2
    assert seconds >= 0.02


def test_as_many_runs_are_timed_as_were_asked_for():
    work = Work()
    seconds = time_runs(work.run, work.synchronize, runs=5, budget_seconds=0, on_step=work.on_step)
    assert len(seconds) == work.runs == 5
    assert work.steps == [("timing", done, 5) for done in range(5)]


@pytest.mark.parametrize(
    ("seconds", "runs"),
    [(1e-4, MAX_RUNS), (0.5, 20), (4.0, 3), (9.0, 3), (14.0, 3), (20.0, 2), (45.0, 1)],
)
def test_a_budget_of_ten_seconds_decides_how_many_runs_are_timed(
    seconds: float, runs: int, monkeypatch: pytest.MonkeyPatch
):
    work = Work(seconds)
    monkeypatch.setattr(timing.time, "perf_counter", work.clock)
    samples = time_runs(work.run, work.synchronize, runs=None, budget_seconds=10, on_step=work.on_step)
    monkeypatch.undo()
    assert len(samples) == work.runs == runs
    assert samples == pytest.approx([seconds] * runs)


def test_the_garbage_collector_rests_while_time_is_taken_and_works_again_afterwards():
    work = Work()
    time_runs(work.run, work.synchronize, runs=2, budget_seconds=0, on_step=work.on_step)
    assert work.collecting == [False, False]
    assert gc.isenabled()


def test_the_first_run_counts_as_warm_up():
    work = Work()
    done = warm_up(work.run, work.synchronize, first_seconds=0.1, runs=3, on_step=work.on_step)
    assert done == 3
    assert work.runs == 2


def test_a_slow_first_run_is_warm_up_enough():
    work = Work()
    assert warm_up(work.run, work.synchronize, first_seconds=20.0, runs=None, on_step=work.on_step) == 1
    assert work.runs == 0


def test_warm_up_of_something_fast_ends():
    work = Work()
    done = warm_up(work.run, work.synchronize, first_seconds=0.0, runs=None, on_step=work.on_step)
    assert done == MAX_WARMUP_RUNS


@pytest.mark.parametrize(("first", "timed"), [(10.0, 2), (20.0, 1), (45.0, 0)])
def test_runs_that_were_made_already_count(first: float, timed: int, monkeypatch: pytest.MonkeyPatch):
    work = Work(first)
    monkeypatch.setattr(timing.time, "perf_counter", work.clock)
    samples = time_runs(
        work.run, work.synchronize, runs=None, budget_seconds=10, on_step=work.on_step, already=(first,)
    )
    monkeypatch.undo()
    assert work.runs == timed
    assert samples == pytest.approx([first] * (1 + timed))

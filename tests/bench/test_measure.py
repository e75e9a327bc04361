from __future__ import annotations

import multiprocessing
import time

import pytest
import torch

from restore_cli.bench.apart import measure_apart
from restore_cli.bench.cases import BenchWishes
from restore_cli.bench.measure import Workload, measure, weigh_and_time
from restore_cli.bench.report import measure_rows
from restore_cli.errors import RestoreError
from tests.bench.samples import tiny_case


def ignore(*step: object) -> None: ...


@pytest.mark.slow
def test_a_network_is_measured_with_random_weights_and_no_file():
    steps: list[tuple[object, ...]] = []
    threads = torch.get_num_threads()
    wishes = BenchWishes(device="cpu", runs=3, warmup=2)
    measurement = measure(tiny_case(), wishes, lambda *step: steps.append(step))
    assert measurement.device == "cpu"
    assert measurement.dtype == "float32"
    assert measurement.threads == threads
    assert len(measurement.timing.seconds) == 3
    assert measurement.timing.warmup == 2
    assert measurement.timing.compile_seconds is None
    assert measurement.ceilings.conv_seconds > 0
    assert steps[:2] == [("loading", 0, None), ("warming up", 0, 2)]


def test_rows_that_are_only_counted_start_no_process():
    (row,) = measure_rows([tiny_case()], BenchWishes(runs=0), ignore)
    assert row.measurement is None
    assert row.error is None
    assert row.counts.params > 0


@pytest.mark.slow
def test_a_case_is_measured_in_a_process_of_its_own():
    seen: list[object] = []
    (row,) = measure_rows([tiny_case()], BenchWishes(device="cpu", runs=2), lambda *step: seen.append(step[1]))
    assert row.error is None
    assert row.measurement is not None
    assert len(row.measurement.timing.seconds) == 2
    assert list(dict.fromkeys(seen)) == ["loading", "warming up", "timing", "ceilings"]
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_a_process_that_is_killed_costs_only_its_own_row():
    def kill(*step: object) -> None:
        for process in multiprocessing.active_children():
            process.kill()

    with pytest.raises(RestoreError, match="killed, most likely for want of memory"):
        measure_apart(tiny_case(), BenchWishes(device="cpu", runs=1), kill)


@pytest.mark.slow
def test_what_cannot_be_measured_keeps_its_counts_and_says_why():
    (row,) = measure_rows([tiny_case()], BenchWishes(device="cuda:99", runs=1), ignore)
    assert row.measurement is None
    assert row.error is not None
    assert "cuda:99" in row.error
    assert row.counts.params > 0


def test_what_a_first_run_takes_beyond_the_median_is_told_apart_as_compiling():
    durations = iter([0.3, 0.02, 0.02, 0.02])  # compiling, warming up, two timed
    workload = Workload(
        run=lambda: time.sleep(next(durations)), synchronize=lambda: None, device=torch.device("cpu"), compiled=True
    )
    timing, _ = weigh_and_time(workload, BenchWishes(runs=2, warmup=1), ignore)
    assert timing.compile_seconds is not None
    assert timing.compile_seconds > timing.median
    assert max(timing.seconds) < 0.3

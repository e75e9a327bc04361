from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch

from restore_cli.benchmark.cases import BenchSettings
from restore_cli.benchmark.energy import Counter, EnergyMeter
from restore_cli.benchmark.machine import CeilingSamples
from restore_cli.benchmark.measure import Measurement, measure, run_and_report
from restore_cli.benchmark.process import measure_in_process
from restore_cli.benchmark.rows import measure_rows
from restore_cli.benchmark.workloads import Workload, WorkloadFacts, prepare
from restore_cli.errors import RestoreError
from tests.benchmark.samples import an_entry, tiny_case

CEILINGS = CeilingSamples(unit=(0.02,), conv=(0.01,), copy=(0.1,))
NO_METER = EnergyMeter(counters=(), method="not told")


def ignore(*step: object) -> None: ...


def told_of(
    durations: Iterator[float], settings: BenchSettings, *, compiled: bool = False, meter: EnergyMeter = NO_METER
):
    """Measure something that takes set times."""
    return told_of_work(lambda: time.sleep(next(durations)), settings, compiled=compiled, meter=meter)


def told_of_work(
    run: Callable[[], object],
    settings: BenchSettings,
    *,
    compiled: bool = False,
    meter: EnergyMeter = NO_METER,
):
    """Measure any work on a machine without ceilings."""
    workload = Workload(
        run=run,
        synchronize=lambda: None,
        device=torch.device("cpu"),
        dtype=torch.float32,
        compiled=compiled,
        describe=lambda: WorkloadFacts(dtype="float32", dtype_reason="exact"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("restore_cli.benchmark.measure.sample_ceilings", lambda *_: CEILINGS)
        measurement: Measurement = run_and_report(workload, settings, meter, ignore)
    return measurement


@pytest.mark.slow
def test_a_network_is_measured_with_random_weights_and_no_file():
    steps: list[tuple[object, ...]] = []
    threads = torch.get_num_threads()
    settings = BenchSettings(device="cpu", runs=3, warmup=2)
    measurement = measure(tiny_case(), settings, lambda *step: steps.append(step))
    assert measurement.device == "cpu"
    assert measurement.facts == WorkloadFacts(dtype="float32", dtype_reason="exact, and the rule on cpu")
    assert measurement.threads == threads
    assert len(measurement.timing.seconds) == 3
    assert measurement.timing.warmup == 2
    assert measurement.timing.compile_seconds is None
    assert measurement.ceilings.conv_seconds == measurement.ceilings.unit_seconds > 0
    assert steps[:2] == [("loading", 0, None), ("warming up", 0, 2)]


def test_rows_that_are_only_counted_start_no_process():
    (row,) = measure_rows([tiny_case()], BenchSettings(runs=0), ignore)
    assert row.measurement is None
    assert row.error is None
    assert row.counts.params > 0


def test_networks_that_differ_in_weights_alone_are_done_once():
    one, other = tiny_case(), replace(tiny_case(), entry=an_entry(id="other-weights"))
    larger = replace(tiny_case((64, 128)), entry=an_entry(id="other-weights"))
    rows = list(measure_rows([one, other, larger], BenchSettings(runs=0), ignore))
    assert [row.measured_as for row in rows] == [None, "tiny-sr", None]
    assert [row.case.entry.id for row in rows] == ["tiny-sr", "other-weights", "other-weights"]
    assert rows[0].counts is rows[1].counts


def test_through_the_engine_every_entry_runs_by_itself():
    cases = [replace(tiny_case(scope="engine"), entry=an_entry(id=name)) for name in ("one", "two")]
    assert [row.measured_as for row in measure_rows(cases, BenchSettings(runs=0, engine=True), ignore)] == [None, None]


@pytest.mark.slow
def test_a_case_is_measured_in_a_process_of_its_own():
    seen: list[object] = []
    (row,) = measure_rows([tiny_case()], BenchSettings(device="cpu", runs=2), lambda *step: seen.append(step[1]))
    assert row.error is None
    assert row.measurement is not None
    assert len(row.measurement.timing.seconds) == 2
    assert list(dict.fromkeys(seen)) == ["loading", "warming up", "ceilings", "timing"]
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_a_process_that_is_killed_costs_only_its_own_row():
    def kill(*step: object) -> None:
        for process in multiprocessing.active_children():
            process.kill()

    with pytest.raises(RestoreError, match="killed, most likely for want of memory"):
        measure_in_process(tiny_case(), BenchSettings(device="cpu", runs=1), kill)


@pytest.mark.slow
def test_what_cannot_be_measured_keeps_its_counts_and_says_why():
    (row,) = measure_rows([tiny_case()], BenchSettings(device="cuda:99", runs=1), ignore)
    assert row.measurement is None
    assert row.error is not None
    assert "cuda:99" in row.error
    assert row.counts.params > 0


def test_what_a_first_run_takes_beyond_the_median_is_told_apart_as_compiling():
    durations = iter([0.3, 0.02, 0.02, 0.02])  # compiling, warming up, two timed
    timing = told_of(durations, BenchSettings(runs=2, warmup=1), compiled=True).timing
    assert timing.compile_seconds is not None
    assert timing.compile_seconds > timing.median
    assert max(timing.seconds) < 0.3


def test_a_first_run_as_long_as_the_budget_is_timed_and_not_repeated():
    timing = told_of(iter([0.2]), BenchSettings(seconds=0.05)).timing
    assert timing.warmup == 0
    assert len(timing.seconds) == 1
    assert timing.seconds[0] >= 0.2


def test_a_growth_never_times_a_first_run():
    timing = told_of(iter([1.1, 0.1]), BenchSettings(seconds=0.02, growth=(0.05, 1.0))).timing
    assert timing.warmup == 1
    assert max(timing.seconds) < 1.0


def test_a_warm_up_that_was_asked_for_is_never_timed():
    timing = told_of(iter([0.2, 0.06]), BenchSettings(seconds=0.02, warmup=1)).timing
    assert timing.warmup == 1
    assert len(timing.seconds) == 1
    assert timing.seconds[0] < 0.2


def test_energy_is_that_of_one_timed_run():
    readings = iter([0.0, 3.0, 5.0, 25.0])  # before and after the first run, before and after the timed ones
    meter = EnergyMeter(counters=(Counter(name="a", read=lambda: next(readings)),), method="a sample")
    energy = told_of(iter([0.0] * 6), BenchSettings(runs=5, warmup=1), meter=meter).energy
    assert energy.joules == pytest.approx(4.0)
    assert energy.method == "a sample"


def test_energy_of_a_first_run_that_is_timed_counts():
    readings = iter([0.0, 3.0, 5.0, 5.0])
    meter = EnergyMeter(counters=(Counter(name="a", read=lambda: next(readings)),), method="a sample")
    assert told_of(iter([0.06]), BenchSettings(seconds=0.02), meter=meter).energy.joules == pytest.approx(3.0)


def test_cpu_time_is_that_of_one_run_and_leaves_waiting_out(monkeypatch: pytest.MonkeyPatch):
    spent = [0.0]
    monkeypatch.setattr("time.process_time", lambda: spent[0])  # other tests' threads spend CPU time in this process

    def wait_then_work() -> None:
        time.sleep(0.3)
        spent[0] += 0.125

    measurement = told_of_work(wait_then_work, BenchSettings(runs=2, warmup=1))
    assert measurement.cpu_seconds == 0.125
    assert measurement.timing.median >= 0.3


def test_ceilings_are_taken_before_and_after():
    assert told_of(iter([0.0] * 3), BenchSettings(runs=2, warmup=1)).ceilings == (CEILINGS + CEILINGS).ceilings


@pytest.mark.parametrize(
    ("conditions", "tile", "context"), [({}, "off", "global"), ({"tile": 64, "context": "tile"}, "64", "tile")]
)
def test_the_engine_runs_an_image_and_says_how(conditions: dict[str, object], tile: str, context: str):
    workload = prepare(tiny_case((80, 192), scope="engine", **conditions), BenchSettings(device="cpu"))
    workload.run()
    facts = workload.describe()
    assert (facts.tile, facts.context) == (tile, context)
    assert facts.dtype == "float32"
    assert workload.dtype == torch.float32


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_network_alone_runs_a_batch_in_the_dtype_asked_for(dtype: str):
    case = tiny_case((64, 128), batch=2, dtype=dtype)
    workload = prepare(case, BenchSettings(device="cpu"))
    output = workload.run()
    assert isinstance(output, torch.Tensor)
    assert output.shape == (2, 3, 64, 128)
    assert workload.describe().dtype == dtype

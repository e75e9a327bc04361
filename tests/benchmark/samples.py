"""Cases and rows that the bench's tests share, written by hand so that nothing need be measured."""

from __future__ import annotations

from restore_cli.benchmark.cases import Case
from restore_cli.benchmark.counts import Counts, Geometry
from restore_cli.benchmark.machine import Ceilings, Environment
from restore_cli.benchmark.measure import Energy, Measurement
from restore_cli.benchmark.memory import Memory
from restore_cli.benchmark.report import BenchReport
from restore_cli.benchmark.rows import Row
from restore_cli.benchmark.timing import Timing
from restore_cli.benchmark.workloads import WorkloadFacts
from restore_cli.models import get_architecture
from restore_cli.weights.entry import WeightsEntry

ENVIRONMENT = Environment(
    restore="0.1.0",
    torch="2.13.0",
    python="3.11.9",
    platform="Linux",
    processor="A processor",
    cores=2,
    device="cpu",
    device_name="A processor",
    device_reason="no GPU",
    cuda=None,
)


def an_entry(**changes: object) -> WeightsEntry:
    """A tiny network's entry under the name of a large one."""
    config = get_architecture("ramit").config.tiny()
    facts = {
        "id": "ramit-sr-x4", "model": "ramit", "arch": "ramit", "config": config.to_json(), "task": "sr",
        "scale": config.scale, "channels": config.channels, "training_patch": 32, "file": "tiny.pth", "licence": "MIT",
        "origin": "random numbers", "citation": "none",
    }  # fmt: skip
    return WeightsEntry(**{**facts, **changes})


def tiny_case(size: tuple[int, int] = (64, 64), **conditions: object) -> Case:
    return Case(entry=an_entry(id="tiny-sr", model="tiny"), size=size, **conditions)


def a_measurement(
    seconds: tuple[float, ...] = (2.0, 1.0, 3.0), *, memory_bytes: int = 250_000_000, joules: float | None = None
) -> Measurement:
    return Measurement(
        device="cpu",
        threads=2,
        facts=WorkloadFacts(dtype="float32", dtype_reason="exact"),
        timing=Timing(seconds=seconds, warmup=1),
        cpu_seconds=2 * min(seconds),
        memory=Memory(loaded_bytes=100_000_000, peak_bytes=100_000_000 + memory_bytes, method="resident set"),
        energy=Energy(joules=joules, method="not told: a sample"),
        ceilings=Ceilings(unit_seconds=0.04, conv_seconds=0.04, copy_bytes_per_second=8e9),
    )


def a_row(
    measurement: Measurement | None, *, error: str | None = None, entry: WeightsEntry | None = None, **changes: object
) -> Row:
    case = Case(entry=entry or an_entry(), **changes)
    height, width = case.size
    return Row(
        case=case,
        geometry=Geometry(input=(height // 4, width // 4), padded=(height // 4 + 12, width // 4), output=case.size),
        counts=Counts(
            params=960_616,
            paper_size=(720, 1280),
            mult_adds=42_130_000_001,
            mult_adds_paper_size=42_130_000_001,
            flops=83_000_000_002,
            flops_paper_size=83_000_000_002,
            traffic_bytes=4_000_000_000,
        ),
        measurement=measurement,
        error=error,
    )


def a_report(*rows: Row) -> BenchReport:
    return BenchReport(environment=ENVIRONMENT, rows=rows or (a_row(a_measurement()),))

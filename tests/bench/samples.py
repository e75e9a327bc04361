"""Cases and rows that the bench's tests share, written by hand so that nothing need be measured."""

from __future__ import annotations

from restore_cli.bench.cases import Case
from restore_cli.bench.counts import Counts, Geometry
from restore_cli.bench.machine import Ceilings, Environment
from restore_cli.bench.measure import Measurement
from restore_cli.bench.memory import Memory
from restore_cli.bench.report import Report, Row
from restore_cli.bench.timing import Timing
from restore_cli.models import get_architecture

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


def tiny_case(size: tuple[int, int] = (64, 64)) -> Case:
    config = get_architecture("ramit").config.tiny()
    return Case(
        id="tiny-sr", model="tiny", task="sr", scale=config.scale, arch="ramit", config=config.to_json(), size=size
    )


def a_measurement(seconds: tuple[float, ...] = (2.0, 1.0, 3.0), *, memory_bytes: int = 250_000_000) -> Measurement:
    return Measurement(
        device="cpu",
        dtype="float32",
        dtype_reason="exact",
        threads=2,
        timing=Timing(seconds=seconds, warmup=1),
        memory=Memory(loaded_bytes=100_000_000, peak_bytes=100_000_000 + memory_bytes, method="resident set"),
        ceilings=Ceilings(conv_seconds=0.04, copy_bytes_per_second=8e9),
    )


def a_row(measurement: Measurement | None, *, error: str | None = None, **changes: object) -> Row:
    facts = {"id": "ramit-sr-x4", "model": "ramit", "task": "sr", "scale": 4, "arch": "ramit", "config": {}}
    return Row(
        case=Case(**{**facts, **changes}),
        geometry=Geometry(input=(180, 320), padded=(192, 320), output=(720, 1280)),
        counts=Counts(
            params=960_616,
            mult_adds=42_130_000_001,
            mult_adds_paper_size=42_130_000_001,
            flops=83_000_000_002,
            flops_paper_size=83_000_000_002,
        ),
        measurement=measurement,
        error=error,
    )


def a_report(*rows: Row) -> Report:
    return Report(environment=ENVIRONMENT, rows=rows or (a_row(a_measurement()),))

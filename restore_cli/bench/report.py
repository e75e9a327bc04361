"""The report: a row for each case, as one JSON document and as CSV.

A row is flat, so that JSON, CSV and the comparison with an earlier run share one list of fields (`Row.to_json`). Units
stand in the names, counts are exact integers, sizes are [height, width], and what was not measured is null. Whoever
renames or removes a field raises `SCHEMA`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from restore_cli.bench.apart import measure_apart
from restore_cli.bench.cases import BenchWishes, Case
from restore_cli.bench.counts import Counts, Geometry, count, geometry_of
from restore_cli.bench.machine import Environment
from restore_cli.bench.measure import Measurement
from restore_cli.bench.timing import Stage, percentile
from restore_cli.errors import RestoreError
from restore_cli.models import get_architecture

SCHEMA = "restore-bench/1"

OnStep = Callable[[Case, Stage, int, int | None], None]


@dataclass(frozen=True, kw_only=True)
class Row:
    """Hold what is known of one case.

    Attributes:
        case: What was measured.
        geometry: Its sizes.
        counts: What it holds and costs.
        measurement: What it took; None if only counted, or if `error` says why not.
        error: Why there is no measurement.
    """

    case: Case
    geometry: Geometry
    counts: Counts
    measurement: Measurement | None = None
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the row as a flat JSON object."""
        return {**self._case_json(), **self._counts_json(), **self._measurement_json(), "error": self.error}

    def _case_json(self) -> dict[str, Any]:
        case = self.case
        return {
            "id": case.id,
            "model": case.model,
            "task": case.task,
            "scale": case.scale,
            "arch": case.arch,
            "weights": "random",
            "size": list(case.size),
            "input_size": list(self.geometry.input),
            "padded_input_size": list(self.geometry.padded),
            "output_size": list(self.geometry.output),
            "batch": case.batch,
        }

    def _counts_json(self) -> dict[str, Any]:
        counts = self.counts
        return {
            "params": counts.params,
            "mult_adds_1280x720": counts.mult_adds_paper_size,
            "flops_1280x720": counts.flops_paper_size,
            "mult_adds": counts.mult_adds,
            "flops": counts.flops,
        }

    def _measurement_json(self) -> dict[str, Any]:
        values: dict[str, Any] = dict.fromkeys(_MEASURED)
        measured = self.measurement
        if measured is None:
            return values
        timing, memory, ceilings = measured.timing, measured.memory, measured.ceilings
        pixels = self.case.batch * self.geometry.output[0] * self.geometry.output[1]
        flops_per_second = self.case.batch * self.counts.flops / timing.median
        values |= {
            "device": measured.device,
            "dtype": measured.dtype,
            "dtype_reason": measured.dtype_reason,
            "threads": measured.threads,
            "compiled": timing.compile_seconds is not None,
            "compile_seconds": timing.compile_seconds,
            "warmup": timing.warmup,
            "runs": len(timing.seconds),
            "latency_median_seconds": timing.median,
            "latency_p10_seconds": percentile(timing.seconds, 10),
            "latency_p90_seconds": percentile(timing.seconds, 90),
            "latency_seconds": list(timing.seconds),
            "output_mpixels_per_second": pixels / 1e6 / timing.median,
            "flops_per_second": flops_per_second,
            "conv_unit_seconds": ceilings.conv_seconds,
            "conv_units": timing.median / ceilings.conv_seconds,
            "conv_flops_per_second": ceilings.conv_flops_per_second,
            "share_of_conv_rate": flops_per_second / ceilings.conv_flops_per_second,
            "copy_bytes_per_second": ceilings.copy_bytes_per_second,
        }
        if memory is not None:
            values |= {
                "peak_memory_bytes": memory.above_loaded_bytes,
                "loaded_memory_bytes": memory.loaded_bytes,
                "memory_method": memory.method,
            }
        return values


_MEASURED = (
    *("device", "dtype", "dtype_reason", "threads", "compiled", "compile_seconds", "warmup", "runs"),
    *("latency_median_seconds", "latency_p10_seconds", "latency_p90_seconds", "latency_seconds"),
    *("output_mpixels_per_second", "peak_memory_bytes", "loaded_memory_bytes", "memory_method"),
    *("flops_per_second", "conv_unit_seconds", "conv_units", "conv_flops_per_second", "share_of_conv_rate"),
    "copy_bytes_per_second",
)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Hold all rows and what they were taken with."""

    environment: Environment
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the whole report as one JSON object."""
        return {
            "schema": SCHEMA,
            "environment": self.environment.to_json(),
            "rows": [row.to_json() for row in self.rows],
        }

    def to_csv(self) -> str:
        """Return one line a row under a line of field names; lists are JSON in their field, null is empty."""
        rows = [row.to_json() for row in self.rows]
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {key: json.dumps(value) if isinstance(value, list) else value for key, value in row.items()}
            )
        return text.getvalue()


def measure_rows(cases: Iterable[Case], wishes: BenchWishes, on_step: OnStep) -> Iterable[Row]:
    """Yield each case's row as soon as it is there; a case that cannot be measured keeps its counts and says why."""
    for case in cases:
        multiple_of = get_architecture(case.arch).multiple_of
        geometry = geometry_of(case.size, scale=case.scale, multiple_of=multiple_of)
        counts = count(case)
        measurement, error = None, None
        if wishes.runs != 0:
            try:
                measurement = measure_apart(case, wishes, lambda *step, case=case: on_step(case, *step))
            except RestoreError as failure:
                error = str(failure)
        yield Row(case=case, geometry=geometry, counts=counts, measurement=measurement, error=error)

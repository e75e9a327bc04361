"""One row of the report: a case, what it holds and costs, what it took.

A row is flat, so that JSON, CSV and the comparison with an earlier run share one list of fields (`Row.to_json`). Units
stand in the names, counts are exact integers, sizes are [height, width], and what was not measured is null. Whoever
renames or removes a field raises the report's schema.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from restore_cli.benchmark.cases import BenchSettings, Case
from restore_cli.benchmark.counts import Counts, Geometry, count, geometry_of
from restore_cli.benchmark.measure import Measurement
from restore_cli.benchmark.process import measure_in_process
from restore_cli.benchmark.timing import Stage, percentile
from restore_cli.errors import RestoreError
from restore_cli.models import get_architecture

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
        measured_as: Id of the row whose numbers these are, the same network with other weights; None for its own.
    """

    case: Case
    geometry: Geometry
    counts: Counts
    measurement: Measurement | None = None
    error: str | None = None
    measured_as: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the row as a flat JSON object."""
        return {**self._case_json(), **self._counts_json(), **self._measurement_json(), "error": self.error}

    @property
    def gives_image(self) -> bool:
        """Return whether images come out, or a classifier's answer."""
        return get_architecture(self.case.entry.arch).restores

    @property
    def input_pixels(self) -> int:
        """Return how many pixels a run takes in, before padding."""
        return self.case.batch * self.geometry.input[0] * self.geometry.input[1]

    @property
    def output_pixels(self) -> int:
        """Return how many pixels a run gives; of a classifier, which gives no image, those it takes in."""
        return self.case.batch * self.geometry.output[0] * self.geometry.output[1]

    def _case_json(self) -> dict[str, Any]:
        case, entry = self.case, self.case.entry
        alone = case.scope == "network"
        return {
            "id": entry.id,
            "model": entry.model,
            "task": entry.task,
            "scale": entry.scale,
            "arch": entry.arch,
            "weights": "random" if case.file is None else str(case.file),
            "measured_as": self.measured_as,
            "through": case.scope,
            "size": list(case.size),
            "input_size": list(self.geometry.input),
            "padded_input_size": list(self.geometry.padded),
            "output_size": list(self.geometry.output),
            "input_pixels": self.input_pixels,
            "output_pixels": self.output_pixels,
            "batch": case.batch,
            "tile": None if alone else str(case.tile),
            "context": None if alone else case.context,
        }

    def _counts_json(self) -> dict[str, Any]:
        counts = self.counts
        return {
            "params": counts.params,
            "paper_size": list(counts.paper_size),
            "mult_adds_paper_size": counts.mult_adds_paper_size,
            "flops_paper_size": counts.flops_paper_size,
            "mult_adds": counts.mult_adds,
            "flops": counts.flops,
            "traffic_bytes": counts.traffic_bytes,
        }

    def _measurement_json(self) -> dict[str, Any]:
        measured = self.measurement
        if measured is None:
            return dict.fromkeys(_MEASURED)
        timing, memory, facts = measured.timing, measured.memory, measured.facts
        return {
            "device": measured.device,
            "dtype": facts.dtype,
            "dtype_reason": facts.dtype_reason,
            "threads": measured.threads,
            "tile_used": facts.tile,
            "context_used": facts.context,
            "notes": list(facts.notes),
            "compiled": timing.compile_seconds is not None,
            "compile_seconds": timing.compile_seconds,
            "warmup": timing.warmup,
            "runs": len(timing.seconds),
            "latency_median_seconds": timing.median,
            "latency_p10_seconds": percentile(timing.seconds, 10),
            "latency_p90_seconds": percentile(timing.seconds, 90),
            "latency_min_seconds": min(timing.seconds),
            "latency_max_seconds": max(timing.seconds),
            "latency_seconds": list(timing.seconds),
            "cpu_seconds": measured.cpu_seconds,
            "output_mpixels_per_second": self.output_pixels / 1e6 / timing.median,
            "peak_memory_bytes": memory and memory.above_loaded_bytes,
            "loaded_memory_bytes": memory and memory.loaded_bytes,
            "memory_method": memory and memory.method,
            "energy_joules": measured.energy.joules,
            "energy_method": measured.energy.method,
            **self._shares_json(measured),
        }

    def _shares_json(self, measured: Measurement) -> dict[str, Any]:
        """Hold the row against what the machine can do at best."""
        seconds, ceilings = measured.timing.median, measured.ceilings
        flops_per_second = self.case.batch * self.counts.flops / seconds
        traffic_per_second = self.case.batch * self.counts.traffic_bytes / seconds
        return {
            "conv_unit_seconds": ceilings.unit_seconds,
            "conv_units": seconds / ceilings.unit_seconds,
            "flops_per_second": flops_per_second,
            "conv_flops_per_second": ceilings.conv_flops_per_second,
            "share_of_conv_rate": flops_per_second / ceilings.conv_flops_per_second,
            "traffic_bytes_per_second": traffic_per_second,
            "copy_bytes_per_second": ceilings.copy_bytes_per_second,
            "share_of_copy_rate": traffic_per_second / ceilings.copy_bytes_per_second,
        }


_MEASURED = (
    *("device", "dtype", "dtype_reason", "threads", "tile_used", "context_used", "notes"),
    *("compiled", "compile_seconds", "warmup", "runs", "latency_median_seconds", "latency_p10_seconds"),
    *("latency_p90_seconds", "latency_min_seconds", "latency_max_seconds", "latency_seconds"),
    *("cpu_seconds", "output_mpixels_per_second", "peak_memory_bytes", "loaded_memory_bytes"),
    *("memory_method", "energy_joules", "energy_method", "conv_unit_seconds", "conv_units", "flops_per_second"),
    *("conv_flops_per_second", "share_of_conv_rate", "traffic_bytes_per_second", "copy_bytes_per_second"),
    "share_of_copy_rate",
)


def measure_rows(cases: Iterable[Case], settings: BenchSettings, on_step: OnStep) -> Iterator[Row]:
    """Yield each case's row as soon as it is there; a case that cannot be measured keeps its counts and says why.

    Networks that differ in their weights alone are measured once under the same conditions.
    """
    done: dict[str, Row] = {}
    for case in cases:
        kind = _kind(case)
        if kind in done:
            yield replace(done[kind], case=case, measured_as=done[kind].case.entry.id)
            continue
        done[kind] = _measure_row(case, settings, on_step)
        yield done[kind]


def _kind(case: Case) -> str:
    """Return what a row's figures depend on, as text."""
    entry = case.entry
    # Through the engine the entry itself may say how the network runs best.
    network = entry.id if case.scope == "engine" else [entry.arch, dict(entry.config), str(case.file)]
    conditions = (case.size, case.batch, case.dtype, case.threads, case.scope, case.tile, case.context)
    return json.dumps([network, *conditions], sort_keys=True)


def _measure_row(case: Case, settings: BenchSettings, on_step: OnStep) -> Row:
    arch = get_architecture(case.entry.arch)
    multiple_of = arch.of(arch.config.from_json(case.entry.config)).multiple_of
    geometry = geometry_of(case.size, scale=case.entry.scale, multiple_of=multiple_of)
    counts = count(case)
    measurement, error = None, None
    if settings.runs != 0:
        try:
            measurement = measure_in_process(case, settings, lambda *step: on_step(case, *step))
        except RestoreError as failure:
            error = str(failure)
    return Row(case=case, geometry=geometry, counts=counts, measurement=measurement, error=error)

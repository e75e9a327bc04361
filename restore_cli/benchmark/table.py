"""The report as text cells for people.

One wide table where there is room, else several narrow ones, cut between groups of columns that belong together.
Conditions that are the same for all rows stand once in a line above, the others get a column. Laid out here, printed by
`cli.output`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restore_cli.benchmark.against import Comparison, RowChange
from restore_cli.benchmark.growth import Line, growths
from restore_cli.benchmark.machine import Ceilings
from restore_cli.benchmark.numbers import NOTHING, giga, joules, memory, mpixels, number, percent, seconds, size, span
from restore_cli.benchmark.report import BenchReport

_GAP = 3  # characters between two columns as Rich draws them
_EDGES = 2

_RowJson = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """Hold a table as text.

    Attributes:
        headers: One a column; the first column is text, all others are figures.
        rows: Cells, one tuple a row.
    """

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def width(self) -> int:
        """Return the characters a drawn line needs."""
        columns = list(zip(self.headers, *self.rows, strict=True))
        return sum(max(map(len, column)) for column in columns) + _GAP * (len(columns) - 1) + _EDGES


@dataclass(frozen=True, kw_only=True)
class _Column:
    header: str
    text: Callable[[_RowJson], str]


def lay_out(
    report: BenchReport, comparison: Comparison | None, *, tolerance: float, width: int | None
) -> tuple[str, tuple[TextTable, ...]]:
    """Return a line of what all rows share, and the report in as many tables as the width needs.

    Args:
        report: At least one row.
        comparison: Adds the ratios to an earlier report.
        tolerance: Ratios that exceed it are marked with "!".
        width: Characters of a line, None for as many as it takes.
    """
    rows = [row.to_json() for row in report.rows]
    if comparison is not None:
        rows = [{**row, **_ratios(change)} for row, change in zip(rows, comparison.changes, strict=True)]
    names = (_Column(header="network", text=lambda row: str(row["id"])), *_varying(rows))
    groups: list[tuple[_Column, ...]] = [_COSTS]
    if any(row["latency_median_seconds"] is not None or row["error"] is not None for row in rows):
        has_energy = any(row["energy_joules"] is not None for row in rows)
        has_compiled = any(row["compiled"] for row in rows)
        groups += [_LATENCY, (*_RESOURCES, *[_ENERGY] * has_energy, *[_COMPILE] * has_compiled)]
    if comparison is not None:
        groups.append(_ratio_columns(tolerance))
    return _title(report, rows), tuple(_pack(names, groups, rows, width))


def _pack(
    names: Sequence[_Column], groups: Sequence[Sequence[_Column]], rows: Sequence[_RowJson], width: int | None
) -> Iterator[TextTable]:
    """Put groups of columns side by side while they fit; every table begins with the names."""
    columns = [*names, *groups[0]]
    for group in groups[1:]:
        if width is not None and _table([*columns, *group], rows).width > width:
            yield _table(columns, rows)
            columns = [*names]
        columns += group
    yield _table(columns, rows)


def lay_out_growth(report: BenchReport) -> TextTable | None:
    """Return the lines through the sizes, some for each network; None where too few sizes were measured."""
    rows = []
    for growth in growths(report.rows):
        rows.append((growth.label, "time", *_line_cells(growth.time, seconds)))
        if growth.cpu_time is not None:
            rows.append((growth.label, "CPU time", *_line_cells(growth.cpu_time, seconds)))
        if growth.memory is not None:
            rows.append((growth.label, "memory", *_line_cells(growth.memory, memory)))
    return TextTable(headers=_GROWTH_HEADERS, rows=tuple(rows)) if rows else None


def _line_cells(line: Line, text: Callable[[float], str]) -> tuple[str, ...]:
    return (
        text(line.fixed),
        text(line.per_mpixel),
        f"{100 * line.largest_deviation:.1f} % at {mpixels(line.largest_at_pixels)}",
        f"x{line.largest_step:.2f} at {mpixels(line.largest_step_at_pixels)}",
    )


def explain(report: BenchReport, comparison: Comparison | None) -> tuple[str, ...]:
    """Say in a line each how the numbers are to be read."""
    lines = [_explain_counts(report)]
    twins = dict.fromkeys(f"{row.case.entry.id} as {row.measured_as}" for row in report.rows if row.measured_as)
    if twins:
        lines.append(f"Measured once, being the same network with other weights: {', '.join(twins)}.")
    measured = [row.measurement for row in report.rows if row.measurement is not None]
    if not measured:
        return tuple(lines)
    if any(row.case.scope == "engine" for row in report.rows):
        lines.append("Latency: an image in memory through the engine and back, random weights (no file needed).")
    else:
        lines.append("Latency: the network alone, random weights (no file needed), input padded and on the device.")
    lines.append("CPU: time of all threads together for one run, which others on a busy machine lengthen less.")
    methods = {measurement.memory.method for measurement in measured if measurement.memory is not None}
    lines += [f"Memory: peak above the loaded process ({method})." for method in sorted(methods)]
    lines += [f"Energy: {method}." for method in sorted({measurement.energy.method for measurement in measured})]
    lines += _explain_ceilings([measurement.ceilings for measurement in measured])
    if growths(report.rows):
        lines.append(
            "Growth: the line through the sizes, what every image costs and each Mpixel of input more; the size "
            "farthest off it; and the largest step of cost per pixel from one size to the next."
        )
    if comparison is not None:
        lines.append("x: this run by the earlier one, below 1 is better; !: grown beyond the tolerance.")
    return tuple(lines)


def _explain_counts(report: BenchReport) -> str:
    sizes = dict.fromkeys(
        f"{size(row.counts.paper_size)} {'output' if row.gives_image else 'input'}" for row in report.rows
    )
    return (
        f"Mult-Adds (the paper's convention) and FLOPs (torch's count, 2 a multiply-add): of one {' or '.join(sizes)}."
    )


def _explain_ceilings(ceilings: Sequence[Ceilings]) -> list[str]:
    units = span([each.unit_seconds * 1e3 for each in ceilings])
    rates = span([each.conv_flops_per_second / 1e9 for each in ceilings])
    copy_rate = span([each.copy_bytes_per_second / 1e9 for each in ceilings])
    return [
        f"Units: one Conv2d(64, 64, 3) on 192x320 in float32, {units} ms here. conv %: share of its rate in the "
        f"network's dtype, {rates} GFLOP/s.",
        f"copy %: what all operations read and write by the rate of a plain copy, {copy_rate} GB/s; above 100 where "
        "caches help.",
    ]


_COSTS = (
    _Column(header="params", text=lambda row: f"{row['params']:,}"),
    _Column(header="Mult-Adds", text=lambda row: giga(row["mult_adds_paper_size"])),
    _Column(header="FLOPs", text=lambda row: giga(row["flops_paper_size"])),
)
_LATENCY = (
    _Column(header="median", text=lambda row: "failed" if row["error"] else seconds(row["latency_median_seconds"])),
    _Column(header="p10", text=lambda row: seconds(row["latency_p10_seconds"])),
    _Column(header="p90", text=lambda row: seconds(row["latency_p90_seconds"])),
    _Column(header="CPU", text=lambda row: seconds(row["cpu_seconds"])),
    _Column(header="runs", text=lambda row: str(row["runs"] or NOTHING)),
    _Column(header="Mpixel/s", text=lambda row: number(row["output_mpixels_per_second"])),
)
_RESOURCES = (
    _Column(header="memory", text=lambda row: memory(row["peak_memory_bytes"])),
    _Column(header="units", text=lambda row: number(row["conv_units"])),
    _Column(header="conv %", text=lambda row: percent(row["share_of_conv_rate"])),
    _Column(header="copy %", text=lambda row: percent(row["share_of_copy_rate"])),
)
_ENERGY = _Column(header="energy", text=lambda row: joules(row["energy_joules"]))
_COMPILE = _Column(header="compile", text=lambda row: seconds(row["compile_seconds"]))
_CONDITIONS = {
    "size": _Column(header="size", text=lambda row: size(row["output_size"])),
    "batch": _Column(header="batch", text=lambda row: str(row["batch"])),
    "dtype": _Column(header="dtype", text=lambda row: str(row["dtype"] or NOTHING)),
    "threads": _Column(header="threads", text=lambda row: str(row["threads"] or NOTHING)),
    "context_used": _Column(header="context", text=lambda row: str(row["context_used"] or NOTHING)),
    "tile_used": _Column(header="tile", text=lambda row: str(row["tile_used"] or NOTHING)),
}
_GROWTH_HEADERS = ("growth", "of", "fixed", "a Mpixel", "farthest off the line", "largest step")


def _values(rows: Sequence[_RowJson], name: str) -> list[Any]:
    """Return what a field holds over all rows, each value once, nothing left out."""
    values: list[Any] = []
    for row in rows:
        if row[name] is not None and row[name] not in values:
            values.append(row[name])
    return values


def _varying(rows: Sequence[_RowJson]) -> list[_Column]:
    return [column for name, column in _CONDITIONS.items() if len(_values(rows, name)) > 1]


def _title(report: BenchReport, rows: Sequence[_RowJson]) -> str:
    shared = {name: values[0] for name in _CONDITIONS if len(values := _values(rows, name)) == 1}
    environment = report.environment
    parts = [
        f"size {size(shared['size'])}" if "size" in shared else "",
        f"batch {shared['batch']}" if "batch" in shared else "",
        shared.get("dtype", ""),
        f"{shared['threads']} thread{'' if shared['threads'] == 1 else 's'}" if "threads" in shared else "",
        f"context {shared['context_used']}" if "context_used" in shared else "",
        f"tile {shared['tile_used']}" if "tile_used" in shared else "",
        f"{environment.device}: {environment.device_name}",
        f"torch {environment.torch}",
    ]
    return ", ".join(part for part in parts if part)


def _ratios(change: RowChange | None) -> dict[str, float | None]:
    names = ("latency", "units", "memory")
    return {f"{name}_ratio": None if change is None else getattr(change, name) for name in names}


def _ratio_columns(tolerance: float) -> tuple[_Column, ...]:
    def ratio(value: float | None) -> str:
        if value is None:
            return "new"
        return f"{value:.3f}{'!' if value > 1 + tolerance else ''}"

    return (
        _Column(header="x latency", text=lambda row: ratio(row["latency_ratio"])),
        _Column(header="x units", text=lambda row: ratio(row["units_ratio"])),
        _Column(header="x memory", text=lambda row: ratio(row["memory_ratio"])),
    )


def _table(columns: Sequence[_Column], rows: Sequence[_RowJson]) -> TextTable:
    return TextTable(
        headers=tuple(column.header for column in columns),
        rows=tuple(tuple(column.text(row) for column in columns) for row in rows),
    )

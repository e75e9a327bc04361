"""The report as text cells for people.

One wide table where there is room, else several narrow ones, cut between groups of columns that belong together.
Conditions that are the same for all rows stand once in a line above, the others get a column. Laid out here, printed by
`cli.output`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restore_cli.bench.against import Change, Comparison
from restore_cli.bench.report import Report

_NOTHING = "-"
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
    report: Report, comparison: Comparison | None, *, tolerance: float, width: int | None
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
        groups += [_LATENCY, (*_RESOURCES, _COMPILE) if any(row["compiled"] for row in rows) else _RESOURCES]
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


def explain(report: Report, comparison: Comparison | None) -> tuple[str, ...]:
    """Say in a line each how the figures are to be read."""
    lines = [
        "Mult-Adds (the paper's convention) and FLOPs (torch's count, 2 a multiply-add): of one 1280x720 output.",
    ]
    measured = [row.measurement for row in report.rows if row.measurement is not None]
    if not measured:
        return tuple(lines)
    lines.append("Latency: the network alone, random weights (no file needed), input padded and on the device.")
    methods = {measurement.memory.method for measurement in measured if measurement.memory is not None}
    lines += [f"Memory: peak above the loaded process ({method})." for method in sorted(methods)]
    units = [measurement.ceilings.conv_seconds for measurement in measured]
    rates = [measurement.ceilings.conv_flops_per_second / 1e9 for measurement in measured]
    copies = [measurement.ceilings.copy_bytes_per_second / 1e9 for measurement in measured]
    lines.append(
        f"Units: one Conv2d(64, 64, 3) on 192x320, {_range([unit * 1e3 for unit in units])} ms here "
        f"({_range(rates)} GFLOP/s); conv %: share of its rate. Copying: {_range(copies)} GB/s."
    )
    if comparison is not None:
        lines.append("x: this run by the earlier one, below 1 is better; !: grown beyond the tolerance.")
    return tuple(lines)


def _giga(value: int | None) -> str:
    return _NOTHING if value is None else f"{value / 1e9:,.2f} G"


def _seconds(value: float | None) -> str:
    if value is None:
        return _NOTHING
    return f"{_number(value)} s" if value >= 1 else f"{_number(value * 1e3)} ms"


def _bytes(value: int | None) -> str:
    if value is None:
        return _NOTHING
    return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def _number(value: float | None) -> str:
    if value is None:
        return _NOTHING
    if value < 1:
        return f"{value:.3g}"
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{decimals}f}"


def _range(values: Sequence[float]) -> str:
    low, high = _number(min(values)), _number(max(values))
    return low if low == high else f"{low} to {high}"


def _size(size: Sequence[int]) -> str:
    return f"{size[1]}x{size[0]}"


_COSTS = (
    _Column(header="params", text=lambda row: f"{row['params']:,}"),
    _Column(header="Mult-Adds", text=lambda row: _giga(row["mult_adds_1280x720"])),
    _Column(header="FLOPs", text=lambda row: _giga(row["flops_1280x720"])),
)
_LATENCY = (
    _Column(header="median", text=lambda row: "failed" if row["error"] else _seconds(row["latency_median_seconds"])),
    _Column(header="p10", text=lambda row: _seconds(row["latency_p10_seconds"])),
    _Column(header="p90", text=lambda row: _seconds(row["latency_p90_seconds"])),
    _Column(header="runs", text=lambda row: str(row["runs"] or _NOTHING)),
    _Column(header="Mpixel/s", text=lambda row: _number(row["output_mpixels_per_second"])),
)
_RESOURCES = (
    _Column(header="memory", text=lambda row: _bytes(row["peak_memory_bytes"])),
    _Column(header="units", text=lambda row: _number(row["conv_units"])),
    _Column(header="conv %", text=lambda row: _percent(row["share_of_conv_rate"])),
)
_COMPILE = _Column(header="compile", text=lambda row: _seconds(row["compile_seconds"]))
_CONDITIONS = {
    "size": _Column(header="output", text=lambda row: _size(row["output_size"])),
    "batch": _Column(header="batch", text=lambda row: str(row["batch"])),
    "dtype": _Column(header="dtype", text=lambda row: str(row["dtype"] or _NOTHING)),
    "threads": _Column(header="threads", text=lambda row: str(row["threads"] or _NOTHING)),
}


def _percent(share: float | None) -> str:
    return _NOTHING if share is None else f"{100 * share:.0f}"


def _values(rows: Sequence[_RowJson], name: str) -> list[Any]:
    """Return what a field holds over all rows, each value once, nothing left out."""
    values: list[Any] = []
    for row in rows:
        if row[name] is not None and row[name] not in values:
            values.append(row[name])
    return values


def _varying(rows: Sequence[_RowJson]) -> list[_Column]:
    return [column for name, column in _CONDITIONS.items() if len(_values(rows, name)) > 1]


def _title(report: Report, rows: Sequence[_RowJson]) -> str:
    shared = {name: values[0] for name in _CONDITIONS if len(values := _values(rows, name)) == 1}
    environment = report.environment
    parts = [
        f"{_size(shared['size'])} output" if "size" in shared else "",
        f"batch {shared['batch']}" if "batch" in shared else "",
        shared.get("dtype", ""),
        f"{shared['threads']} threads" if "threads" in shared else "",
        f"{environment.device}: {environment.device_name}",
        f"torch {environment.torch}",
    ]
    return ", ".join(part for part in parts if part)


def _ratios(change: Change | None) -> dict[str, float | None]:
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

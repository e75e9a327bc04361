"""Hold a report against an earlier one: ratios of latency and memory, and counts that changed.

Rows are matched by all that was chosen (network, size, batch, dtype, threads, device, compiled or not, network alone
or engine, tile, context). Ratios are new by old:
below 1 is better. Only rows of both reports are compared; the others are named.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore_cli.benchmark.report import SCHEMA, BenchReport
from restore_cli.errors import UsageError

_KEY = ("id", "size", "batch", "dtype", "threads", "device", "compiled", "through", "tile", "context")
_COUNTS = ("params", "mult_adds_paper_size", "flops_paper_size")
_MACHINE = ("processor", "device_name", "torch")


@dataclass(frozen=True, kw_only=True)
class RowChange:
    """Tell how one row differs from its earlier self.

    Attributes:
        id: The row's network.
        latency: Median latency by the earlier one.
        units: The same with each counted in its own run's convolutions, so that the machine's mood cancels out.
        memory: Peak memory by the earlier one; None where either is unknown or nothing.
        changed_counts: Names of the counts that are no longer equal.
    """

    id: str
    latency: float
    units: float
    memory: float | None
    changed_counts: tuple[str, ...]

    def exceeds(self, tolerance: float) -> bool:
        """Say whether latency or memory grew by more than `tolerance` (0.1 is a tenth)."""
        return max(self.latency, self.memory or 0.0) > 1 + tolerance


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Hold a report against an earlier one.

    Attributes:
        changes: One for each row measured in both; None for a row of the new report without its like in the earlier.
        machine: What is not as it was ("torch 2.12.0 -> 2.13.0"), a line each: ratios then tell two things at once.
    """

    changes: tuple[RowChange | None, ...]
    machine: tuple[str, ...]

    def to_json(self, tolerance: float) -> dict[str, Any]:
        """Return the comparison as a JSON object; `changes` stand in the order of the report's rows."""
        return {
            "tolerance": tolerance,
            "machine_changes": list(self.machine),
            "changes": [change and {**vars(change), "exceeds": change.exceeds(tolerance)} for change in self.changes],
        }


def load_earlier(path: Path) -> dict[str, Any]:
    """Read a report that `restore bench --json` wrote.

    Raises:
        UsageError: If the file cannot be read or is no such report.
    """
    hint = "write one with `restore bench --json > FILE.json`"
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"cannot read {path} as an earlier report: {error}"
        raise UsageError(msg, hint=hint) from error
    if not isinstance(earlier, dict) or not earlier.keys() >= {"schema", "environment", "rows"}:
        msg = f"{path} is no report of a bench"
        raise UsageError(msg, hint=hint)
    if earlier["schema"] != SCHEMA:
        msg = f"{path} is of another version: schema {earlier['schema']!r}, this one reads {SCHEMA!r}"
        raise UsageError(msg, hint=hint)
    return earlier


def compare(report: BenchReport, earlier: Mapping[str, Any]) -> Comparison:
    """Hold a report against an earlier one.

    Raises:
        UsageError: If no row was measured in both.
    """
    known = {_key(row): row for row in earlier["rows"] if _is_measured(row)}
    new_rows = [row.to_json() for row in report.rows]
    changes = tuple(_change(row, known.get(_key(row))) for row in new_rows)
    if not any(changes):
        msg = "no row of the earlier report was measured under the conditions of this one"
        raise UsageError(
            msg, hint="compare the same models, sizes, --batch, --dtype, --threads, --device, --tile and --context"
        )
    old, new = earlier["environment"], report.environment.to_json()
    machine = tuple(f"{name} {old.get(name)} -> {new[name]}" for name in _MACHINE if old.get(name) != new[name])
    return Comparison(changes=changes, machine=machine)


def _key(row: Mapping[str, Any]) -> str:
    return json.dumps([row.get(name) for name in _KEY])


def _is_measured(row: Mapping[str, Any]) -> bool:
    return row.get("latency_median_seconds") is not None


def _change(new: Mapping[str, Any], old: Mapping[str, Any] | None) -> RowChange | None:
    if old is None or not _is_measured(new):
        return None
    memory = None
    if new["peak_memory_bytes"] is not None and old["peak_memory_bytes"]:
        memory = new["peak_memory_bytes"] / old["peak_memory_bytes"]
    return RowChange(
        id=new["id"],
        latency=new["latency_median_seconds"] / old["latency_median_seconds"],
        units=new["conv_units"] / old["conv_units"],
        memory=memory,
        changed_counts=tuple(name for name in _COUNTS if new[name] != old[name]),
    )

"""How time and memory grow with the pixels of an image: the line through the sizes, and what strays from it.

A network that looks at each pixel equally often costs so much for a pixel and so much for any image. Whatever spoils
that (a cache that overflows, memory that is swapped, a change of plan at some size) strays from the line or makes a
step between two neighbouring sizes. Deviations are shares of the line's own value, so the smallest size counts as much
as the largest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from restore_cli.benchmark.numbers import size
from restore_cli.benchmark.rows import Row

MIN_SIZES = 3  # two always lie on a line


@dataclass(frozen=True, kw_only=True)
class Line:
    """Hold the line through the sizes.

    Attributes:
        fixed: Of any image, in seconds or bytes; may come out below 0 where cost bends.
        per_mpixel: Of a million input pixels more.
        largest_deviation: Of a size from the line, as a share of the line's value there; 0.1 is a tenth.
        largest_at_pixels: The input pixels of that size.
        largest_step: The most by which cost per pixel multiplies from one size to the next larger; 1 is even.
        largest_step_at_pixels: The input pixels of the larger of the two.
    """

    fixed: float
    per_mpixel: float
    largest_deviation: float
    largest_at_pixels: int
    largest_step: float
    largest_step_at_pixels: int

    def at(self, pixels: float) -> float:
        """Return the line's value for so many input pixels."""
        return self.fixed + self.per_mpixel * pixels / 1e6


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Hold how one network grew under one set of conditions.

    Attributes:
        id: The network's.
        label: The network, and the conditions that tell it from others of the report.
        rows: One a size, the smallest first.
        time: The line through median latencies.
        cpu_time: The line through CPU times, which a busy machine bends less; None where some size took none.
        memory: The line through peak memory, None where some size has none.
    """

    id: str
    label: str
    rows: tuple[Row, ...]
    time: Line
    cpu_time: Line | None
    memory: Line | None

    def to_json(self) -> dict[str, Any]:
        """Return the growth as a JSON object; sizes as input pixels, the smallest first."""
        return {
            "id": self.id,
            "label": self.label,
            "input_pixels": [row.input_pixels for row in self.rows],
            "time_seconds": asdict(self.time),
            "cpu_seconds": self.cpu_time and asdict(self.cpu_time),
            "memory_bytes": self.memory and asdict(self.memory),
        }


def growths(rows: Sequence[Row]) -> tuple[Growth, ...]:
    """Find what was measured at three sizes or more under conditions that are otherwise the same."""
    found = []
    for label, group in grouped(rows, but="size").items():
        by_pixels = {row.input_pixels: row for row in sorted(group, key=lambda row: row.input_pixels)}
        if len(by_pixels) >= MIN_SIZES:
            found.append(_growth(label, tuple(by_pixels.values())))
    return tuple(found)


def grouped(rows: Sequence[Row], *, but: str) -> dict[str, list[Row]]:
    """Put rows together that differ in one condition only, under a name that says network and other conditions.

    Args:
        rows: Of one report; those that were not measured are left out.
        but: "network", "size", "batch", "dtype", "threads", "context" or "tile": what may differ within a group.
    """
    measured = [row for row in rows if row.measurement is not None]
    varied = {name for name, text in _CONDITIONS.items() if len({text(row) for row in measured}) > 1}
    groups: dict[str, list[Row]] = {}
    for row in measured:
        groups.setdefault(_label(row, varied - {but}, named=but != "network"), []).append(row)
    return groups


_CONDITIONS: dict[str, Callable[[Row], object]] = {
    "size": lambda row: size(row.geometry.output),
    "batch": lambda row: row.case.batch,
    "dtype": lambda row: row.case.dtype,
    "threads": lambda row: row.case.threads or "auto",
    "context": lambda row: row.case.context,
    "tile": lambda row: row.case.tile,
}


def _label(row: Row, varied: Set[str], *, named: bool) -> str:
    network = [row.case.entry.id] if named else []
    return ", ".join([*network, *(f"{name} {text(row)}" for name, text in _CONDITIONS.items() if name in varied)])


def _growth(label: str, rows: tuple[Row, ...]) -> Growth:
    pixels = [row.input_pixels for row in rows]
    measured = [row.measurement for row in rows if row.measurement is not None]
    memory = [each.memory.above_loaded_bytes for each in measured if each.memory is not None]
    cpu_times = [each.cpu_seconds for each in measured]
    is_known = len(memory) == len(rows) and min(memory) > 0
    return Growth(
        id=rows[0].case.entry.id,
        label=label,
        rows=rows,
        time=line_through(pixels, [each.timing.median for each in measured]),
        cpu_time=line_through(pixels, cpu_times) if min(cpu_times) > 0 else None,
        memory=line_through(pixels, memory) if is_known else None,
    )


def line_through(pixels: Sequence[int], costs: Sequence[float]) -> Line:
    """Lay the line whose relative deviations have the least sum of squares.

    Args:
        pixels: Input pixels, ascending, at least two sizes.
        costs: Of each size, above 0.
    """
    x, y = np.array(pixels, dtype=np.float64) / 1e6, np.array(costs, dtype=np.float64)
    # Divided by the cost, every size weighs the same.
    (fixed, per_mpixel), *_ = np.linalg.lstsq(np.stack([1 / y, x / y], axis=1), np.ones_like(y), rcond=None)
    line = fixed + per_mpixel * x
    deviations = np.abs(y - line) / np.abs(line)
    steps = [after / before for before, after in pairwise(y / x)]
    return Line(
        fixed=float(fixed),
        per_mpixel=float(per_mpixel),
        largest_deviation=float(deviations.max()),
        largest_at_pixels=pixels[int(deviations.argmax())],
        largest_step=float(max(steps)),
        largest_step_at_pixels=pixels[1 + int(np.argmax(steps))],
    )

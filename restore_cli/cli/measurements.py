"""Show measurements of networks to a person: each row as it comes, then tables and files.

Stage 1, ASK, on its way back; loads torch.
"""

from __future__ import annotations

import shutil
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from restore_cli.benchmark.against import Comparison
from restore_cli.benchmark.cases import BenchSettings, Case
from restore_cli.benchmark.page import bench_page
from restore_cli.benchmark.report import BenchReport
from restore_cli.benchmark.rows import Row
from restore_cli.benchmark.run import BenchWatcher
from restore_cli.benchmark.table import explain, lay_out, lay_out_growth
from restore_cli.benchmark.timing import Stage
from restore_cli.cli.bench_options import ReportOptions
from restore_cli.cli.output import Output
from restore_cli.errors import RestoreError
from restore_cli.storage.files import publish
from restore_cli.weights.manifest import WeightsEntry


class ShownBench(BenchWatcher):
    """Show a measurement while it runs; `bar` is left when it is over."""

    def __init__(self, out: Output, settings: BenchSettings, bar: ExitStack) -> None:
        self._out = out
        self._settings = settings
        self._begun = time.monotonic()
        self._done = self._total = 0
        self._bar = bar

    def fits(self, path: Path, entry: WeightsEntry, digest: str) -> None:
        """Say that a file is of the network that was named."""
        self._out.note(f"{path} fits {entry.id} ({digest}); weights change no number here")

    def begun(self, cases: tuple[Case, ...]) -> None:
        """Say how many rows there are, and begin the bar."""
        self._begun, self._total = time.monotonic(), len(cases)
        self._out.note(f"{self._total} row{'' if self._total == 1 else 's'}, {_execution(self._settings)}")
        self._bar.enter_context(self._out.image_progress(self._total, "measuring"))

    def step(self, case: Case, stage: Stage, done: int, total: int | None) -> None:
        """Show what is being done."""
        of = "" if total is None else f" of {total}"
        self._out.image_now(f"{case.entry.id}: {stage} {done + 1}{of}")

    def measured(self, row: Row) -> None:
        """Show a row, and about how long the others will take."""
        self._done += 1
        left = (time.monotonic() - self._begun) / self._done * (self._total - self._done)
        later = f", about {left:.0f} s left" if left else ""
        self._out.image_done(None)
        # On a terminal too, where finished images pass without a line: a row is what was asked for.
        self._out.note(f"{self._done} of {self._total}: {_one_line(row)}{later}")


def _execution(settings: BenchSettings) -> str:
    if settings.runs == 0:
        return "only counted"
    timed = f"{settings.seconds:g} s of timed runs or so" if settings.runs is None else f"timed runs: {settings.runs}"
    return f"each in a process of its own; {timed}"


def _one_line(row: Row) -> str:
    height, width = row.geometry.output
    what = f"{row.case.entry.id} {width}x{height}"
    if row.error is not None:
        return f"{what}: {row.error}"
    if row.measured_as is not None:
        return f"{what}: the same network as {row.measured_as}"
    if row.measurement is None:
        return f"{what}: counted"
    timing = row.measurement.timing
    runs = len(timing.seconds)
    return f"{what}: {timing.median:.4g} s a run, {runs} run{'' if runs == 1 else 's'}"


def print_tables(out: Output, report: BenchReport, comparison: Comparison | None, tolerance: float) -> None:
    """Print the rows as tables, and what they mean."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    title, tables = lay_out(report, comparison, tolerance=tolerance, width=width)
    out.note(title)
    growth = lay_out_growth(report)
    for table in (*tables, *([] if growth is None else [growth])):
        out.table(table.headers, table.rows, numeric=table.headers[1:])
    for line in explain(report, comparison):
        out.note(line)


def write_files(out: Output, report: BenchReport, comparison: Comparison | None, reported: ReportOptions) -> None:
    """Write what was asked for besides the terminal."""
    overwrite = reported.existing == "overwrite"
    if reported.csv is not None:
        publish(report.to_csv().encode(), reported.csv, overwrite=overwrite)
        out.note(f"wrote {reported.csv}")
    if reported.html is not None:
        page = bench_page(report, comparison, tolerance=reported.tolerance)
        publish(page.encode(), reported.html, overwrite=overwrite)
        out.note(f"wrote {reported.html}")


def raise_for_failures(report: BenchReport) -> None:
    """Refuse to call it a success where rows could not be measured.

    Raises:
        RestoreError: If there are any.
    """
    failed = [row for row in report.rows if row.error is not None]
    if failed:
        first = f"{failed[0].case.entry.id}: {failed[0].error}"
        msg = f"{len(failed)} of {len(report.rows)} rows could not be measured; {first}"
        raise RestoreError(msg)


def raise_for_growth(out: Output, comparison: Comparison, tolerance: float) -> None:
    """Show what differs from the earlier report.

    Raises:
        RestoreError: If latency or memory grew beyond the tolerance.
    """
    for line in comparison.machine:
        out.warn(f"not the machine of the earlier report: {line}")
    changes = [change for change in comparison.changes if change is not None]
    for change in changes:
        if change.changed_counts:
            out.warn(f"{change.id}: not the network of the earlier report: {', '.join(change.changed_counts)} changed")
    grown = [change.id for change in changes if change.exceeds(tolerance)]
    if grown:
        raise RestoreError(f"latency or memory grew by more than {tolerance:.0%}: {', '.join(grown)}")

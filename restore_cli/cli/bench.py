"""`restore bench`: what networks cost, and what they take on this machine.

Stage 1, ASK: options to settings (see `bench_options`), rows to a table, JSON, CSV or a page. What is measured and
how is told in `benchmark/`.
"""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING

import typer

from restore_cli.cli.bench_options import (
    ConditionOptions,
    MeasuringOptions,
    ReportOptions,
    SubjectOptions,
    settings_of,
)
from restore_cli.cli.options import MessageOptions
from restore_cli.cli.output import Output
from restore_cli.cli.registration import command
from restore_cli.cli.signals import raise_on_signals
from restore_cli.errors import RestoreError, UsageError

if TYPE_CHECKING:
    from restore_cli.benchmark.against import Comparison
    from restore_cli.benchmark.cases import BenchSettings, Case
    from restore_cli.benchmark.report import Report
    from restore_cli.benchmark.rows import Row
    from restore_cli.benchmark.timing import Stage
    from restore_cli.weights.manifest import WeightsEntry

app = typer.Typer()


@command(
    app,
    "bench",
    examples="""
        restore bench --model ramit
        restore bench --model ramit-1,ramit-slim,ramit-lite --html bench.html
        restore bench -m ramit-1-sr-x4 --size 640x360,1280x720 --threads 1,2
        restore bench -m ramit-1-sr-x4 --context global,tile --tile auto
        restore bench -m ramit-lite-sr-x4 --growth 16 --html growth.html
        restore bench -m ramit-1 --json > before.json
        restore bench -m ramit-1 --against before.json
        restore bench -m ramit --runs 0
        restore bench -m ramit --full --csv bench.csv""",
)
def bench(
    subjects: SubjectOptions,
    conditions: ConditionOptions,
    measuring: MeasuringOptions,
    reported: ReportOptions,
    messages: MessageOptions,
) -> None:
    """Measure networks: parameters, Mult-Adds, FLOPs, latency, output rate, peak memory, energy.

    Needs no weights file: the weights are random, which changes no figure here. Every row is measured in a process of
    its own, beside the machine's own ceilings.
    """
    from restore_cli.benchmark.against import compare, load_earlier

    reported.check()
    earlier = None if reported.against is None else load_earlier(reported.against)
    out = messages.open()
    report = _measure(_entries(subjects, out), settings_of(conditions, measuring), out)
    comparison, refusal = None, None
    if earlier is not None:
        try:
            comparison = compare(report, earlier)
        except UsageError as error:  # told last: what was measured in minutes is shown whatever it is held against
            refusal = error
    if messages.json:
        out.json({**report.to_json(), "against": comparison and comparison.to_json(reported.tolerance)})
    else:
        _print_tables(out, report, comparison, reported.tolerance)
    _write_files(out, report, comparison, reported)
    _raise_for_failures(report)
    if refusal is not None:
        raise refusal
    if comparison is not None:
        _tell_growth(out, comparison, reported.tolerance)


def _entries(subjects: SubjectOptions, out: Output) -> tuple[WeightsEntry, ...]:
    """Find the networks that were named, those of the manifest first.

    A file that does not say of which network it is, as others' do not, must be of the one that was named.

    Raises:
        UsageError: If a name is unknown, or a file does not say what it is.
        WeightsError: If a file cannot be read, or is of another network.
    """
    from restore_cli.benchmark.cases import select_entries
    from restore_cli.weights.manifest import load_manifest

    entries = select_entries(load_manifest(), subjects.names())
    if not subjects.weights:
        return entries
    from restore_cli.weights.file import entry_from_file
    from restore_cli.weights.load import load_weights

    own = []
    for path in subjects.weights:
        entry = entry_from_file(path)
        if entry is not None:
            own.append(entry)
        elif len(entries) == 1:
            digest = load_weights(entries[0], path).digest
            out.note(f"{path} fits {entries[0].id} ({digest}); weights change no figure here")
        else:
            msg = f"{path} does not say of which network it is"
            raise UsageError(msg, hint="name that one network with --model, and no other")
    return (*entries, *own)


def _measure(entries: tuple[WeightsEntry, ...], settings: BenchSettings, out: Output) -> Report:
    from restore_cli.benchmark.cases import cases_of
    from restore_cli.benchmark.machine import describe_environment
    from restore_cli.benchmark.report import Report
    from restore_cli.benchmark.rows import measure_rows
    from restore_cli.inference.device import choose_device, choose_dtype

    choice = choose_device(settings.device)
    for dtype in settings.dtypes:  # refused here once and not in every row
        choose_dtype(dtype, choice.device, measured_good=())
    cases = cases_of(entries, settings)
    environment = describe_environment(choice.device, choice.reason)

    def on_step(case: Case, stage: Stage, done: int, total: int | None) -> None:
        of = "" if total is None else f" of {total}"
        out.image_now(f"{case.entry.id}: {stage} {done + 1}{of}")

    rows: list[Row] = []
    begun = time.monotonic()
    out.note(f"{len(cases)} row{'' if len(cases) == 1 else 's'}, {_how(settings)}")
    with out.image_progress(len(cases), "measuring"), raise_on_signals():
        for row in measure_rows(cases, settings, on_step):
            rows.append(row)
            left = (time.monotonic() - begun) / len(rows) * (len(cases) - len(rows))
            later = f", about {left:.0f} s left" if left else ""
            out.image_done(f"{len(rows)} of {len(cases)}: {_one_line(row)}{later}")
    return Report(environment=environment, rows=tuple(rows))


def _how(settings: BenchSettings) -> str:
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


def _print_tables(out: Output, report: Report, comparison: Comparison | None, tolerance: float) -> None:
    from restore_cli.benchmark.table import explain, lay_out, lay_out_growth

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    title, tables = lay_out(report, comparison, tolerance=tolerance, width=width)
    out.note(title)
    growth = lay_out_growth(report)
    for table in (*tables, *([] if growth is None else [growth])):
        out.table(table.headers, table.rows, numeric=table.headers[1:])
    for line in explain(report, comparison):
        out.note(line)


def _write_files(out: Output, report: Report, comparison: Comparison | None, reported: ReportOptions) -> None:
    from restore_cli.benchmark.page import bench_page
    from restore_cli.storage.publish import publish

    overwrite = reported.existing == "overwrite"
    if reported.csv is not None:
        publish(report.to_csv().encode(), reported.csv, overwrite=overwrite)
        out.note(f"wrote {reported.csv}")
    if reported.html is not None:
        page = bench_page(report, comparison, tolerance=reported.tolerance)
        publish(page.encode(), reported.html, overwrite=overwrite)
        out.note(f"wrote {reported.html}")


def _raise_for_failures(report: Report) -> None:
    failed = [row for row in report.rows if row.error is not None]
    if failed:
        first = f"{failed[0].case.entry.id}: {failed[0].error}"
        msg = f"{len(failed)} of {len(report.rows)} rows could not be measured; {first}"
        raise RestoreError(msg)


def _tell_growth(out: Output, comparison: Comparison, tolerance: float) -> None:
    for line in comparison.machine:
        out.warn(f"not the machine of the earlier report: {line}")
    changes = [change for change in comparison.changes if change is not None]
    for change in changes:
        if change.changed_counts:
            out.warn(f"{change.id}: not the network of the earlier report: {', '.join(change.changed_counts)} changed")
    grown = [change.id for change in changes if change.exceeds(tolerance)]
    if grown:
        raise RestoreError(f"latency or memory grew by more than {tolerance:.0%}: {', '.join(grown)}")

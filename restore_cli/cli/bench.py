"""`restore bench`: what networks cost, and what they take on this machine.

Stage 1, ASK: options to wishes, rows to a table, JSON or CSV. What is measured and how is told in `bench/`.
"""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restore_cli.cli.options import MESSAGES, NETWORK, Device, OutputOptions, complete_model
from restore_cli.cli.output import Output
from restore_cli.cli.registration import command
from restore_cli.errors import RestoreError, UsageError

if TYPE_CHECKING:
    from restore_cli.bench.against import Comparison
    from restore_cli.bench.cases import BenchWishes, Case, Size
    from restore_cli.bench.report import Report, Row
    from restore_cli.bench.timing import Stage

MEASURING = "Measuring"

app = typer.Typer()


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """Options of what is measured; those that may be given several times are crossed with each other."""

    model: Annotated[
        list[str],
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            autocompletion=complete_model,
            rich_help_panel=MEASURING,
            help="Network or full weights id; again for several. A network has a row for each scale or task.",
        ),
    ]
    size: Annotated[
        list[str] | None,
        typer.Option(
            "--size",
            metavar="WxH",
            rich_help_panel=MEASURING,
            help="Output in pixels, the input being that by the scale, rounded down; again for several. "
            "[default: 1280x720, as in papers]",
        ),
    ] = None
    batch: Annotated[
        list[int] | None,
        typer.Option(
            "--batch",
            min=1,
            metavar="N",
            rich_help_panel=MEASURING,
            help="Images a run; again for several. [default: 1]",
        ),
    ] = None
    runs: Annotated[
        int | None,
        typer.Option(
            "--runs",
            min=0,
            metavar="N",
            rich_help_panel=MEASURING,
            help="Timed runs a row; 0 only counts. [default: what fits --seconds, 3 to 100, fewer if very slow]",
        ),
    ] = None
    warmup: Annotated[
        int | None,
        typer.Option(
            "--warmup",
            min=1,
            metavar="N",
            rich_help_panel=MEASURING,
            help="Runs before them. [default: a second's worth, 1 to 20]",
        ),
    ] = None
    seconds: Annotated[
        float,
        typer.Option("--seconds", min=0, metavar="S", rich_help_panel=MEASURING, help="Of timed runs a row, about."),
    ] = 10.0
    device: Device = "auto"
    dtype: Annotated[
        list[str] | None,
        typer.Option(
            "--dtype",
            metavar="NAME",
            rich_help_panel=NETWORK,
            help="auto, float32, bfloat16 or float16; again for several. [default: auto]",
        ),
    ] = None
    threads: Annotated[
        list[int] | None,
        typer.Option(
            "--threads",
            min=1,
            metavar="N",
            rich_help_panel=NETWORK,
            help="CPU threads of one operation; again for several.",
        ),
    ] = None
    compile: Annotated[
        bool, typer.Option("--compile", rich_help_panel=NETWORK, help="Run through torch.compile, timed apart.")
    ] = False

    def wishes(self) -> BenchWishes:
        """Return the conditions these options describe.

        Raises:
            UsageError: If a size cannot be read.
        """
        from restore_cli.bench.cases import PAPER_SIZE, BenchWishes

        return BenchWishes(
            sizes=tuple(map(parse_size, self.size)) if self.size else (PAPER_SIZE,),
            batches=tuple(self.batch or (1,)),
            dtypes=tuple(self.dtype or ("auto",)),
            threads=tuple(self.threads or (None,)),
            device=self.device,
            compile=self.compile,
            runs=self.runs,
            warmup=self.warmup,
            seconds=self.seconds,
        )


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Options of what becomes of the figures."""

    csv: Annotated[
        bool, typer.Option("--csv", rich_help_panel=MESSAGES, help="Print CSV on stdout in place of the table.")
    ] = False
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="FILE.json",
            rich_help_panel=MESSAGES,
            help="Show ratios to an earlier --json; exit 1 where latency or memory grew beyond --tolerance.",
        ),
    ] = None
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance",
            min=0,
            metavar="SHARE",
            rich_help_panel=MESSAGES,
            help="Growth that is let pass: 0.1 is a tenth.",
        ),
    ] = 0.1


@command(
    app,
    "bench",
    examples="""
        restore bench --model ramit
        restore bench -m ramit-1 -m ramit-slim --json > before.json
        restore bench -m ramit-1 -m ramit-slim --against before.json
        restore bench -m ramit-1-sr-x4 --size 640x360 --size 1280x720 --threads 1 --threads 2
        restore bench -m ramit --runs 0""",
)
def bench(measured: BenchOptions, reported: ReportOptions, said: OutputOptions) -> None:
    """Measure networks: parameters, Mult-Adds, FLOPs, latency, output rate, peak memory.

    Needs no weights file: the weights are random, which changes no figure here. Every row is measured in a process of
    its own, beside the machine's own ceilings.
    """
    from restore_cli.bench.against import compare, load_earlier

    if reported.csv and said.json:
        msg = "--csv and --json both want stdout"
        raise UsageError(msg, hint="leave one of them out")
    earlier = None if reported.against is None else load_earlier(reported.against)
    out = said.open()
    report = _measure(measured, out)
    comparison = None if earlier is None else compare(report, earlier)
    if said.json:
        out.json({**report.to_json(), "against": comparison and comparison.to_json(reported.tolerance)})
    elif reported.csv:
        for line in report.to_csv().splitlines():
            out.data(line)
    else:
        _print_table(out, report, comparison, reported.tolerance)
    _raise_for_failures(report)
    if comparison is not None:
        _tell_growth(out, comparison, reported.tolerance)


def parse_size(text: str) -> Size:
    """Read "1280x720" (width first, as people write it) into (height, width).

    Raises:
        UsageError: If it is not of that form.
    """
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text.strip().lower())
    if match is None:
        msg = f"cannot read --size {text!r}"
        raise UsageError(msg, hint="write width and height of the output, such as 1280x720")
    return int(match[2]), int(match[1])


def _measure(measured: BenchOptions, out: Output) -> Report:
    from restore_cli.bench.cases import cases_of, select_entries
    from restore_cli.weights.manifest import load_manifest

    wishes = measured.wishes()
    cases = cases_of(select_entries(load_manifest(), measured.model), wishes)

    from restore_cli.bench.machine import describe_environment
    from restore_cli.bench.report import Report, measure_rows
    from restore_cli.inference.device import choose_device, choose_dtype

    choice = choose_device(wishes.device)
    for dtype in wishes.dtypes:  # refused here once and not in every row
        choose_dtype(dtype, choice.device, measured_good=())
    environment = describe_environment(choice.device, choice.reason)

    def on_step(case: Case, stage: Stage, done: int, total: int | None) -> None:
        of = "" if total is None else f" of {total}"
        out.image_now(f"{case.id}: {stage} {done + 1}{of}")

    rows = []
    with out.image_progress(len(cases), "measuring"):
        for row in measure_rows(cases, wishes, on_step):
            rows.append(row)
            out.image_done(_one_line(row))
    return Report(environment=environment, rows=tuple(rows))


def _one_line(row: Row) -> str:
    height, width = row.geometry.output
    what = f"{row.case.id} {width}x{height}"
    if row.error is not None:
        return f"{what}: {row.error}"
    if row.measurement is None:
        return f"{what}: counted"
    timing = row.measurement.timing
    return f"{what}: {timing.median:.4g} s a run, {len(timing.seconds)} runs"


def _print_table(out: Output, report: Report, comparison: Comparison | None, tolerance: float) -> None:
    from restore_cli.bench.table import explain, lay_out

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    title, tables = lay_out(report, comparison, tolerance=tolerance, width=width)
    out.note(title)
    for table in tables:
        out.table(table.headers, table.rows, numeric=table.headers[1:])
    for line in explain(report, comparison):
        out.note(line)


def _raise_for_failures(report: Report) -> None:
    failed = [row for row in report.rows if row.error is not None]
    if failed:
        msg = f"{len(failed)} of {len(report.rows)} rows could not be measured; {failed[0].case.id}: {failed[0].error}"
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

"""`restore bench`: what networks cost, and what they take on this machine.

Stage 1, ASK: options to settings (see `bench_options`) to a call of `benchmark.run.bench`; `measurements` shows the
rows.
"""

from __future__ import annotations

from contextlib import ExitStack

import typer

from restore_cli.cli.bench_options import (
    ConditionOptions,
    MeasuringOptions,
    ReportOptions,
    SubjectOptions,
    settings_of,
    split,
)
from restore_cli.cli.options import MessageOptions
from restore_cli.cli.registration import command
from restore_cli.cli.signals import raise_on_signals
from restore_cli.errors import UsageError
from restore_cli.storage.files import require_place

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

    Needs no weights file: the weights are random, which changes no number here. Every row is measured in a process of
    its own, beside the machine's own ceilings.
    """
    from restore_cli.benchmark.against import compare, load_earlier
    from restore_cli.benchmark.run import bench as measure
    from restore_cli.cli.measurements import ShownBench, print_tables, raise_for_failures, raise_for_growth, write_files

    for option, file in (("--csv", reported.csv), ("--html", reported.html)):
        require_place(option, file, overwrite=reported.existing == "overwrite")
    earlier = None if reported.against is None else load_earlier(reported.against)
    out = messages.open()
    settings = settings_of(conditions, measuring)
    with raise_on_signals(), ExitStack() as bar:
        shown = ShownBench(out, settings, bar)
        report = measure(split(subjects.model), weights=subjects.weights or (), settings=settings, watcher=shown)
    comparison, refusal = None, None
    if earlier is not None:
        try:
            comparison = compare(report, earlier)
        except UsageError as error:  # told last: what was measured in minutes is shown whatever it is held against
            refusal = error
    if messages.json:
        out.json({**report.to_json(), "against": comparison and comparison.to_json(reported.tolerance)})
    else:
        print_tables(out, report, comparison, reported.tolerance)
    write_files(out, report, comparison, reported)
    raise_for_failures(report)
    if refusal is not None:
        raise refusal
    if comparison is not None:
        raise_for_growth(out, comparison, reported.tolerance)

"""Measure networks, from names to a report: `restore_cli.bench`, which `restore bench` calls too and watches."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from restore_cli.benchmark.cases import ANY_TASK, BenchSettings, Case, cases_of, select_entries
from restore_cli.benchmark.machine import describe_environment
from restore_cli.benchmark.report import BenchReport
from restore_cli.benchmark.rows import Row, measure_rows
from restore_cli.benchmark.timing import Stage
from restore_cli.errors import UsageError
from restore_cli.inference.device import choose_device, choose_dtype
from restore_cli.models import OTHERS
from restore_cli.weights.file import entry_from_file
from restore_cli.weights.foreign import entry_of
from restore_cli.weights.load import load_weights
from restore_cli.weights.manifest import WeightsEntry, load_manifest


class BenchWatcher:
    """Watch a measurement: what happens on the way goes to these methods, which do nothing here."""

    def fits(self, path: Path, entry: WeightsEntry, digest: str) -> None:
        """Take that a file is of the network that was named, which it does not say itself."""

    def begun(self, cases: tuple[Case, ...]) -> None:
        """Take what is going to be measured."""

    def step(self, case: Case, stage: Stage, done: int, total: int | None) -> None:
        """Take how far a case is: runs done of a stage, and their number where it is known."""

    def measured(self, row: Row) -> None:
        """Take a row."""


def bench(
    models: str | Sequence[str] = (),
    *,
    weights: Sequence[str | os.PathLike[str]] = (),
    settings: BenchSettings | None = None,
    watcher: BenchWatcher | None = None,
) -> BenchReport:
    """Measure networks: parameters, Mult-Adds, FLOPs, latency, output rate, peak memory, energy.

    Needs no weights file: the weights are random, which changes no number here. Networks that only spandrel builds are
    read from theirs. Every row is measured in a process of its own, beside the machine's own ceilings.

    Args:
        models: Models' names or weights ids; a model has a row for each scale or task.
        weights: Networks of your own, from files; one of which neither its header nor its tensors tell the network, is
            of the one model that is named.
        settings: What is varied, and how long it may take.
        watcher: Takes what happens on the way.

    Returns:
        The rows, with `to_json` and `to_csv`; those that could not be measured say why in `error` and do not raise.

    Raises:
        UsageError: If a name is unknown, no network was named, or settings contradict each other.
        WeightsError: If a file cannot be read, or is of another network.
        DeviceError: If the device is not available.

    Example:
        >>> from restore_cli import bench
        >>> from restore_cli.benchmark.cases import BenchSettings
        >>> (row,) = bench("ramit-lite-sr-x4", settings=BenchSettings(runs=0)).rows    # runs=0 only counts
        >>> row.counts.params
        314342
    """
    watcher, settings = watcher or BenchWatcher(), settings or BenchSettings()
    entries, files = _entries([models] if isinstance(models, str) else models, map(Path, weights), watcher)
    choice = choose_device(settings.device)
    for dtype in settings.dtypes:  # refused here once and not in every row
        choose_dtype(dtype, choice.device, measured_good=())
    cases = tuple(replace(case, file=files.get(case.entry.id)) for case in cases_of(entries, settings))
    environment = describe_environment(choice.device, choice.reason)
    watcher.begun(cases)
    rows = []
    for row in measure_rows(cases, settings, watcher.step):
        rows.append(row)
        watcher.measured(row)
    return BenchReport(environment=environment, rows=tuple(rows))


def _entries(
    models: Sequence[str], paths: Iterable[Path], watcher: BenchWatcher
) -> tuple[tuple[WeightsEntry, ...], dict[str, Path]]:
    """Find the networks that were named, those of the manifest first, and by id the files that some are built from."""
    entries = select_entries(load_manifest(), models)
    paths, built_from = list(paths), {}
    if not entries and not paths:
        raise UsageError("no network was named", hint="name one or several with --model, such as --model ramit")
    own = []
    for path in paths:
        entry = entry_from_file(path) or _of_another_network(path, entries)
        if entry is None:
            watcher.fits(path, entries[0], load_weights(entries[0], path).digest)
            continue
        own.append(entry)
        if entry.arch == OTHERS:
            built_from[entry.id] = path
    return (*entries, *own), built_from


def _of_another_network(path: Path, entries: Sequence[WeightsEntry]) -> WeightsEntry | None:
    """Return what a file of others is from its tensors, None where it is to fit the only network that was named."""
    try:
        found = entry_of(path, task=ANY_TASK)
    except UsageError:
        if len(entries) != 1:
            raise
        return None
    is_named = len(entries) == 1 and (found.arch, found.config) == (entries[0].arch, entries[0].config)
    return None if is_named else found

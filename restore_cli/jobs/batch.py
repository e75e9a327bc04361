"""A batch from request to report: plan it, leave out what is done, load what it needs, run it.

Stages 2 to 7 as one thing that a program can hold: the command line and `restore_cli.restore_files` both run this, and
differ in who watches.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from restore_cli.errors import RestoreError
from restore_cli.jobs.bucket_results import url_of
from restore_cli.jobs.choose import Chooser, task_of
from restore_cli.jobs.ledger import Ledger
from restore_cli.jobs.networks import LOOKED_AT_FIRST, LoadedNetwork, Networks, NetworkSource, Transfer, facts_of_run
from restore_cli.jobs.plan import BatchSettings, JobPlan, plan_images
from restore_cli.jobs.resume import Ledgers, split_done
from restore_cli.jobs.sources import PassedOver
from restore_cli.jobs.steps import suffix_of_steps
from restore_cli.jobs.targets import ImageJob, JobResult, Summary, one_a_folder, target_folders
from restore_cli.jobs.views import pair_views
from restore_cli.settings import PathSettings, Workers
from restore_cli.storage.buckets import require_bucket
from restore_cli.storage.files import remove_unfinished, require_writable

if TYPE_CHECKING:
    from restore_cli.imaging.decoded_image import DecodedImage
    from restore_cli.inference.report import ImageProgress, NetworkFacts, RunFacts
    from restore_cli.jobs.crew import Foreman
    from restore_cli.weights.store import Progress


@dataclass(frozen=True, kw_only=True)
class BatchRequest(BatchSettings):
    """Say what a batch is to do.

    Attributes:
        paths: Which files.
        right: Right views of the scenes, for a network that takes two.
    """

    paths: PathSettings
    right: Path | None = None


@dataclass(frozen=True, kw_only=True)
class BatchReport:
    """What became of a batch.

    Attributes:
        task: Command name of the task.
        ok: How many images were written.
        skipped: How many were left out, by the plan or since they were proved done.
        failed: How many failed.
        stopped: How many were not done because the batch ended early.
        seconds: From the first image to the last.
        failures: The results of those that failed.
        fatal: The fault that ended the batch early (storage, device or weights gone), or None.
        model: The model's name.
        weights: Ids of the weights that images got, or would have got.
        digests: Digests of these files, in the same order.
        run: How images were run where that was the same for all, else how it was requested; None where none was.
    """

    task: str
    ok: int
    skipped: int
    failed: int
    stopped: int
    seconds: float
    failures: tuple[JobResult, ...] = ()
    fatal: RestoreError | None = None
    model: str
    weights: tuple[str, ...]
    digests: tuple[str, ...]
    run: RunFacts | None = None

    @property
    def exit_code(self) -> int:
        """Return 0 if all images are done, 1 if any failed, or the code of the fault that ended the batch."""
        if self.fatal is not None:
            return self.fatal.exit_code
        return RestoreError.exit_code if self.failed else 0


class BatchWatcher:
    """Watch a batch: what it says on the way goes to these methods, which do nothing here."""

    def transfer(self, name: str) -> AbstractContextManager[Progress | None]:  # noqa: ARG002 -- for those who override
        """Show the download of a file: yield a function that takes how far it is."""
        return contextlib.nullcontext()

    def planned(self, plan: JobPlan) -> None:
        """Take what is left to do, once what is proved done is known."""

    def loaded(self, network: NetworkFacts) -> None:
        """Take a network that was loaded, in another thread where an image asked for it; of several workers' each."""

    def result(self, result: JobResult, facts: RunFacts | None) -> None:
        """Take a result, and how its image was run (None where it was not)."""

    def deliver(self, data: bytes) -> None:
        """Take the bytes of the result that goes to standard output, in another thread."""

    def progress(self, job: ImageJob, progress: ImageProgress) -> None:
        """Take how far an image is in the network: before the work, then a few times a second, in another thread."""

    def observe(self, job: ImageJob, before: DecodedImage, after: DecodedImage) -> None:
        """Take an image before and after, in another thread, ahead of its result."""


def plan_batch(request: BatchRequest) -> JobPlan:
    """Settle which images go where; nothing is touched, torch is not loaded.

    Raises:
        UsageError: If the request contradicts itself, or nothing serves it.
        WeightsError: If the weights file is missing or damaged, or nothing is bundled for the request.
    """
    weights = request.weights
    if request.steps:
        for step in request.steps:
            step.entry()  # what nothing serves is refused here
        weights = replace(weights, task=",".join(step.text for step in request.steps))
        suffix = suffix_of_steps(request.steps)
    else:
        suffix = task_of(weights.task).suffix.format(scale=Chooser(weights).default.scale)
    paths = replace(request.paths, task_suffix=suffix)
    passed_over = PassedOver()
    ledgers: dict[Path, Ledger] = {}
    jobs, skipped = plan_images(paths, request.write, passed_over=passed_over, ledgers=ledgers)
    if request.right is not None:
        jobs = pair_views(jobs, request.right)
    return JobPlan(
        weights=weights,
        steps=request.steps,
        jobs=jobs,
        skipped=skipped,
        run=request.run,
        read=request.read,
        write=request.write,
        workers=request.workers,
        jobs_in_flight=request.jobs_in_flight,
        fail_fast=request.fail_fast,
        retry_failed=request.retry_failed,
        left_out=passed_over.count,
        warnings=tuple(passed_over.warnings),
        ledgers=ledgers,
    )


def without_done(plan: JobPlan, networks: NetworkSource) -> JobPlan:
    """Return a plan with what the ledgers prove done among the skipped.

    Raises:
        WeightsError: If weights cannot be had.
        StorageError: If a ledger cannot be read.
    """
    to_do, done = split_done(plan.jobs, Ledgers(networks.origins(), plan.ledgers))
    return replace(plan, jobs=to_do, skipped=(*plan.skipped, *done) if plan.skipped else done)


def networks_of(
    plan: JobPlan, transfer: Transfer, on_load: Callable[[NetworkFacts], None] | None = None
) -> NetworkSource:
    """Return the networks of a plan: a chain, loaded now, where it has steps; else those that its images choose among.

    Args:
        plan: What is to be done.
        transfer: Takes the name of a file that is about to be fetched, yields who takes how far it is.
        on_load: Called with each network that was loaded.

    Raises:
        RestoreError: If weights or the device cannot be had.
    """
    if not plan.steps:
        return Networks(plan, transfer=transfer, on_load=on_load)
    from restore_cli.jobs.chain import load_chain

    chain = load_chain(plan, transfer)
    if on_load is not None and plan.workers is None:  # else the workers report theirs
        on_load(chain.facts())
    return LoadedNetwork(plan, chain)


class Batch:
    """A plan that is carried out: `prepare`, then `run`.

    Args:
        plan: What to do.
        watcher: Shown how it goes.
        networks: Networks that were loaded before; None lets them be chosen for each image.
    """

    def __init__(
        self, plan: JobPlan, watcher: BatchWatcher | None = None, networks: NetworkSource | None = None
    ) -> None:
        self._plan = plan
        self._watcher = watcher or BatchWatcher()
        self._networks = networks or networks_of(plan, self._watcher.transfer, self._watcher.loaded)
        self._crew = None if plan.workers is None else self._crew_of(plan.workers)
        self._workers_networks: dict[tuple[str, str], NetworkFacts] = {}
        self._started = time.monotonic()
        self._facts: set[RunFacts] = set()
        self._failures: list[JobResult] = []

    def prepare(self) -> None:
        """Leave out what is proved done (under `resume`), and load the network of the first image that is left.

        Raises:
            RestoreError: If weights, the device or a place for results cannot be had; no image was touched.
        """
        _remove_unfinished(self._plan)
        if self._plan.write.resume:
            self._plan = without_done(self._plan, self._networks)
        self._watcher.planned(self._plan)
        places = one_a_folder(self._plan.jobs)
        for folder in target_folders([job for job in places if job.folder is not None]):
            require_writable(folder)
        for folder in target_folders([job for job in places if job.to_bucket])[:1]:
            require_bucket(url_of(folder))
        self._networks.prepare(self._plan.jobs[:LOOKED_AT_FIRST], only_fetch=self._crew is not None)
        if self._crew is not None and self._plan.jobs:
            with contextlib.ExitStack() as on_fault:
                on_fault.callback(self._crew.close)
                self._crew.prepare(self._plan, self._networks.origins(), self._plan.jobs[:LOOKED_AT_FIRST])
                on_fault.pop_all()

    def run(self, stop: threading.Event | None = None) -> BatchReport:
        """Restore what is left.

        Args:
            stop: Set it to end early: no image is begun, the one in the net is left, what is being written is finished.
        """
        if not self._plan.jobs:
            return self._report(self._skip_all())
        if self._crew is not None:
            with contextlib.closing(self._crew):
                summary = self._crew.run(self._plan, stop)
        else:
            summary = self._run_here(stop)
        _remove_unfinished(self._plan)  # of others that were killed meanwhile
        return self._report(summary)

    def _run_here(self, stop: threading.Event | None) -> Summary:
        from restore_cli.jobs.pipeline import run_jobs

        watcher = self._watcher
        return run_jobs(
            self._plan,
            self._networks,
            on_result=lambda result: self._take(result, facts_of_run(self._networks, result)),
            stop=stop,
            deliver=watcher.deliver,
            observe=watcher.observe if type(watcher).observe is not BatchWatcher.observe else None,
            progress=watcher.progress if self._is_followed else None,
        )

    def _crew_of(self, workers: Workers) -> Foreman:
        from restore_cli.jobs.actors import Actors
        from restore_cli.jobs.crew import Foreman
        from restore_cli.jobs.processes import WorkerProcesses

        crew = WorkerProcesses() if workers.engine == "processes" else Actors(workers.address)
        follow = self._watcher.progress if self._is_followed else None
        return Foreman(crew, on_load=self._take_network, on_result=self._take, on_progress=follow)

    @property
    def _is_followed(self) -> bool:
        return type(self._watcher).progress is not BatchWatcher.progress

    def _skip_all(self) -> Summary:
        for job in self._plan.skipped:
            self._take(JobResult(job=job, status="skipped"), None)
        seconds = time.monotonic() - self._started
        return Summary(ok=0, skipped=len(self._plan.skipped), failed=0, stopped=0, seconds=seconds)

    def _take(self, result: JobResult, facts: RunFacts | None) -> None:
        if result.status == "failed":
            self._failures.append(result)
        if facts is not None:
            self._facts.add(facts)
        self._watcher.result(result, facts)

    def _take_network(self, network: NetworkFacts) -> None:
        """Take a network of a worker; the watcher is told of the first of each kind."""
        which = network.entry.id, network.run.device
        if which not in self._workers_networks:
            self._workers_networks[which] = network
            self._watcher.loaded(network)

    def _report(self, summary: Summary) -> BatchReport:
        networks = self._networks
        loaded = tuple(self._workers_networks.values()) or tuple(restorer.facts() for restorer in networks.loaded)
        entries = list({network.entry.id: network.entry for network in loaded}.values()) or [networks.default]
        facts = next(iter(self._facts)) if len(self._facts) == 1 else None
        if facts is None and loaded:
            facts = loaded[0].run
        return BatchReport(
            task=self._plan.task,
            ok=summary.ok,
            skipped=summary.skipped,
            failed=summary.failed,
            stopped=summary.stopped,
            seconds=summary.seconds,
            failures=tuple(self._failures),
            fatal=summary.fatal,
            model=entries[0].model,
            weights=tuple(entry.id for entry in entries),
            digests=tuple(networks.digest(entry) for entry in entries),
            run=facts,
        )


def _remove_unfinished(plan: JobPlan) -> None:
    """Remove what killed processes left in the output folders."""
    places = [job for jobs in (plan.jobs, plan.skipped) for job in one_a_folder(jobs) if job.folder is not None]
    for folder in target_folders(places):
        remove_unfinished(folder)

"""Many images by several workers: who gets which, and what becomes of those whose worker died.

Stages 3 to 7, as `pipeline` is for one process. Whatever workers are, processes of this machine or actors of a cluster,
each runs that same pipeline on what it is given, a few images at a time, and tells how it goes; `Crew` is what is asked
of them. A worker that dies is replaced. One of the images it had in hand may have killed it, or somebody else has, and
nobody knows which; so they are handed out again one by one when all others are done, and one that ends two more workers
is named.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from threading import Event
from typing import Protocol, get_args

from restore_cli._version import __version__
from restore_cli.errors import DeviceError, RestoreError
from restore_cli.inference.report import ImageProgress, NetworkFacts, RunFacts
from restore_cli.jobs.attempts import MOST_DEATHS, DeadlyImageError
from restore_cli.jobs.ledger import Origin
from restore_cli.jobs.plan import JobPlan
from restore_cli.jobs.targets import ImageJob, JobResult, Status, Summary
from restore_cli.settings import Workers

# How long a stop that nothing else announces may go unnoticed.
_POLL_SECONDS = 0.1
_LARGEST_BATCH = 16
# Batches a worker gets of what is left: the fewer are left, the smaller they are, so that all end at about one time.
_BATCHES_EACH = 4
# Workers may meet with accidents while they start; so many in a row, and none will ever be ready.
_FAILED_STARTS = 6


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a worker is told before its first image.

    Attributes:
        plan: How images are restored; its jobs come later.
        first: Some of them, which say what network is needed.
        origins: All that results can be made with, as the one who gives the order knows it.
        follow: Tell how far each image is.
        version: Of the program that gives the order.
    """

    plan: JobPlan
    first: tuple[ImageJob, ...]
    origins: tuple[Origin, ...]
    follow: bool
    version: str = __version__


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A few images for one worker; `one_by_one`: one that a worker may have died of, to be tried again in any case."""

    jobs: tuple[ImageJob, ...]
    one_by_one: bool = False


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A worker can be given images."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A worker has loaded a network."""

    network: NetworkFacts


@dataclass(frozen=True, kw_only=True)
class Advanced:
    """An image, named by its target, is so far in the network."""

    target: Path
    progress: ImageProgress


@dataclass(frozen=True, kw_only=True)
class Done:
    """An image has its result; `facts` tell how it was run, None where it was not."""

    result: JobResult
    facts: RunFacts | None


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A batch is done; `fatal` is what ends the whole run early."""

    fatal: RestoreError | None


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A worker cannot start or go on."""

    error: RestoreError


@dataclass(frozen=True, kw_only=True)
class Died:
    """A worker is gone; `reason` as people say it: "signal 9"."""

    reason: str


Message = Ready | Loaded | Advanced | Done | Finished | Failed | Died
Tell = Callable[[Message], None]


class Crew(Protocol):
    """Some workers, counted from 0."""

    def start(self, order: Order, count: int) -> None:
        """Start `count` workers; each says when it is ready."""
        ...

    def revive(self, worker: int) -> None:
        """Start one that died anew."""
        ...

    def hand_out(self, worker: int, batch: Batch) -> None:
        """Give one that is idle something to do; that it died meanwhile is told by `messages`."""
        ...

    def messages(self, seconds: float) -> Iterable[tuple[int, Message]]:
        """Return what workers say, waiting for it at most so long."""
        ...

    def stop(self) -> None:
        """Let all of them leave what they have in hand, in good order."""
        ...

    def close(self) -> None:
        """End all of them; may be called at any time, and more than once."""
        ...


OnResult = Callable[[JobResult, RunFacts | None], None]
OnProgress = Callable[[ImageJob, ImageProgress], None]


class Foreman:
    """Share the images of a plan among a crew: `prepare`, then `run`, and `close` whatever happens.

    Args:
        crew: The workers.
        on_load: Takes each network that one has loaded.
        on_result: Takes each result, in the order they come.
        on_progress: Takes how far images are; None for nobody.
    """

    def __init__(
        self,
        crew: Crew,
        *,
        on_load: Callable[[NetworkFacts], None],
        on_result: OnResult,
        on_progress: OnProgress | None,
    ) -> None:
        self._crew = crew
        self._on_load = on_load
        self._on_result = on_result
        self._on_progress = on_progress
        self._size = self._most = 0
        self._idle: set[int] = set()
        self._starting: set[int] = set()
        self._failed_starts = 0
        self._in_hand: dict[int, tuple[Batch, dict[Path, ImageJob]]] = {}
        self._waiting: Iterator[ImageJob] = iter(())
        self._waiting_count = 0
        self._suspects: deque[ImageJob] = deque()
        self._deaths: Counter[Path] = Counter()
        self._counts: dict[Status, int] = dict.fromkeys(get_args(Status), 0)
        self._fail_fast = False
        self._leaving = False
        self._fatal: RestoreError | None = None

    def prepare(self, plan: JobPlan, origins: Iterable[Origin], first: Sequence[ImageJob]) -> None:
        """Start the workers and wait for the first that is ready.

        Args:
            plan: Its images, and how they are restored.
            origins: What results can be made with.
            first: Some of the images, which say what network is needed.

        Raises:
            RestoreError: If none can start; no image was touched.
        """
        wanted = plan.workers or Workers(count=1)
        self._size = min(wanted.count, len(plan.jobs))
        self._most = min(wanted.most or wanted.count, len(plan.jobs))
        self._starting = set(range(self._size))
        order = Order(
            plan=replace(plan, jobs=(), skipped=(), ledgers={}),
            first=tuple(first),
            origins=tuple(origins),
            follow=self._on_progress is not None,
        )
        self._waiting, self._waiting_count = iter(plan.jobs), len(plan.jobs)
        self._crew.start(order, self._size)
        while not self._idle:
            self._listen()
            if self._fatal is not None:
                raise self._fatal

    def run(self, plan: JobPlan, stop: Event | None) -> Summary:
        """Have every image of a plan restored.

        Args:
            plan: What was prepared.
            stop: Set it to end early, as in `pipeline.run_jobs`.

        Returns:
            The counts; storage, a device or weights that are gone end the run early and are named there.
        """
        started = time.monotonic()
        self._fail_fast = plan.fail_fast
        for job in plan.skipped:
            self._report(JobResult(job=job, status="skipped"))
        while self._in_hand or ((self._waiting_count or self._suspects) and not self._leaving):
            if stop is not None and stop.is_set():
                self._leave()
            self._hand_out()
            self._grow()
            self._listen()
        for job in chain(self._suspects, self._waiting):
            self._report(JobResult(job=job, status="stopped"))
        return Summary(**self._counts, seconds=time.monotonic() - started, fatal=self._fatal)

    def close(self) -> None:
        """End all workers."""
        self._crew.close()

    def _hand_out(self) -> None:
        while self._idle and (self._suspects or self._waiting_count) and not self._leaving:
            if self._waiting_count:
                size = min(max(1, self._waiting_count // (_BATCHES_EACH * self._size)), _LARGEST_BATCH)
                batch = Batch(jobs=tuple(islice(self._waiting, size)))
                self._waiting_count -= size
            else:
                batch = Batch(jobs=(self._suspects.popleft(),), one_by_one=True)
            worker = self._idle.pop()
            self._in_hand[worker] = batch, {job.target: job for job in batch.jobs}
            self._crew.hand_out(worker, batch)

    def _grow(self) -> None:
        """Ask for as many workers again as there are while images wait, unless some that were asked for are to come."""
        if not self._waiting_count or self._idle or self._starting or self._leaving:
            return
        for worker in range(self._size, min(2 * self._size, self._most)):
            self._size += 1
            self._starting.add(worker)
            self._crew.revive(worker)

    def _listen(self) -> None:
        for worker, message in self._crew.messages(_POLL_SECONDS):
            self._take(worker, message)

    def _take(self, worker: int, message: Message) -> None:
        _, open_jobs = self._in_hand.get(worker, (None, {}))
        match message:
            case Ready():
                self._starting.discard(worker)
                self._failed_starts = 0
                self._idle.add(worker)
            case Loaded():
                self._on_load(message.network)
            case Advanced():
                job = open_jobs.get(message.target)
                if job is not None and self._on_progress is not None:
                    self._on_progress(job, message.progress)
            case Done():
                self._failed_starts = 0
                if open_jobs.pop(message.result.target, None) is not None:
                    self._report(message.result, message.facts)
            case Finished():
                self._in_hand.pop(worker, None)
                self._idle.add(worker)
                self._end(message.fatal)
            case Failed():
                self._end(message.error)
            case Died():
                self._bury(worker, message.reason)

    def _report(self, result: JobResult, facts: RunFacts | None = None) -> None:
        self._counts[result.status] += 1
        self._on_result(result, facts)
        if result.status == "failed" and self._fail_fast:
            self._leave()

    def _end(self, fatal: RestoreError | None) -> None:
        if fatal is not None:
            self._fatal = self._fatal or fatal
            self._leave()

    def _leave(self) -> None:
        if not self._leaving:
            self._leaving = True
            self._crew.stop()

    def _bury(self, worker: int, reason: str) -> None:
        """Take up what a dead worker has left, and replace it if there is something to do."""
        self._idle.discard(worker)
        batch, left = self._in_hand.pop(worker, (None, {}))
        if batch is not None and batch.one_by_one:
            self._deaths.update(left.keys())
        for job in left.values():
            if self._deaths[job.target] >= MOST_DEATHS:
                msg = f"{job.source_name}: it ended its process twice"
                error = DeadlyImageError(msg, hint="say --retry-failed to try it once more")
                self._report(JobResult(job=job, status="failed", error=error))
            else:
                self._suspects.append(job)
        if worker in self._starting:
            self._failed_starts += 1
            if self._failed_starts >= _FAILED_STARTS:
                msg = f"workers end while they start ({reason})"
                self._end(DeviceError(msg, hint="lower --workers, or look at what the system says of its memory"))
        if not self._leaving and (self._suspects or self._waiting_count):
            self._starting.add(worker)
            self._crew.revive(worker)

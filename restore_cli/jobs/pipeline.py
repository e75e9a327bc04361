"""Many images: while one is in the net, the next are decoded and the last are encoded and published.

Stages 3 to 7, around the restorer. One coordinator moves each image from stage to stage; what is done there (`stages`)
runs in threads of its own, which never wait for each other, so nothing can lock up, and Pillow and torch let other
threads run while they work. An image that fails travels on as its error: each job gives exactly one result, in the
order of the plan; only those that another process on the same folder is busy with come last, when it has done them or
died.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import get_args

from restore_cli.errors import DeviceError, ImageError, RestoreError, StorageError, WeightsError
from restore_cli.imaging.decoded_image import DecodedImage
from restore_cli.inference.device import is_out_of_memory
from restore_cli.inference.report import ImageProgress
from restore_cli.inference.runner import StopRequestedError
from restore_cli.jobs.choose import Choice, sigma_warning
from restore_cli.jobs.ledger import Origin
from restore_cli.jobs.networks import NetworkSource
from restore_cli.jobs.plan import JobPlan
from restore_cli.jobs.resume import Ledgers
from restore_cli.jobs.stages import (
    Advice,
    Deliver,
    DoneAlreadyError,
    Observe,
    Outcome,
    Proof,
    Read,
    Written,
    read_image,
    restore_image,
    write_image,
)
from restore_cli.jobs.targets import ImageJob, JobResult, Status, Summary, one_a_folder

Follow = Callable[[ImageJob, ImageProgress], None]

# How long a stop that nothing else announces may go unnoticed.
_POLL_SECONDS = 0.1


def run_jobs(
    plan: JobPlan,
    networks: NetworkSource,
    *,
    on_result: Callable[[JobResult], None],
    stop: threading.Event | None = None,
    deliver: Deliver | None = None,
    observe: Observe | None = None,
    progress: Follow | None = None,
    ledgers: Ledgers | None = None,
) -> Summary:
    """Restore every image of a plan.

    Args:
        plan: What to do.
        networks: Those that its images choose among.
        on_result: Called in this thread with each result, skipped images first, then in the plan's order, then those
            another process had in hand.
        stop: Set it to end early: no image is begun, the one in the net is left, what is being written is finished.
        deliver: Takes the bytes of the result that goes to standard output, in another thread.
        observe: Takes each job with its image before and after, in another thread, ahead of its result; an image whose
            result is not "ok" may come too.
        progress: Takes each job and how far its image is in the network, in another thread.
        ledgers: Those of the output folders, to be kept open for the next plan; None opens and closes them.

    Returns:
        The counts; storage, a device or weights that are gone end the run early and are named there.
    """
    started = time.monotonic()
    counts: dict[Status, int] = dict.fromkeys(get_args(Status), 0)

    def report(result: JobResult) -> None:
        counts[result.status] += 1
        on_result(result)

    for job in plan.skipped:
        report(JobResult(job=job, status="skipped"))
    own = _ledgers_of(plan, networks) if ledgers is None else None
    kept = own if ledgers is None else ledgers
    try:
        if kept is not None:
            kept.read_attempts(plan.jobs)
        fatal = _Coordinator(plan, networks, report, stop, deliver, observe, progress, kept).run()
    finally:
        if own is not None:
            own.close()
    return Summary(**counts, seconds=time.monotonic() - started, fatal=fatal)


class Stage(Enum):
    """Where an image is; a thread works on it in the stages ending in ING."""

    READING = auto()
    READ = auto()
    RUNNING = auto()
    RAN = auto()
    WRITING = auto()
    DONE = auto()


_NEXT_STAGE = {Stage.READING: Stage.READ, Stage.RUNNING: Stage.RAN}
AHEAD_OF_THE_NET = {Stage.READING, Stage.READ}
"""Where an image waits for the network."""
BEFORE_WRITING = {*AHEAD_OF_THE_NET, Stage.RUNNING, Stage.RAN}
"""Where it has not yet been handed to a writer."""


@dataclass(kw_only=True)
class Flight:
    """One image on its way; `image` is held here only while no thread has it.

    `struck_out`: what was written down of its being begun is settled.
    """

    job: ImageJob
    stage: Stage = Stage.READING
    digest: str = ""
    tag: str | None = None
    struck_out: bool = False
    image: DecodedImage | None = None
    choice: Choice | None = None
    origin: Origin | None = None
    future: Future[Outcome] | None = None
    since: float = 0.0
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    advice: tuple[Advice, ...] = ()
    size_in: tuple[int, int] | None = None
    size_out: tuple[int, int] | None = None
    result: JobResult | None = None

    def launch(self, stage: Stage, pool: Executor, work: Callable[[], Outcome]) -> None:
        """Let a thread do the work of a stage."""
        self.stage, self.image, self.since = stage, None, time.monotonic()
        self.future = pool.submit(work)

    def take(self, outcome: Outcome) -> None:
        """Take what a stage gave."""
        if isinstance(outcome, Written):
            self.warnings += outcome.warnings
            self.finish("ok")
            return
        if isinstance(outcome, Read):
            self.image, self.digest, self.choice = outcome.image, outcome.digest, outcome.choice
            self.tag = outcome.tag
        else:
            self.image, self.origin, self.advice = outcome.image, outcome.origin, outcome.advice
        self.stage = _NEXT_STAGE[self.stage]
        self.warnings = (*self._warnings_of_choice(), *self.image.warnings)
        self.size_out = (self.image.height, self.image.width)
        self.size_in = self.size_in or self.size_out

    def _warnings_of_choice(self) -> tuple[str, ...]:
        choice = self.choice
        warning = None if choice is None else sigma_warning(choice.entry, choice.sigma)
        return () if warning is None else (warning,)

    def finish(self, status: Status, error: RestoreError | None = None) -> None:
        """Settle the result; the image is let go."""
        self.stage, self.image, self.future = Stage.DONE, None, None
        self.result = JobResult(
            job=self.job,
            status=status,
            seconds=self.seconds,
            error=error,
            warnings=self.warnings,
            advice=self.advice,
            size_in=self.size_in,
            size_out=self.size_out if status == "ok" else None,
            weights=None if self.choice is None else self.choice.entry.id,
            noise=None if self.choice is None else self.choice.noise,
        )


class _Coordinator:
    """Move images from stage to stage; only its own thread touches flights, so there is nothing to lock."""

    def __init__(
        self,
        plan: JobPlan,
        networks: NetworkSource,
        report: Callable[[JobResult], None],
        stop: threading.Event | None,
        deliver: Deliver | None,
        observe: Observe | None,
        progress: Follow | None,
        ledgers: Ledgers | None,
    ) -> None:
        self._progress = progress
        self._plan = plan
        self._networks = networks
        self._deliver = deliver
        self._observe = observe
        self._ledgers = ledgers
        self._report = report
        self._stop = stop
        self._most = max(1, plan.jobs_in_flight)
        self._waiting, self._waiting_count = iter(plan.jobs), len(plan.jobs)
        self._held_elsewhere: deque[ImageJob] = deque()
        self._flights: deque[Flight] = deque()
        self._leaving = threading.Event()  # the net looks at it too
        self._fatal: RestoreError | None = None

    def run(self) -> RestoreError | None:
        """Work until every job has its result; return what ended the run early, or None."""
        with (
            ThreadPoolExecutor(self._most, "read") as readers,
            ThreadPoolExecutor(1, "net") as net,
            ThreadPoolExecutor(self._most, "write") as writers,
        ):
            try:
                while self._waiting_count or self._held_elsewhere or self._flights:
                    if self._stop is not None and self._stop.is_set():
                        self._leaving.set()
                    self._take_up(readers)
                    self._advance(net, writers)
                    self._report_in_order()
                    busy = [flight.future for flight in self._flights if flight.future is not None]
                    if busy:
                        wait(busy, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                    elif self._held_elsewhere and not self._flights:
                        time.sleep(_POLL_SECONDS)
            finally:
                self._leaving.set()  # after an interrupt the pools would wait for the image in the net
        return self._fatal

    def _take_up(self, readers: Executor) -> None:
        ahead = sum(flight.stage in AHEAD_OF_THE_NET for flight in self._flights)
        tries_left = self._waiting_count or len(self._held_elsewhere)
        while tries_left and (ahead < self._most or self._leaving.is_set()):
            tries_left -= 1
            flight = Flight(job=self._next_job())
            if self._leaving.is_set():
                flight.finish("stopped")
            elif not self._claim(flight):
                self._held_elsewhere.append(flight.job)
                continue
            elif flight.result is None:
                work = partial(read_image, flight.job, self._plan, self._networks, self._ledgers, self._leaving)
                flight.launch(Stage.READING, readers, work)
                ahead += 1
            self._flights.append(flight)

    def _next_job(self) -> ImageJob:
        if not self._waiting_count:
            return self._held_elsewhere.popleft()
        self._waiting_count -= 1
        return next(self._waiting)

    def _claim(self, flight: Flight) -> bool:
        """Take an image for this process; return whether it is ours, or has failed at that."""
        resume = self._plan.write.resume
        try:
            return self._ledgers is None or self._ledgers.claim(flight.job, create=resume) or not resume
        except RestoreError as error:
            self._fail(flight, error)
            return True

    def _begin(self, flight: Flight) -> bool:
        """Write down that an image is about to meet the network; return whether that could be done."""
        try:
            if self._ledgers is not None:
                self._ledgers.begin(flight.job, flight.digest)
        except RestoreError as error:
            self._fail(flight, error)
            return False
        return True

    def _advance(self, net: Executor, writers: Executor) -> None:
        """Take what threads have finished and give them what comes next, the earliest image first."""
        writing = sum(flight.stage is Stage.WRITING for flight in self._flights)
        net_is_free = True
        for flight in self._flights:
            self._land(flight)
            image = flight.image
            if image is None:
                pass  # a thread has it, or it is done
            elif flight.stage is Stage.RAN and writing < self._most:
                proof = None
                if self._ledgers is not None and flight.origin is not None:
                    proof = Proof(self._ledgers, flight.origin, flight.digest, flight.tag)
                write = partial(write_image, image, flight.job, self._plan, proof, self._deliver)
                flight.launch(Stage.WRITING, writers, write)
                writing += 1
            elif flight.stage is Stage.READ and self._leaving.is_set():
                flight.finish("stopped")
            elif flight.stage is Stage.READ and flight.choice is not None and net_is_free and self._begin(flight):
                report_share = None if self._progress is None else partial(self._progress, flight.job)
                net_work = partial(restore_image, image, flight.job, self._plan, self._networks, flight.choice)
                run = partial(net_work, self._leaving, self._observe, report_share)
                flight.launch(Stage.RUNNING, net, run)
            # The order of the plan holds in the net, and only one restored image may wait for a writer.
            net_is_free &= flight.stage not in BEFORE_WRITING

    def _land(self, flight: Flight) -> None:
        """Take the outcome of a thread that has finished."""
        future = flight.future
        if future is None or not future.done():
            return
        flight.future = None
        flight.seconds += time.monotonic() - flight.since
        error = future.exception()
        if isinstance(error, StopRequestedError):
            flight.finish("stopped")
        elif isinstance(error, DoneAlreadyError):
            flight.finish("skipped")
        elif error is not None:
            self._fail(flight, error)
        else:
            flight.take(future.result())
            if flight.stage is Stage.RAN and self._ledgers is not None and not self._plan.one_by_one:
                self._ledgers.strike_out(flight.job, flight.digest)  # or the next in the net could be its death

    def _fail(self, flight: Flight, error: BaseException) -> None:
        fault = _named_fault(error, flight)
        _let_go_of_pixels(fault)
        flight.finish("failed", fault)
        if isinstance(fault, StorageError | DeviceError | WeightsError):
            self._fatal = self._fatal or fault
        if self._fatal is not None or self._plan.fail_fast:
            self._leaving.set()

    def _strike_out(self) -> None:
        """Write down at once that images are finished, whichever others are reported before them."""
        for flight in self._flights:
            if self._ledgers is not None and flight.result is not None and not flight.struck_out:
                flight.struck_out = True
                self._ledgers.end(flight.job, flight.digest, flight.result)

    def _report_in_order(self) -> None:
        self._strike_out()
        while self._flights and (result := self._flights[0].result) is not None:
            job = self._flights.popleft().job
            if self._ledgers is not None:
                self._ledgers.release(job)
            self._report(result)


def _ledgers_of(plan: JobPlan, networks: NetworkSource) -> Ledgers | None:
    """Return the ledgers of a plan's output folders, None where none is kept."""
    if not any(job.keeps_proof for job in one_a_folder(plan.jobs)):
        return None
    return Ledgers(networks.origins() if plan.write.resume else (), plan.ledgers)


def _named_fault(error: BaseException, flight: Flight) -> RestoreError:
    """Return the fault as the user is to read it, with a file's name in it."""
    source, target = flight.job.source_name, flight.job.target_name
    if is_out_of_memory(error):
        fault: RestoreError = ImageError(f"{source}: memory does not suffice", hint="lower --jobs")
    elif not isinstance(error, RestoreError):
        fault = ImageError(f"{source}: unforeseen {type(error).__name__}: {error}", hint="see --debug and report it")
    elif source in error.message or target in error.message:
        return error
    else:
        fault = type(error)(f"{source}: {error.message}", hint=error.hint)
    fault.__cause__ = error
    return fault


def _let_go_of_pixels(error: BaseException) -> None:
    """Keep an error's lines but not the variables of its frames: results may be kept, images not."""
    link: BaseException | None = error
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__

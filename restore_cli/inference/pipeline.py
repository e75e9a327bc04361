"""Many pictures: while one is in the net, the next are decoded and the last are encoded and published.

Stages 3 to 7, around the restorer. One coordinator moves each picture from stage to stage; the stages run in threads of
their own and never wait for each other, so nothing can lock up, and Pillow and torch let other threads run while they
work. A picture that fails travels on as its error: each job gives exactly one result, in the order of the plan.
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
from pathlib import Path
from typing import Literal, get_args

from restore_cli.errors import DeviceError, ImageError, RestoreError, StorageError
from restore_cli.imaging.decode import decode
from restore_cli.imaging.encode import check_size, encode, losses, output_format
from restore_cli.imaging.picture import Picture
from restore_cli.imaging.publish import make_folder, publish
from restore_cli.inference.device import is_out_of_memory
from restore_cli.inference.restorer import Restorer
from restore_cli.inference.runner import StopRequestedError
from restore_cli.plan import ImageJob, JobPlan, WriteWishes

Status = Literal["ok", "skipped", "failed", "stopped"]

# A picture on its way, or the warnings of one that is written.
_Outcome = Picture | tuple[str, ...]

# How long a stop that nothing else announces may go unnoticed.
_POLL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """What became of one picture.

    Attributes:
        source: The picture read.
        target: The file written, or that would have been.
        status: "ok"; "skipped" by the plan; "failed" with an error; "stopped" before it was done, nothing written.
        seconds: Time spent on it in all stages, waiting not counted.
        error: Why it failed, the file named; an unforeseen fault is its `__cause__`.
        warnings: What was decided or lost on the way, a line each.
        size_in: (height, width) read, None if it could not be.
        size_out: (height, width) written, None if nothing was.
    """

    source: Path
    target: Path
    status: Status
    seconds: float = 0.0
    error: RestoreError | None = None
    warnings: tuple[str, ...] = ()
    size_in: tuple[int, int] | None = None
    size_out: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What became of all pictures.

    Attributes:
        ok: How many were written.
        skipped: How many the plan left out.
        failed: How many failed.
        stopped: How many were not done because the run ended early.
        seconds: From the first picture to the last.
        fatal: The fault that ended the run early (storage or device gone), or None.
    """

    ok: int
    skipped: int
    failed: int
    stopped: int
    seconds: float
    fatal: RestoreError | None = None


def run_jobs(
    plan: JobPlan,
    restorer: Restorer,
    *,
    on_result: Callable[[JobResult], None],
    stop: threading.Event | None = None,
) -> Summary:
    """Restore every picture of a plan.

    Args:
        plan: What to do.
        restorer: The network, loaded.
        on_result: Called in this thread with each result, skipped pictures first, then in the plan's order.
        stop: Set it to end early: no picture is begun, the one in the net is left, what is being written is finished.

    Returns:
        The counts; storage or a device that is gone ends the run early and is named there.
    """
    started = time.monotonic()
    counts: dict[Status, int] = dict.fromkeys(get_args(Status), 0)

    def report(result: JobResult) -> None:
        counts[result.status] += 1
        on_result(result)

    for job in plan.skipped:
        report(JobResult(source=job.source, target=job.target, status="skipped"))
    fatal = _Coordinator(plan, restorer, report, stop).run()
    return Summary(**counts, seconds=time.monotonic() - started, fatal=fatal)


class _Stage(Enum):
    """Where a picture is; a thread works on it in the stages ending in ING."""

    READING = auto()
    READ = auto()
    RUNNING = auto()
    RAN = auto()
    WRITING = auto()
    DONE = auto()


_NEXT_STAGE = {_Stage.READING: _Stage.READ, _Stage.RUNNING: _Stage.RAN}
_AHEAD_OF_THE_NET = {_Stage.READING, _Stage.READ}
_BEFORE_WRITING = {*_AHEAD_OF_THE_NET, _Stage.RUNNING, _Stage.RAN}


@dataclass(kw_only=True)
class _Flight:
    """One picture on its way; `picture` is held here only while no thread has it."""

    job: ImageJob
    stage: _Stage = _Stage.READING
    picture: Picture | None = None
    future: Future[_Outcome] | None = None
    since: float = 0.0
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    size_in: tuple[int, int] | None = None
    size_out: tuple[int, int] | None = None
    result: JobResult | None = None

    def launch(self, stage: _Stage, pool: Executor, work: Callable[[], _Outcome]) -> None:
        """Let a thread do the work of a stage."""
        self.stage, self.picture, self.since = stage, None, time.monotonic()
        self.future = pool.submit(work)

    def finish(self, status: Status, error: RestoreError | None = None) -> None:
        """Settle the result; the picture is let go."""
        self.stage, self.picture, self.future = _Stage.DONE, None, None
        self.result = JobResult(
            source=self.job.source,
            target=self.job.target,
            status=status,
            seconds=self.seconds,
            error=error,
            warnings=self.warnings,
            size_in=self.size_in,
            size_out=self.size_out if status == "ok" else None,
        )


class _Coordinator:
    """Move pictures from stage to stage; only its own thread touches flights, so there is nothing to lock."""

    def __init__(
        self,
        plan: JobPlan,
        restorer: Restorer,
        report: Callable[[JobResult], None],
        stop: threading.Event | None,
    ) -> None:
        self._plan = plan
        self._restorer = restorer
        self._report = report
        self._stop = stop
        self._most = max(1, plan.jobs_in_flight)
        self._waiting = deque(plan.jobs)
        self._flights: deque[_Flight] = deque()
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
                while self._waiting or self._flights:
                    if self._stop is not None and self._stop.is_set():
                        self._leaving.set()
                    self._take_up(readers)
                    self._advance(net, writers)
                    self._report_in_order()
                    busy = [flight.future for flight in self._flights if flight.future is not None]
                    wait(busy, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            finally:
                self._leaving.set()  # after an interrupt the pools would wait for the picture in the net
        return self._fatal

    def _take_up(self, readers: Executor) -> None:
        ahead = sum(flight.stage in _AHEAD_OF_THE_NET for flight in self._flights)
        while self._waiting and (ahead < self._most or self._leaving.is_set()):
            flight = _Flight(job=self._waiting.popleft())
            self._flights.append(flight)
            if self._leaving.is_set():
                flight.finish("stopped")
            else:
                flight.launch(_Stage.READING, readers, partial(decode, flight.job.source))
                ahead += 1

    def _advance(self, net: Executor, writers: Executor) -> None:
        """Take what threads have finished and give them what comes next, the earliest picture first."""
        writing = sum(flight.stage is _Stage.WRITING for flight in self._flights)
        net_is_free = True
        for flight in self._flights:
            self._land(flight)
            picture = flight.picture
            if picture is None:
                pass  # a thread has it, or it is done
            elif flight.stage is _Stage.RAN and writing < self._most:
                flight.launch(_Stage.WRITING, writers, partial(_write, picture, flight.job, self._plan.write))
                writing += 1
            elif flight.stage is _Stage.READ and self._leaving.is_set():
                flight.finish("stopped")
            elif flight.stage is _Stage.READ and net_is_free:
                work = partial(_restore, picture, flight.job, self._plan.write, self._restorer, self._leaving)
                flight.launch(_Stage.RUNNING, net, work)
            # The order of the plan holds in the net, and only one restored picture may wait for a writer.
            net_is_free &= flight.stage not in _BEFORE_WRITING

    def _land(self, flight: _Flight) -> None:
        """Take the outcome of a thread that has finished."""
        future = flight.future
        if future is None or not future.done():
            return
        flight.future = None
        flight.seconds += time.monotonic() - flight.since
        error = future.exception()
        if isinstance(error, StopRequestedError):
            flight.finish("stopped")
        elif error is not None:
            self._fail(flight, error)
        elif isinstance(outcome := future.result(), tuple):
            flight.warnings += outcome
            flight.finish("ok")
        else:
            flight.picture = outcome
            flight.stage = _NEXT_STAGE[flight.stage]
            flight.warnings = outcome.warnings
            flight.size_out = (outcome.height, outcome.width)
            flight.size_in = flight.size_in or flight.size_out

    def _fail(self, flight: _Flight, error: BaseException) -> None:
        fault = _named_fault(error, flight)
        _let_go_of_pixels(fault)
        flight.finish("failed", fault)
        if isinstance(fault, StorageError | DeviceError):
            self._fatal = self._fatal or fault
        if self._fatal is not None or self._plan.fail_fast:
            self._leaving.set()

    def _report_in_order(self) -> None:
        while self._flights and (result := self._flights[0].result) is not None:
            self._flights.popleft()
            self._report(result)


def _restore(
    picture: Picture, job: ImageJob, wishes: WriteWishes, restorer: Restorer, stop: threading.Event
) -> Picture:
    """Run the net, unless the result would be too large for its file."""
    height, width = picture.height * restorer.scale, picture.width * restorer.scale
    check_size(height, width, format=_format_of(picture, job, wishes))
    return restorer.restore_picture(picture, stop=stop)


def _write(picture: Picture, job: ImageJob, wishes: WriteWishes) -> tuple[str, ...]:
    """Encode and publish; return what the format could not hold."""
    format_name = _format_of(picture, job, wishes)
    data = encode(picture, format=format_name, quality=wishes.quality, strip=wishes.strip)
    make_folder(job.target.parent)
    publish(data, job.target, overwrite=wishes.existing == "overwrite")
    return losses(picture, format=format_name, strip=wishes.strip)


def _format_of(picture: Picture, job: ImageJob, wishes: WriteWishes) -> str:
    return wishes.format or output_format(picture.format, job.target.suffix)


def _named_fault(error: BaseException, flight: _Flight) -> RestoreError:
    """Return the fault as the user is to read it, with a file's name in it."""
    source, target = str(flight.job.source), str(flight.job.target)
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
    """Keep an error's lines but not the variables of its frames: results may be kept, pictures not."""
    link: BaseException | None = error
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__

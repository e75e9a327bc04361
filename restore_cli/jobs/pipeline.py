"""Many images: while one is in the net, the next are decoded and the last are encoded and published.

Stages 3 to 7, around the restorer. One coordinator moves each image from stage to stage; the stages run in threads of
their own and never wait for each other, so nothing can lock up, and Pillow and torch let other threads run while they
work. An image that fails travels on as its error: each job gives exactly one result, in the order of the plan; only
those that another process on the same folder is busy with come last, when it has done them or died.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from typing import get_args

from restore_cli.errors import DeviceError, ImageError, RestoreError, StorageError, TargetExistsError, WeightsError
from restore_cli.imaging.decode import decode_bytes, read_file
from restore_cli.imaging.decoded_image import DecodedImage
from restore_cli.imaging.encode import encode, fitted, losses
from restore_cli.inference.device import is_out_of_memory
from restore_cli.inference.report import ImageProgress, OnProgress
from restore_cli.inference.runner import StopRequestedError
from restore_cli.jobs.addresses import fetch_image
from restore_cli.jobs.bucket_results import publish_in_bucket
from restore_cli.jobs.check import advice_on, check_output, clipping_warning, written_format
from restore_cli.jobs.choose import Choice
from restore_cli.jobs.flight import (
    AHEAD_OF_THE_NET,
    BEFORE_WRITING,
    Flight,
    JobResult,
    Ran,
    Read,
    Stage,
    Status,
    Summary,
    Written,
)
from restore_cli.jobs.ledger import Origin, digest_of_bytes, digest_of_views
from restore_cli.jobs.networks import NetworkSource
from restore_cli.jobs.plan import JobPlan
from restore_cli.jobs.resume import Ledgers
from restore_cli.jobs.targets import ImageJob, one_a_folder
from restore_cli.settings import WriteSettings
from restore_cli.storage.files import Like, make_folder, publish

__all__ = ["JobResult", "Summary", "run_jobs"]

Deliver = Callable[[bytes], None]
Observe = Callable[[ImageJob, DecodedImage, DecodedImage], None]
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


class _DoneAlreadyError(Exception):
    """Leave an image that another process, or an earlier run, has done."""


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
                work = partial(_read, flight.job, self._plan, self._networks, self._ledgers, self._leaving)
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
                    proof = _Proof(self._ledgers, flight.origin, flight.digest, flight.tag)
                write = partial(_write, image, flight.job, self._plan, proof, self._deliver)
                flight.launch(Stage.WRITING, writers, write)
                writing += 1
            elif flight.stage is Stage.READ and self._leaving.is_set():
                flight.finish("stopped")
            elif flight.stage is Stage.READ and flight.choice is not None and net_is_free and self._begin(flight):
                report_share = None if self._progress is None else partial(self._progress, flight.job)
                net_work = partial(_restore, image, flight.job, self._plan, self._networks, flight.choice)
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
        elif isinstance(error, _DoneAlreadyError):
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


@dataclass(frozen=True)
class _Proof:
    """What a ledger is told of one result."""

    ledgers: Ledgers
    origin: Origin
    digest: str
    tag: str | None


def _ledgers_of(plan: JobPlan, networks: NetworkSource) -> Ledgers | None:
    """Return the ledgers of a plan's output folders, None where none is kept."""
    if not any(job.keeps_proof for job in one_a_folder(plan.jobs)):
        return None
    return Ledgers(networks.origins() if plan.write.resume else (), plan.ledgers)


def _read(
    job: ImageJob, plan: JobPlan, networks: NetworkSource, ledgers: Ledgers | None, stop: threading.Event
) -> Read:
    """Read and decode an image, and settle which weights it gets; `stop` leaves a download.

    Raises:
        _DoneAlreadyError: If its result is there, proved.
        DeadlyImageError: If it has ended its process too often.
    """
    settings, tag = plan.read, None
    if job.url is not None:
        data, tag = fetch_image(job.url, allow_private=job.allow_private, stop=stop)
    else:
        data = read_file(job.source, settings.max_pixels) if job.data is None else job.data
    digest = digest_of_bytes(data) if job.keeps_proof else ""
    right = None if job.right is None else read_file(job.right, settings.max_pixels)
    if right is not None and digest:
        digest = digest_of_views(digest, digest_of_bytes(right))
    if plan.write.resume and ledgers is not None and ledgers.prove(job, digest, tag):
        raise _DoneAlreadyError
    if ledgers is not None and digest:
        if not plan.retry_failed:
            ledgers.refuse_deadly(job, digest)
        if plan.one_by_one:  # so that its decoder is watched too
            ledgers.begin(job, digest)
    image = decode_bytes(data, job.source_name, settings)
    if right is not None:
        image = replace(image, right=decode_bytes(right, str(job.right), settings).pixels)
    return Read(image=image, choice=networks.choose(image), digest=digest, tag=tag)


def _restore(
    image: DecodedImage,
    job: ImageJob,
    plan: JobPlan,
    networks: NetworkSource,
    choice: Choice,
    stop: threading.Event,
    observe: Observe | None,
    progress: OnProgress | None,
) -> Ran:
    """Run the net and bring its result to the requested size, unless that could not be written."""
    restorer = networks.restorer(choice.entry, stop)
    size, pages = (image.height, image.width), 1 + len(image.more)
    format_name = check_output(*size, image.format, job, plan, scale=restorer.scale, pages=pages)
    restored = restorer.restore_image(image, stop=stop, sigma=choice.level, progress=progress)
    clipping = clipping_warning(image, restored, plan.task)
    if clipping is not None:
        restored = replace(restored, warnings=(*restored.warnings, clipping))
    advice = advice_on(image, restored, choice, plan.weights, plan.run)
    restored = fitted(restored, plan.write.size)
    if image.more:
        restored = replace(restored, more=tuple(_restored_pages(image, job, plan, networks, stop)))
    if plan.read.strict:
        _refuse_losses(restored, plan.write, format_name)
    if observe is not None:
        observe(job, image, restored)
    return Ran(image=restored, origin=networks.origin(choice.entry) if job.keeps_proof else None, advice=advice)


def _restored_pages(
    image: DecodedImage, job: ImageJob, plan: JobPlan, networks: NetworkSource, stop: threading.Event
) -> Iterator[DecodedImage]:
    """Restore the pages behind the first, each with the weights that suit it."""
    for page in image.more:
        choice = networks.choose(page)
        restorer = networks.restorer(choice.entry, stop)
        check_output(page.height, page.width, page.format, job, plan, scale=restorer.scale)
        yield fitted(restorer.restore_image(page, stop=stop, sigma=choice.level), plan.write.size)


def _refuse_losses(image: DecodedImage, settings: WriteSettings, format_name: str) -> None:
    """Refuse to write what would cost a warning.

    Raises:
        ImageError: If there is any.
    """
    lines = losses(image, format=format_name, strip=settings.strip, background=settings.background)
    for line in (*image.warnings, *lines):
        raise ImageError(line, hint="leave --strict out to take it as it is")


def _write(image: DecodedImage, job: ImageJob, plan: JobPlan, proof: _Proof | None, deliver: Deliver | None) -> Written:
    """Encode and publish.

    Args:
        image: The result.
        job: Where it goes.
        plan: How it is written.
        proof: What the ledger is told before the result gets its name; None where none is kept.
        deliver: Takes it if it goes to standard output.

    Raises:
        _DoneAlreadyError: If another process was faster and that is as good.
    """
    settings = plan.write
    if proof is not None:
        proof.ledgers.accept(proof.origin)
    format_name = written_format(image.format, job, settings)
    data = encode(
        image,
        format=format_name,
        quality=settings.quality,
        lossless=settings.lossless,
        strip=settings.strip,
        background=settings.background,
    )
    if deliver is not None and job.to_stdout:
        deliver(data)
    else:
        try:
            overwrite = settings.existing == "overwrite" or job.is_in_place
            overwrite |= settings.resume and proof is not None and proof.ledgers.know(job)
            if job.to_bucket:
                _put(data, job, proof, overwrite=overwrite, resume=settings.resume)
            else:
                _publish(data, job, proof, overwrite=overwrite, keep_times=settings.keep_times)
        except TargetExistsError as error:
            proved = settings.resume and proof is not None and proof.ledgers.prove(job, proof.digest, proof.tag)
            if proved or settings.existing == "skip":
                raise _DoneAlreadyError from error
            raise
    lost = losses(image, format=format_name, strip=settings.strip, background=settings.background)
    return Written(warnings=lost)


def _publish(data: bytes, job: ImageJob, proof: _Proof | None, *, overwrite: bool, keep_times: bool) -> None:
    make_folder(job.target.parent)
    if not overwrite and os.path.lexists(job.target):  # before the ledger claims to have written it
        raise TargetExistsError(f"{job.target}: it exists already")
    if proof is not None:
        proof.ledgers.write_down(job, proof.origin, input_digest=proof.digest, output_digest=digest_of_bytes(data))
    # In place the target is what a link points to.
    like = None if job.file is None else Like(source=job.file, takes_its_place=job.is_in_place, keeps_times=keep_times)
    publish(data, job.target, overwrite=overwrite, like=like)


def _put(data: bytes, job: ImageJob, proof: _Proof | None, *, overwrite: bool, resume: bool) -> None:
    made_with = None if proof is None else (proof.origin, proof.digest)
    tag = publish_in_bucket(data, job.target, made_with, overwrite=overwrite, resume=resume)
    if proof is not None:
        digest, tags = digest_of_bytes(data), (proof.tag, tag)
        proof.ledgers.write_down_in_bucket(
            job, proof.origin, input_digest=proof.digest, output_digest=digest, tags=tags
        )


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

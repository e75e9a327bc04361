"""One image after the other through the networks, while the event loop answers: a bounded queue and its tickets.

All of a ticket but its work happens in the event loop's thread, so there is nothing to lock. Bytes in memory are
bounded: so many images wait, and so many results that nobody fetches are kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from restore_cli.errors import ImageError, RestoreError
from restore_cli.imaging.formats import format_of_bytes
from restore_cli.inference.restorer import Restorer
from restore_cli.jobs.chain import Chain
from restore_cli.jobs.choose import Choice, sigma_warning
from restore_cli.jobs.networks import LoadedNetwork
from restore_cli.jobs.pipeline import run_jobs
from restore_cli.jobs.targets import JobResult
from restore_cli.server.request import RestoreRequest, in_parameters
from restore_cli.settings import ReadSettings, RunSettings
from restore_cli.weights.entry import WeightsEntry
from restore_cli.weights.load import load_weights

State = Literal["queued", "running", "done", "failed", "cancelled"]
Report = Callable[[float], None]
Work = Callable[[RestoreRequest, bytes, threading.Event, Report], "RestoredFile"]

_KEPT_NETWORKS = 2


@dataclass(frozen=True, kw_only=True)
class RestoredFile:
    """A restored image.

    Attributes:
        data: Bytes of its file.
        format: Pillow's name of its format.
        weights: Id of the weights that made it.
        seconds: Time spent on it.
        size: (height, width).
        warnings: What was decided or lost on the way, a line each.
        noise: Estimated level of the noise in the image on the 0..255 scale, None where nobody asked for it.
    """

    data: bytes
    format: str
    weights: str
    seconds: float
    size: tuple[int, int]
    warnings: tuple[str, ...]
    noise: float | None = None


class StoppedError(Exception):
    """Leave an image that nobody wants any more."""


@dataclass(kw_only=True)
class Ticket:
    """One image in the queue; touched by the event loop only."""

    id: str
    request: RestoreRequest
    data: bytes = field(repr=False)
    state: State = "queued"
    share: float = 0.0
    error: RestoreError | None = None
    result: RestoredFile | None = field(default=None, repr=False)
    stop: threading.Event = field(default_factory=threading.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_over(self) -> bool:
        """Return whether nothing will change any more."""
        return self.state in {"done", "failed", "cancelled"}

    def turn(self, state: State) -> None:
        """Go to another state and wake those who wait for it."""
        self.state = state
        if self.is_over:
            self.data = b""
        self.changed.set()
        self.changed = asyncio.Event()


class RecentNetworks:
    """The networks in memory, the last few used.

    Args:
        read: How images are read.
        run: How networks run.
    """

    def __init__(self, read: ReadSettings, run: RunSettings) -> None:
        self._read = read
        self._run = run
        self._loaded: OrderedDict[tuple[str, RunSettings], Restorer] = OrderedDict()

    def restore(self, request: RestoreRequest, data: bytes, stop: threading.Event, report: Report) -> RestoredFile:
        """Restore one image to the bytes the command line would write.

        Args:
            request: How.
            data: Bytes of its file.
            stop: Set it to leave the work within moments.
            report: Told which share is done, 0..1, in this thread.

        Raises:
            StoppedError: If `stop` was set.
            RestoreError: As the command line tells it.
        """
        read = replace(
            self._read,
            allow_damaged=request.allow_damaged,
            strict=request.strict,
            all_pages=request.all_pages,
        )
        level = None if request.weights.sigma == "auto" else request.weights.sigma
        run = replace(self._run, sigma=level, strength=request.strength, tta=request.tta or self._run.tta)
        if request.steps:
            restorer: Restorer = self._chain(request, run)
            choice = Choice(entry=restorer.weights.entry)
        else:
            choice = request.choose(data, read)
            restorer = self._restorer(choice.entry, run)
        plan = request.plan(data, read, run)
        results: list[JobResult] = []
        written: list[bytes] = []
        run_jobs(
            plan,
            LoadedNetwork(plan, restorer, noise=choice.noise),
            on_result=results.append,
            stop=stop,
            deliver=written.append,
            progress=lambda _job, progress: report(progress.share),
        )
        (result,) = results
        warnings = [*result.warnings, *(advice.text for advice in result.advice)]
        if (line := sigma_warning(choice.entry, level)) is not None:
            warnings.insert(0, line)
        if result.error is not None:
            raise result.error
        if result.status != "ok" or result.size_out is None:
            raise StoppedError
        return RestoredFile(
            data=written[0],
            format=format_of_bytes(written[0]) or "PNG",
            weights=choice.entry.id,
            seconds=result.seconds,
            size=result.size_out,
            warnings=tuple(map(in_parameters, warnings)),
            noise=choice.sigma,
        )

    def _chain(self, request: RestoreRequest, run: RunSettings) -> Chain:
        runs = [replace(run, sigma=step.level, strength=step.strength) for step in request.steps]
        return Chain(request.steps, list(map(self._restorer, request.entries(), runs)))

    def _restorer(self, entry: WeightsEntry, run: RunSettings) -> Restorer:
        key = entry.id, run
        if key not in self._loaded:
            self._loaded[key] = Restorer(load_weights(entry, offline=True), run)
            while len(self._loaded) > _KEPT_NETWORKS:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(key)
        return self._loaded[key]


class ImageQueue:
    """Work through a bounded queue, one image at a time.

    Args:
        work: Restores one image; called in a thread of its own.
        places: How many images may be uploaded, waiting or worked on at once.
    """

    def __init__(self, work: Work, *, places: int) -> None:
        self._work = work
        self._places = places
        self._taken = 0
        self._waiting: deque[Ticket] = deque()
        self._tickets: OrderedDict[str, Ticket] = OrderedDict()
        self._pool = ThreadPoolExecutor(1, "restore")
        self._new = asyncio.Event()
        self._seconds_each = 1.0

    def reserve(self) -> bool:
        """Take a place before an upload is read; False where there is none."""
        if self._taken >= self._places:
            return False
        self._taken += 1
        return True

    def give_back(self) -> None:
        """Give back a place whose upload came to nothing."""
        self._taken -= 1

    @property
    def retry_seconds(self) -> int:
        """Return after how long it is worth trying again: when half of those who wait now should be done."""
        return max(1, round(self._seconds_each * len(self._waiting) / 2))

    def submit(self, request: RestoreRequest, data: bytes) -> Ticket:
        """Queue an image on a place that was reserved."""
        ticket = Ticket(id=secrets.token_urlsafe(16), request=request, data=data)
        self._tickets[ticket.id] = ticket
        over = [old.id for old in self._tickets.values() if old.is_over]
        for old in over[: max(0, len(over) - self._places)]:
            del self._tickets[old]
        self._waiting.append(ticket)
        self._new.set()
        return ticket

    def find(self, ticket_id: str) -> Ticket | None:
        """Return a ticket by its id, None where there is none any more."""
        return self._tickets.get(ticket_id)

    def ahead_of(self, ticket: Ticket) -> int:
        """Return how many images come before a ticket's."""
        return self._waiting.index(ticket) + 1 if ticket in self._waiting else 0

    def cancel(self, ticket: Ticket) -> None:
        """Stop an image, or forget its result."""
        ticket.stop.set()
        if ticket in self._waiting:
            self._waiting.remove(ticket)
            self._taken -= 1
            ticket.turn("cancelled")
        if ticket.is_over:
            self._tickets.pop(ticket.id, None)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            while not self._waiting:
                self._new.clear()
                await self._new.wait()
            await self._work_on(self._waiting.popleft())

    async def end(self, seconds: float) -> None:
        """Send away what waits, and what is worked on if it takes longer than so many seconds."""
        for ticket in list(self._waiting):
            self.cancel(ticket)
        running = [ticket for ticket in self._tickets.values() if not ticket.is_over]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for ticket in running:
                    await ticket.changed.wait()
        for ticket in running:
            ticket.stop.set()

    def close(self) -> None:
        """Stop everything; the image in the network is left within moments."""
        for ticket in self._tickets.values():
            ticket.stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def _work_on(self, ticket: Ticket) -> None:
        ticket.turn("running")
        started = time.monotonic()
        loop = asyncio.get_running_loop()

        def report(share: float) -> None:
            loop.call_soon_threadsafe(setattr, ticket, "share", share)

        try:
            work = partial(self._work, ticket.request, ticket.data, ticket.stop, report)
            ticket.result = await loop.run_in_executor(self._pool, work)
        except StoppedError:
            state: State = "cancelled"
        except RestoreError as error:
            ticket.error, state = error, "failed"
        except Exception as error:  # noqa: BLE001 -- a bug costs this image, not the server
            ticket.error, state = ImageError(f"unforeseen {type(error).__name__}"), "failed"
        else:
            state = "done"
        finally:
            self._taken -= 1
        self._seconds_each = time.monotonic() - started
        ticket.turn(state)

"""One image on its way through the pipeline: where it is, what is known of it, what became of it, and of all of them.

Stages 3 to 7. Only the pipeline's own thread touches a flight; results go to those who watch. Imports neither torch nor
what decodes images: a run that has nothing to do needs none to say so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from restore_cli.errors import RestoreError
from restore_cli.jobs.choose import Choice, sigma_warning
from restore_cli.jobs.ledger import Origin
from restore_cli.jobs.targets import ImageJob

if TYPE_CHECKING:
    from restore_cli.imaging.decoded_image import DecodedImage
    from restore_cli.jobs.check import Advice
    from restore_cli.metrics.noise_level import NoiseEstimate

Status = Literal["ok", "skipped", "failed", "stopped"]


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """What became of one image.

    Attributes:
        job: The image read, and what was written or would have been.
        status: "ok"; "skipped" by the plan, or since another process has done it; "failed" with an error; "stopped"
            before it was done, nothing written.
        seconds: Time spent on it in all stages, waiting not counted.
        error: Why it failed, the file named; an unforeseen fault is its `__cause__`.
        warnings: What was decided or lost on the way, a line each.
        advice: What would have helped it more.
        size_in: (height, width) read, None if it could not be.
        size_out: (height, width) written, None if nothing was.
        weights: Id of the weights the image got, None if it was not read.
        noise: What was estimated of its noise, None where nobody asked for it.
    """

    job: ImageJob
    status: Status
    seconds: float = 0.0
    error: RestoreError | None = None
    warnings: tuple[str, ...] = ()
    advice: tuple[Advice, ...] = ()
    size_in: tuple[int, int] | None = None
    size_out: tuple[int, int] | None = None
    weights: str | None = None
    noise: NoiseEstimate | None = None

    @property
    def source(self) -> Path:
        """Return the image read."""
        return self.job.source

    @property
    def target(self) -> Path:
        """Return the file written, or that would have been."""
        return self.job.target


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What became of all images.

    Attributes:
        ok: How many were written.
        skipped: How many were left out, by the plan or since another process has done them.
        failed: How many failed.
        stopped: How many were not done because the run ended early.
        seconds: From the first image to the last.
        fatal: The fault that ended the run early (storage or device gone), or None.
    """

    ok: int
    skipped: int
    failed: int
    stopped: int
    seconds: float
    fatal: RestoreError | None = None


@dataclass(frozen=True, kw_only=True)
class Read:
    """An image that was read, the weights it gets, and where a ledger asks for it the digest and tag of its file."""

    image: DecodedImage
    choice: Choice
    digest: str = ""
    tag: str | None = None


@dataclass(frozen=True, kw_only=True)
class Ran:
    """An image that was restored, what with, where a ledger asks for it, and what would have helped it more."""

    image: DecodedImage
    origin: Origin | None
    advice: tuple[Advice, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Written:
    """What writing an image gave: what its format could not hold."""

    warnings: tuple[str, ...]


# What a stage gives: an image read, an image restored, an image written.
Outcome = Read | Ran | Written


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

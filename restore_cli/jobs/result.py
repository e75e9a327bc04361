"""What became of one image, and of all of them: what the pipeline tells those who watch it.

Stage 5, RUN, and the way back. Apart from the pipeline, because a run that has nothing to do needs no torch to say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from restore_cli.errors import RestoreError
from restore_cli.jobs.targets import ImageJob

if TYPE_CHECKING:
    from restore_cli.jobs.advice import Advice
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

"""Image files and folders of them, restored as the command line does: `restore_cli.restore_files`."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from restore_cli.jobs.batch import Batch, BatchReport, BatchRequest, BatchWatcher, plan_batch
from restore_cli.jobs.choose import WeightsRequest
from restore_cli.jobs.plan import JobPlan
from restore_cli.jobs.steps import parse_steps
from restore_cli.jobs.targets import ImageJob, JobResult
from restore_cli.settings import PathSettings, ReadSettings, RunSettings, Workers, WriteSettings

if TYPE_CHECKING:
    from restore_cli.inference.report import ImageProgress, RunFacts


@dataclass(frozen=True, kw_only=True)
class FilesProgress:
    """How far `restore_files` is.

    Attributes:
        done: How many images have a result.
        total: How many images there are.
        source: The image that this is about.
        share: How far it is, 0..1.
        result: What became of it; None while it is in the network.
    """

    done: int
    total: int
    source: Path
    share: float
    result: JobResult | None = None


def restore_files(
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str] | None = None,
    *,
    task: str,
    scale: int | None = None,
    sigma: float | Literal["auto"] | None = None,
    variant: str | None = None,
    gray: bool | None = None,
    right: str | os.PathLike[str] | None = None,
    model: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    offline: bool = False,
    in_place: bool = False,
    recursive: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    suffix: str | None = None,
    resume: bool = False,
    write: WriteSettings | None = None,
    read: ReadSettings | None = None,
    run: RunSettings | None = None,
    workers: int | None = None,
    jobs: int = 2,
    fail_fast: bool = False,
    retry_failed: bool = False,
    progress: Callable[[FilesProgress], None] | None = None,
    stop: threading.Event | None = None,
) -> BatchReport:
    """Restore image files and folders of them to the files that the command line would write.

    Each result appears whole or not at all. Output folders keep a ledger; with `resume` what it proves done is skipped,
    so that a batch that was cut off is simply called again.

    Args:
        inputs: An image, a folder, a pattern such as "scans/*.png", or several of these.
        output: A folder, or the file of a single image; None writes results beside their inputs, under another name.
        task: "sr", "denoise", ..., or several one after the other, as "denoise:25,sr:2".
        scale: 2, 3 or 4 for "sr"; None for 4, or what the weights say.
        sigma: Level of the noise, 0..50 on the 0..255 scale; "auto" estimates it in each image.
        variant: "photo" for sr, "real" for denoise, "motion", "defocus" or "dual-pixel" for deblur; None for the usual.
        gray: Whether to use the gray network of the task; None uses it for gray images.
        right: The right view, or the folder of right views, of "dual-pixel" images.
        model: A model's name or a weights id; None for the bundled weights of the task.
        weights: A weights file of your own; with `model` where it does not say of which network it is.
        offline: Never touch the network.
        in_place: Replace the inputs.
        recursive: Restore the subfolders of folders too.
        include: Restore only files whose name fits one of these patterns.
        exclude: Leave out files and folders whose name fits one of these patterns.
        suffix: Put behind the names of results, in place of the task's ("_x4") beside the inputs.
        resume: Skip what the ledger proves done, replace what it knows and finds changed; always with `workers`.
        write: How results are written, and what is done where an output exists; `resume` here counts too.
        read: How images are read.
        run: How networks run.
        workers: How many processes share the images, for many small ones on a large machine; None for this one alone.
        jobs: How many images are read ahead and written at once, by each process.
        fail_fast: Stop at the first image that fails.
        retry_failed: Try images again that ended their process twice.
        progress: Called with how far the batch is, some times a second, not always in the same thread.
        stop: Set it to end early: no image is begun, what is being written is finished.

    Returns:
        What became of the batch; images that failed are in `failures` and do not raise.

    Raises:
        UsageError: If the request contradicts itself, or a result would replace something unasked; nothing was done.
        RestoreError: If weights or the device cannot be had; no image was touched.

    Example:
        >>> from restore_cli import restore_files
        >>> report = restore_files("scans/", "clean/", task="denoise", resume=True)   # doctest: +SKIP
        >>> report.ok, report.skipped, report.failed                                  # doctest: +SKIP
        (98, 2, 0)
    """
    listed = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    paths = PathSettings(
        paths=tuple(os.fspath(path) for path in listed),
        output=None if output is None else os.fspath(output),
        beside=output is None and not in_place,
        in_place=in_place,
        recursive=recursive,
        include=tuple(include),
        exclude=tuple(exclude),
        suffix=suffix,
    )
    is_chain = any(mark in task for mark in ",:@")
    file = None if weights is None else Path(weights)
    write = write or WriteSettings()
    write = replace(
        write,
        resume=resume or write.resume or workers is not None,
        existing="overwrite" if in_place else write.existing,
    )
    run = run or RunSettings()
    if isinstance(sigma, int | float):
        run = replace(run, sigma=float(sigma))
    request = BatchRequest(
        weights=WeightsRequest(
            task=task, model=model, path=file, scale=scale, sigma=sigma, gray=gray, variant=variant, offline=offline
        ),
        paths=paths,
        steps=parse_steps(task) if is_chain else (),
        right=None if right is None else Path(right),
        run=run,
        read=read or ReadSettings(),
        write=write,
        workers=None if workers is None else Workers(count=workers),
        jobs_in_flight=jobs,
        fail_fast=fail_fast,
        retry_failed=retry_failed,
    )
    batch = Batch(plan_batch(request), BatchWatcher() if progress is None else _ProgressWatcher(progress))
    batch.prepare()
    return batch.run(stop)


class _ProgressWatcher(BatchWatcher):
    """Hand what a batch says to the one function of `restore_files`."""

    def __init__(self, progress: Callable[[FilesProgress], None]) -> None:
        self._progress = progress
        self._done = self._total = 0

    def planned(self, plan: JobPlan) -> None:
        self._total = len(plan.jobs) + len(plan.skipped)

    def result(self, result: JobResult, facts: RunFacts | None) -> None:
        del facts
        self._done += 1
        self._progress(
            FilesProgress(done=self._done, total=self._total, source=result.source, share=1.0, result=result)
        )

    def progress(self, job: ImageJob, progress: ImageProgress) -> None:
        self._progress(FilesProgress(done=self._done, total=self._total, source=job.source, share=progress.share))

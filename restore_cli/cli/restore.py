"""The commands that restore images: sr, denoise, dejpeg, derain, lowlight, deblur.

Stage 1, ASK: from options to a plan, with everything checked that can be before torch is loaded. The commands
differ in the few options of their task; all else is one function, `restore_batch`.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

import typer

from restore_cli.cli.batch import show_batch, show_sigma
from restore_cli.cli.options import (
    COMMON,
    FileOptions,
    MessageOptions,
    Paths,
    RunOptions,
    SameSizeOptions,
    WeightsOptions,
)
from restore_cli.cli.registration import command, option
from restore_cli.errors import UsageError
from restore_cli.jobs.batch import BatchRequest, plan_batch
from restore_cli.jobs.choose import LARGEST_SIGMA, Chooser, WeightsRequest
from restore_cli.jobs.plan import JobPlan
from restore_cli.jobs.steps import Step
from restore_cli.jobs.targets import one_a_folder
from restore_cli.weights.store import fetch_own

app = typer.Typer()


@dataclass(frozen=True, kw_only=True)
class Sigma:
    """A noise level as --sigma takes it: a number on the 0..255 scale, or "auto"."""

    level: float | Literal["auto"]

    @classmethod
    def parse(cls, text: str) -> Sigma:
        """Read "auto" or a number from 0 to 50."""
        if text == "auto":
            return cls(level="auto")
        try:
            level = float(text)
        except ValueError:
            level = math.nan
        if not 0.0 <= level <= LARGEST_SIGMA:
            msg = f"{text!r} is neither a number from 0 to {LARGEST_SIGMA:g} nor auto."
            raise typer.BadParameter(msg)
        return cls(level=level)


@command(
    app,
    "sr",
    examples="""
    restore sr --scale 2 in/ out/                  a folder into another
    restore sr --scale 4 --photo --beside *.jpg    noisy or compressed photos
    """,
)
def sr(
    paths: Paths,
    scale: Annotated[
        int | None,
        option(
            COMMON, "--scale", "Enlarge so many times. [default: as the weights, or 4]", metavar="2|3|4", min=2, max=4
        ),
    ] = None,
    photo: Annotated[bool, option(COMMON, "--photo", "Restore a real photo: take out noise and JPEG too.")] = False,
    *,
    files: FileOptions,
    weights: WeightsOptions,
    run: RunOptions,
    messages: MessageOptions,
) -> None:
    """Enlarge images 2, 3 or 4 times."""
    request = weights.request("sr", scale=scale, variant="photo" if photo else None)
    restore_batch(request, paths, files, run, messages)


@command(
    app,
    "denoise",
    examples="""
    restore denoise photo.png                     writes photo_denoised.png beside it
    restore denoise --sigma 25 scans/ clean/      restores a folder into another
    restore denoise --resume scans/ clean/        goes on where a run was cut off
    restore denoise --sigma auto photo.png        estimates the noise first, and tells it
    curl -s URL | restore denoise - - > out.png   from a pipe into a pipe
    restore denoise --beside --recursive a/ b/    writes a_denoised/ and b_denoised/
    """,
)
def denoise(
    paths: Paths,
    sigma: Annotated[
        Sigma | None,
        option(
            COMMON,
            "--sigma",
            "Level of the noise, 0 to 50; auto estimates it. By default the network finds it.",
            metavar="0..50|auto",
            parser=Sigma.parse,
        ),
    ] = None,
    gray: Annotated[
        bool | None,
        option(
            COMMON,
            "--gray/--color",
            "Use the gray or the colour network for all images. By default each image decides.",
        ),
    ] = None,
    real: Annotated[bool, option(COMMON, "--real", "Take out the noise of real cameras.")] = False,
    *,
    files: FileOptions,
    weights: WeightsOptions,
    run: SameSizeOptions,
    messages: MessageOptions,
) -> None:
    """Take noise out of images."""
    request = weights.request(
        "denoise", sigma=None if sigma is None else sigma.level, gray=gray, variant="real" if real else None
    )
    restore_batch(request, paths, files, run, messages)


@command(
    app,
    "dejpeg",
    examples="""
    restore dejpeg photo.jpg --format png    writes photo_dejpeg.png, without new loss
    restore dejpeg --recursive web/ better/  restores a folder, colour and gray
    """,
)
def dejpeg(
    paths: Paths, *, files: FileOptions, weights: WeightsOptions, run: SameSizeOptions, messages: MessageOptions
) -> None:
    """Take JPEG artefacts out of images, whatever their quality."""
    restore_batch(weights.request("dejpeg"), paths, files, run, messages)


@command(app, "derain", examples="restore derain street.jpg\nrestore derain --recursive rainy/ dry/")
def derain(
    paths: Paths, *, files: FileOptions, weights: WeightsOptions, run: SameSizeOptions, messages: MessageOptions
) -> None:
    """Take rain streaks out of images."""
    restore_batch(weights.request("derain"), paths, files, run, messages)


@command(app, "lowlight", examples="restore lowlight night.jpg\nrestore lowlight dark/ light/")
def lowlight(
    paths: Paths, *, files: FileOptions, weights: WeightsOptions, run: SameSizeOptions, messages: MessageOptions
) -> None:
    """Lighten images taken in the dark."""
    restore_batch(weights.request("lowlight"), paths, files, run, messages)


@command(
    app,
    "deblur",
    examples="""
    restore deblur street.jpg                                writes street_deblurred.jpg beside it
    restore deblur --kind defocus -m restormer in/ out/      for a lens out of focus; downloads weights once
    restore deblur --kind dual-pixel -m restormer left.png --right right.png
    restore deblur --kind dual-pixel -m restormer left/ --right right/ sharp/    pairs views by name
    """,
)
def deblur(
    paths: Paths,
    kind: Annotated[
        Literal["motion", "defocus", "dual-pixel"] | None,
        option(
            COMMON,
            "--kind",
            "Cause of the blur: motion, defocus or dual-pixel (defocus seen in two views).",
            metavar="KIND",
        ),
    ] = None,
    right: Annotated[
        Path | None,
        option(
            COMMON,
            "--right",
            "Right view, or folder of them by the same names, of dual-pixel images; INPUT is the left.",
            metavar="PATH",
        ),
    ] = None,
    *,
    files: FileOptions,
    weights: WeightsOptions,
    run: SameSizeOptions,
    messages: MessageOptions,
) -> None:
    """Sharpen images blurred by motion or lack of focus."""
    if kind == "dual-pixel" and right is None:
        msg = "--kind dual-pixel restores two views of a scene, and only the left one is named"
        raise UsageError(msg, hint="name the right view, or the folder of right views, with --right")
    if kind != "dual-pixel" and right is not None:
        raise UsageError(f"--right belongs to --kind dual-pixel, not to {kind or 'motion'}", hint="leave it out")
    restore_batch(weights.request("deblur", variant=kind), paths, files, run, messages, right=right)


def command_of_task(name: str, *, help_line: str) -> typer.Typer:
    """Return the command of a task that has no options of its own."""

    def restore_task(
        paths: Paths, *, files: FileOptions, weights: WeightsOptions, run: RunOptions, messages: MessageOptions
    ) -> None:
        restore_batch(weights.request(name), paths, files, run, messages)

    holder = typer.Typer()
    restore_task.__doc__ = help_line
    command(holder, name, examples=f"restore {name} photo.jpg\nrestore {name} in/ out/")(restore_task)
    return holder


def restore_batch(
    weights: WeightsRequest,
    paths: list[str],
    files: FileOptions,
    run: RunOptions,
    messages: MessageOptions,
    *,
    right: Path | None = None,
    steps: tuple[Step, ...] = (),
) -> None:
    """Plan a batch, and carry it out or show it.

    Args:
        weights: Which weights, and for which task.
        paths: INPUT... [OUTPUT] as typed.
        files: Which files, how they are read and written.
        run: How networks run.
        messages: What is reported.
        right: Right views, for a network that takes two.
        steps: Several tasks one after the other, in place of the one of `weights`.

    Raises:
        RestoreError: If nothing can be restored.
        typer.Exit: If images failed.
    """
    out = messages.open()
    files = run.sharing(files)
    # An estimated level is each image's own and travels with it.
    level = weights.sigma if isinstance(weights.sigma, float) else None
    if weights.url is not None:
        with out.transfer_progress(weights.url) as progress:
            path = fetch_own(weights.url, offline=weights.offline, progress=progress)
            weights = replace(weights, path=path)
    plan = plan_batch(
        BatchRequest(
            weights=weights,
            paths=files.path_settings(paths),
            steps=steps,
            right=right,
            run=replace(run.settings(), sigma=level),
            read=files.read_settings(),
            write=files.write_settings(),
            workers=run.crew(),
            jobs_in_flight=run.jobs,
            fail_fast=files.fail_fast,
            retry_failed=files.retry_failed,
        )
    )
    places = one_a_folder(plan.jobs)
    if any(job.to_stdout for job in places):
        out.require_pipe()
    if any(job.from_stdin for job in places) and not files.dry_run:
        from restore_cli.cli.streams import with_standard_input

        plan = replace(plan, jobs=tuple(with_standard_input(job) if job.from_stdin else job for job in plan.jobs))
    if isinstance(weights.sigma, float):
        show_sigma(weights.sigma, Chooser(plan.weights).default, out)
    if files.dry_run:
        from restore_cli.cli.dry_run import show_plan  # reads headers with Pillow, which `--help` does without

        if code := show_plan(plan, out):
            raise typer.Exit(code)
        return
    _require_own_place(files.report, plan)
    if files.compare is not None:
        from restore_cli.comparison.files import require_place

        require_place(files.compare)
    with out.report(files.report, overwrite=files.existing == "overwrite", append=files.resume):
        code = show_batch(plan, out, debug=messages.debug, compare=files.compare)
    if code:
        raise typer.Exit(code)


def _require_own_place(report: str | None, plan: JobPlan) -> None:
    """Refuse a report that would overwrite an image."""
    if report is None:
        return
    place = os.path.realpath(Path(report))
    names = {Path(report).name, Path(place).name}  # only of these it is asked where links lead
    for path in (path for job in chain(plan.jobs, plan.skipped) for path in (job.source, job.target)):
        if path.name in names and os.path.realpath(path) == place:
            raise UsageError(f"--report {report} is one of the images", hint="name another file")

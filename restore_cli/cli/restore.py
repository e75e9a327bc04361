"""The commands that restore images: sr, denoise, derain, lowlight, deblur.

Stage 1, ASK: from options to a plan, with everything checked that can be before torch is loaded. The five commands
differ in the few options of their task; all else is one function, `_restore`.
"""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from restore_cli.cli.options import FileOptions, MessageOptions, Paths, RunOptions, WeightsOptions
from restore_cli.cli.output import Output
from restore_cli.cli.registration import command
from restore_cli.errors import ImageError, UsageError, WeightsError
from restore_cli.jobs.plan import JobPlan, WeightsChoice, plan_images
from restore_cli.jobs.targets import ImageJob
from restore_cli.jobs.views import pair_views
from restore_cli.settings import ReadSettings

if TYPE_CHECKING:
    from restore_cli.weights.manifest import WeightsEntry

app = typer.Typer()

DEFAULT_SCALE = 4
_LARGEST_SIGMA = 50.0


@dataclass(frozen=True, kw_only=True)
class Sigma:
    """A noise level as --sigma takes it: a number on the 0..255 scale, or None for "auto"."""

    level: float | None

    @classmethod
    def parse(cls, text: str) -> Sigma:
        """Read "auto" or a number from 0 to 50."""
        if text == "auto":
            return cls(level=None)
        try:
            level = float(text)
        except ValueError:
            level = math.nan
        if not 0.0 <= level <= _LARGEST_SIGMA:
            msg = f"{text!r} is neither a number from 0 to {_LARGEST_SIGMA:g} nor auto."
            raise typer.BadParameter(msg)
        return cls(level=level)


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """What the options of a task ask for.

    Attributes:
        task: Command name of the task.
        scale: Factor of super-resolution; None leaves it to the weights, or else to the default.
        sigma: Noise level; None where it is unknown or not the task.
        gray: Whether the gray network is wanted; None where the images decide.
        variant: Special form of the task.
        right: Where the right views of the scenes lie; None where a scene is one image.
    """

    task: str
    scale: int | None = 1
    sigma: Sigma | None = None
    gray: bool | None = False
    variant: str | None = None
    right: Path | None = None


@command(
    app,
    "sr",
    examples="""
    restore sr photo.jpg                           writes photo_x4.jpg beside it
    restore sr --scale 2 in/ out/                  restores a folder into another
    restore sr --scale 4 --photo --beside *.jpg    for photos with noise and compression in them
    restore sr --model ramit-1 photo.png big.png   fetches other weights, once
    """,
)
def sr(
    paths: Paths,
    scale: Annotated[
        int | None,
        typer.Option(
            "--scale", min=2, max=4, metavar="2|3|4", help="How many times larger. [default: what --weights says, or 4]"
        ),
    ] = None,
    photo: Annotated[
        bool, typer.Option("--photo", help="For real photos: also takes out noise and compression.")
    ] = False,
    *,
    files: FileOptions,
    weights: WeightsOptions,
    run: RunOptions,
    messages: MessageOptions,
) -> None:
    """Enlarge images 2, 3 or 4 times."""
    wanted = _Wanted(task="sr", scale=scale, variant="photo" if photo else None)
    _restore(wanted, paths, files, weights, run, messages)


@command(
    app,
    "denoise",
    examples="""
    restore denoise photo.png                     writes photo_denoised.png beside it
    restore denoise --sigma 25 scans/ clean/      restores a folder into another
    restore denoise --resume scans/ clean/        goes on where a run was cut off
    restore denoise --sigma auto photo.png        tells how noisy it is
    curl -s URL | restore denoise - - > out.png   from a pipe into a pipe
    restore denoise --beside --recursive a/ b/    writes a_denoised/ and b_denoised/
    """,
)
def denoise(
    paths: Paths,
    sigma: Annotated[
        Sigma | None,
        typer.Option(
            "--sigma",
            parser=Sigma.parse,
            metavar="0..50|auto",
            help="Strength of the noise on the 0..255 scale; auto estimates and tells it. "
            "[default: the network finds it itself]",
        ),
    ] = None,
    gray: Annotated[
        bool | None,
        typer.Option("--gray/--color", help="Which network. [default: gray where all images are]", show_default=False),
    ] = None,
    real: Annotated[bool, typer.Option("--real", help="For the noise of real cameras.")] = False,
    *,
    files: FileOptions,
    weights: WeightsOptions,
    run: RunOptions,
    messages: MessageOptions,
) -> None:
    """Take noise out of images."""
    wanted = _Wanted(task="denoise", sigma=sigma, gray=gray, variant="real" if real else None)
    _restore(wanted, paths, files, weights, run, messages)


@command(app, "derain", examples="restore derain street.jpg\nrestore derain --recursive rainy/ dry/")
def derain(
    paths: Paths, *, files: FileOptions, weights: WeightsOptions, run: RunOptions, messages: MessageOptions
) -> None:
    """Take rain streaks out of images."""
    _restore(_Wanted(task="derain"), paths, files, weights, run, messages)


@command(app, "lowlight", examples="restore lowlight night.jpg\nrestore lowlight dark/ light/")
def lowlight(
    paths: Paths, *, files: FileOptions, weights: WeightsOptions, run: RunOptions, messages: MessageOptions
) -> None:
    """Lighten images taken in the dark."""
    _restore(_Wanted(task="lowlight"), paths, files, weights, run, messages)


@command(
    app,
    "deblur",
    examples="""
    restore deblur street.jpg                                writes street_deblurred.jpg beside it
    restore deblur --kind defocus -m restormer in/ out/      for a lens out of focus; fetches weights, once
    restore deblur --kind dual-pixel -m restormer left.png --right right.png -o sharp.png
    restore deblur --kind dual-pixel -m restormer left/ --right right/ sharp/    views of one name make a pair
    """,
)
def deblur(
    paths: Paths,
    kind: Annotated[
        Literal["motion", "defocus", "dual-pixel"],
        typer.Option("--kind", help="Where the blur comes from; dual-pixel: defocus seen in two views of a sensor."),
    ] = "motion",
    right: Annotated[
        Path | None,
        typer.Option(
            "--right",
            metavar="PATH",
            help="With dual-pixel, INPUT being the left view: the right one, or a folder of them by the same names.",
        ),
    ] = None,
    *,
    files: FileOptions,
    weights: WeightsOptions,
    run: RunOptions,
    messages: MessageOptions,
) -> None:
    """Sharpen images blurred by motion or lack of focus."""
    if kind == "dual-pixel" and right is None:
        msg = "--kind dual-pixel restores two views of a scene, and only the left one is named"
        raise UsageError(msg, hint="name the right view, or the folder of right views, with --right")
    if kind != "dual-pixel" and right is not None:
        raise UsageError(f"--right belongs to --kind dual-pixel, not to {kind}", hint="leave it out")
    _restore(_Wanted(task="deblur", variant=kind, right=right), paths, files, weights, run, messages)


def _restore(
    wanted: _Wanted,
    paths: list[str],
    files: FileOptions,
    weights: WeightsOptions,
    run: RunOptions,
    messages: MessageOptions,
) -> None:
    """Check, plan, and carry out or show."""
    from restore_cli.tasks import get_task

    out = messages.open()
    settings, write = run.settings(), files.write_settings()
    entry = _choose_entry(wanted, weights)
    jobs, skipped = plan_images(
        files.path_settings(paths, task_suffix=get_task(wanted.task).suffix(entry.scale)), write
    )
    if wanted.right is not None:
        jobs = pair_views(jobs, wanted.right)
    if any(job.to_stdout for job in jobs):
        out.require_pipe()
    if any(job.from_stdin for job in jobs) and not files.dry_run:
        from restore_cli.cli.streams import with_standard_input

        jobs = tuple(with_standard_input(job) if job.from_stdin else job for job in jobs)
    if wanted.gray is None and weights.weights is None and are_all_gray(jobs):
        wanted = replace(wanted, gray=True)
        entry = _choose_entry(wanted, weights)
    if wanted.sigma is not None and wanted.sigma.level is None:
        wanted = replace(wanted, sigma=_estimate_sigma(jobs, files.read_settings(), out))
        entry = _choose_entry(wanted, weights)
    if wanted.sigma is not None:
        settings = replace(settings, sigma=wanted.sigma.level)
    plan = JobPlan(
        task=wanted.task,
        weights=WeightsChoice(id=entry.id, path=weights.weights),
        jobs=jobs,
        skipped=skipped,
        run=settings,
        read=files.read_settings(),
        write=write,
        jobs_in_flight=run.jobs,
        fail_fast=files.fail_fast,
        offline=weights.offline,
    )
    _say_sigma(wanted, entry, out)
    from restore_cli.cli.batch import run_batch, without_done

    if files.dry_run:
        _show(without_done(plan, entry, out)[0] if write.resume else plan, entry, out)
        return
    require_own_place(files.report, plan)
    if files.compare is not None:
        from restore_cli.compare.files import require_place

        require_place(files.compare)
    with out.report(files.report):
        code = run_batch(plan, entry, out, debug=messages.debug, compare=files.compare)
    if code:
        raise typer.Exit(code)


def _choose_entry(wanted: _Wanted, weights: WeightsOptions) -> WeightsEntry:
    """Return the entry of the wanted weights, without loading torch."""
    from restore_cli.weights.manifest import load_manifest

    if weights.weights is not None and not weights.weights.is_file():
        raise WeightsError(f"{weights.weights} is no file", hint="look at --weights")
    if weights.weights is not None and weights.model is None:
        return _entry_of_file(wanted, weights.weights)
    manifest = load_manifest()
    own_channels = {entry.id: entry.channels for entry in manifest.entries}
    channels = own_channels.get(weights.model or "", 3) if wanted.gray is None else 1 if wanted.gray else 3
    return manifest.select(
        weights.model,
        task=wanted.task,
        scale=DEFAULT_SCALE if wanted.scale is None else wanted.scale,
        channels=channels,
        sigma=None if wanted.sigma is None else wanted.sigma.level,
        variant=wanted.variant,
    )


def _entry_of_file(wanted: _Wanted, path: Path) -> WeightsEntry:
    from restore_cli.weights.file import entry_from_file

    entry = entry_from_file(path)
    if entry is None:
        raise UsageError(f"{path} does not say of which network it is", hint="add --model, such as --model ramit-1")
    if entry.task != wanted.task:
        raise UsageError(f"{path} is for {entry.task}, not for {wanted.task}", hint=f"say `restore {entry.task}`")
    if wanted.scale not in (None, entry.scale):
        raise UsageError(f"{path} enlarges {entry.scale} times, not {wanted.scale}", hint="leave --scale out")
    return entry


def are_all_gray(jobs: Sequence[ImageJob]) -> bool:
    """Tell whether all images are gray by their headers; a run takes one network, and one for RGB takes both."""
    from restore_cli.imaging.containers.header import is_gray, is_gray_data

    some = False
    for job in jobs:
        gray = is_gray(job.source) if job.data is None else is_gray_data(job.data)
        if gray is False:
            return False
        some |= gray is True
    return some


def require_own_place(report: Path | None, plan: JobPlan) -> None:
    """Refuse a report that would overwrite an image."""
    if report is None:
        return
    images = {os.path.realpath(path) for job in (*plan.jobs, *plan.skipped) for path in (job.source, job.target)}
    if os.path.realpath(report) in images:
        raise UsageError(f"--report {report} is one of the images", hint="name another file")


def _estimate_sigma(jobs: Sequence[ImageJob], read: ReadSettings, out: Output) -> Sigma | None:
    """Tell how noisy each image is, and return the level in the middle: a run takes one network.

    An image that cannot be read is passed over here: it is told when its turn comes.
    """
    from restore_cli.imaging.decode import decode_bytes, read_file
    from restore_cli.metrics.noise_level import estimate_sigma

    levels: list[float] = []
    for job in jobs:
        try:
            data = read_file(job.source, read.max_pixels) if job.data is None else job.data
            image = decode_bytes(data, job.source_name, max_pixels=read.max_pixels, allow_damaged=read.allow_damaged)
        except ImageError:
            continue
        levels.append(estimate_sigma(image.pixels))
        out.note(f"{job.source_name}: noise of about sigma {levels[-1]:.1f}")
    return Sigma(level=min(statistics.median_low(levels), _LARGEST_SIGMA)) if levels else None


def _say_sigma(wanted: _Wanted, entry: WeightsEntry, out: Output) -> None:
    """Tell which weights a noise level chose, and warn where it is not one they were trained for."""
    level = None if wanted.sigma is None else wanted.sigma.level
    if level is None:
        return
    if entry.sigma_range is None:
        out.warn(f"{entry.id} takes no noise level: --sigma changes nothing")
        return
    low, high = entry.sigma_range
    trained = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    if not low <= level <= high:
        blind = _holding(level, entry)
        other = "" if blind is None else f"; -m {blind} takes any level"
        out.warn(f"{entry.id} was trained at sigma {trained}, the nearest there is to {level:g}{other}")
    elif not entry.bundled:
        out.note(f"sigma {level:g}: {entry.id}, trained at sigma {trained}")


def _holding(level: float, entry: WeightsEntry) -> str | None:
    """Return the id of weights for the same that hold a noise level in their range, None where there are none."""
    from restore_cli.weights.manifest import load_manifest

    request = entry.model, entry.task, entry.channels, entry.variant
    for other in load_manifest().entries:
        low, high = other.sigma_range or (0.0, -1.0)
        if (other.model, other.task, other.channels, other.variant) == request and low <= level <= high:
            return other.id
    return None


def _show(plan: JobPlan, entry: WeightsEntry, out: Output) -> None:
    """Show a plan: a line or an object an image, and the weights."""
    from restore_cli.weights.store import locate

    for job, status in [*((job, "planned") for job in plan.jobs), *((job, "skipped") for job in plan.skipped)]:
        scene = job.source_name if job.right is None else f"{job.source_name} + {job.right}"
        out.data(f"{scene} -> {job.target}" + (" (exists, skipped)" if status == "skipped" else ""))
        out.record({"type": "image", "source": str(job.source), "target": str(job.target), "status": status})
    place = plan.weights.path or locate(entry)
    summary: dict[str, Any] = {
        "type": "summary",
        "planned": len(plan.jobs),
        "skipped": len(plan.skipped),
        "task": plan.task,
        "model": entry.model,
        "weights": entry.id,
        "weights_path": None if place is None else str(place),
    }
    out.record(summary)
    out.note(f"{entry.id}: {place or 'would be fetched first'}")
    out.note(f"{len(plan.jobs)} to restore, {len(plan.skipped)} to skip; nothing was touched")

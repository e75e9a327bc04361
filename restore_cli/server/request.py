"""What one request asks for: names and numbers from a query or a form to weights and a plan, in the CLI's own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore_cli.errors import UsageError
from restore_cli.jobs.choose import LARGEST_SIGMA, Chooser, WeightsRequest
from restore_cli.jobs.plan import JobPlan, format_named
from restore_cli.jobs.targets import ImageJob
from restore_cli.settings import ReadSettings, RunSettings, WriteSettings
from restore_cli.tasks import get_task, task_names
from restore_cli.weights.entry import WeightsEntry
from restore_cli.weights.manifest import load_manifest
from restore_cli.weights.store import locate

PARAMETERS = ("task", "weights", "scale", "sigma", "strength", "photo", "format", "quality")
"""What a request may name."""

DEFAULT_SCALE = 4
_STREAM = Path("-")


@dataclass(frozen=True, kw_only=True)
class RestoreRequest:
    """One image to restore, and how.

    Attributes:
        task: Command name of the task.
        weights: A model's name or a weights id; None for the bundled ones.
        scale: Factor of super-resolution; 1 elsewhere.
        sigma: Strength of the noise on the 0..255 scale, None where the network finds it itself.
        strength: Share of the result in what comes out, 0..1; 1 where images grow.
        variant: Special form of the task.
        format: Pillow's name of the output format; None keeps the image's.
        quality: 1..100, of formats that have one.
    """

    task: str
    weights: str | None = None
    scale: int = 1
    sigma: float | None = None
    strength: float = 1.0
    variant: str | None = None
    format: str | None = None
    quality: int = 95

    def entry(self, data: bytes, read: ReadSettings) -> WeightsEntry:
        """Return the weights for an image, as the command line would choose them.

        Args:
            data: Bytes of the image.
            read: How it would be read.

        Raises:
            UsageError: If nothing serves the request, or only weights that are not on this machine.
        """
        chooser = Chooser(
            WeightsRequest(
                task=self.task,
                model=self.weights,
                scale=self.scale,
                sigma=self.sigma,
                variant=self.variant,
                offline=True,
            )
        )
        choice = chooser.choose_for(_job_of(data), read)
        entry = chooser.default if choice is None else choice.entry
        if locate(entry) is None:
            hint = f"fetch them with `restore models pull {entry.id}`"
            raise UsageError(f"{entry.id} is not on this machine, and the server fetches nothing", hint=hint)
        return entry

    def plan(self, data: bytes, read: ReadSettings, run: RunSettings) -> JobPlan:
        """Return the plan of one image that comes and goes as bytes."""
        return JobPlan(
            weights=WeightsRequest(task=self.task, offline=True),
            jobs=(_job_of(data),),
            run=run,
            read=read,
            write=WriteSettings(format=self.format, quality=self.quality),
            jobs_in_flight=1,
        )


def _job_of(data: bytes) -> ImageJob:
    return ImageJob(source=_STREAM, target=_STREAM, from_stdin=True, to_stdout=True, data=data)


def parse_request(values: Mapping[str, str]) -> RestoreRequest:
    """Read a request from the texts of a query or a form.

    Raises:
        UsageError: If a name is unknown or a value cannot be.
    """
    for name in values:
        if name not in PARAMETERS:
            raise UsageError(f"unknown parameter {name!r}", hint=f"known: {', '.join(PARAMETERS)}")
    task = values.get("task", "")
    if task not in task_names():
        raise UsageError(f"unknown task {task!r}", hint=f"known: {', '.join(task_names())}")
    scale = _number(values, "scale", DEFAULT_SCALE, 2, 4) if task == "sr" else 1
    sigma = None
    if task == "denoise" and values.get("sigma", "") != "":
        sigma = _number(values, "sigma", 0.0, 0.0, LARGEST_SIGMA)
    strength = 1.0 if task == "sr" else _number(values, "strength", 1.0, 0.0, 1.0)
    photo = task == "sr" and values.get("photo", "") in {"1", "true", "on"}
    return RestoreRequest(
        task=task,
        weights=values.get("weights") or None,
        scale=int(scale),
        sigma=sigma,
        strength=strength,
        variant="photo" if photo else None,
        format=format_named(values["format"]) if values.get("format") else None,
        quality=int(_number(values, "quality", 95, 1, 100)),
    )


def list_tasks() -> list[dict[str, Any]]:
    """Say for each task which weights are on this machine and what may be chosen, as JSON."""
    here = [entry for entry in load_manifest().entries if entry.task in task_names() and locate(entry) is not None]
    return [
        {
            "task": name,
            "title": get_task(name).title,
            "weights": [
                {"id": entry.id, "scale": entry.scale, "variant": entry.variant, "bundled": entry.bundled}
                for entry in here
                if entry.task == name and entry.variant != "dual-pixel"
            ],
            "scales": sorted({entry.scale for entry in here if entry.task == name}),
            "sigma": [0.0, LARGEST_SIGMA] if name == "denoise" else None,
        }
        for name in task_names()
        if any(entry.task == name for entry in here)
    ]


def _number(values: Mapping[str, str], name: str, default: float, low: float, high: float) -> float:
    text = values.get(name, "")
    if text == "":
        return default
    try:
        number = float(text)
    except ValueError:
        number = high + 1
    if not low <= number <= high or (isinstance(default, int) and number != int(number)):
        raise UsageError(f"{name} {text!r} is not within {low:g} and {high:g}", hint="choose one of these values")
    return number

"""What a request asks for, from the texts of a query or a form to a plan, checked in the command line's own words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from restore_cli.errors import UsageError, WeightsError
from restore_cli.imaging.background import color_named
from restore_cli.jobs.choose import LARGEST_SIGMA, Choice, Chooser, WeightsRequest
from restore_cli.jobs.plan import JobPlan, format_named
from restore_cli.jobs.steps import Step, parse_steps
from restore_cli.jobs.targets import ImageJob
from restore_cli.settings import ReadSettings, RunSettings, SizeSettings, WriteSettings
from restore_cli.tasks import get_task, task_names
from restore_cli.weights.entry import WeightsEntry
from restore_cli.weights.manifest import load_manifest
from restore_cli.weights.store import locate

TASK_PARAMETERS = {
    "scale": "sr",
    "photo": "sr",
    "sigma": "denoise",
    "gray": "denoise",
    "real": "denoise",
    "kind": "deblur",
}
"""What a request may name of one task alone, and of which."""

PARAMETERS = (
    *("task", "steps", "weights", *TASK_PARAMETERS, "strength", "tta"),
    *("format", "quality", "lossless", "strip", "background", "width", "height", "long_side"),
    *("allow_damaged", "strict", "all_pages"),
)
"""What a request may name."""

KINDS = ("motion", "defocus")
LARGEST_SIDE = 1_000_000
_STREAM = Path("-")
_OPTION = re.compile(r"--([a-z][a-z-]*)")
_SHOWN_FIRST = ("sr", "denoise", "dejpeg", "deblur", "lowlight", "derain")
_TRUE, _FALSE = {"1", "true", "on", "yes"}, {"0", "false", "off", "no", ""}


@dataclass(frozen=True, kw_only=True)
class RestoreRequest:
    """One image to restore, and how.

    Attributes:
        weights: Which of them, and for which task; what is not on this machine is not fetched.
        steps: The steps of a chain, whose networks take the place of `weights`; empty for one network.
        strength: Share of the result in what comes out, 0..1; 1 where images grow.
        tta: Mean over the eight flips and rotations.
        write: How the result is written.
        allow_damaged: Read what there is of a damaged image.
        strict: Refuse what else would be lost or decided with a warning.
        all_pages: Restore every page of a TIFF.
    """

    weights: WeightsRequest
    steps: tuple[Step, ...] = ()
    strength: float = 1.0
    tta: bool = False
    write: WriteSettings = field(default_factory=WriteSettings)
    allow_damaged: bool = False
    strict: bool = False
    all_pages: bool = False

    def entries(self) -> tuple[WeightsEntry, ...]:
        """Return the weights of each step of a chain.

        Raises:
            UsageError: If nothing serves one, or only weights that are not on this machine.
        """
        try:
            return tuple(_here(step.entry()) for step in self.steps)
        except WeightsError as error:
            raise UsageError(error.message, hint="name weights of /v1/tasks, as in sr:2@ID") from error

    def choose(self, data: bytes, read: ReadSettings) -> Choice:
        """Return the weights for an image, as the command line would choose them.

        Args:
            data: Bytes of the image.
            read: How it is read.

        Raises:
            UsageError: If nothing serves the request, or only weights that are not on this machine.
        """
        try:
            chooser = Chooser(self.weights)
        except WeightsError as error:  # nothing is bundled for it: no fault of this machine
            raise UsageError(error.message, hint="name weights of /v1/tasks") from error
        choice = chooser.choose_for(_job_of(data), read) or Choice(entry=chooser.default)
        _here(choice.entry)
        return choice

    def plan(self, data: bytes, read: ReadSettings, run: RunSettings) -> JobPlan:
        """Return the plan of one image that comes and goes as bytes."""
        return JobPlan(
            weights=self.weights,
            steps=self.steps,
            jobs=(_job_of(data),),
            run=run,
            read=read,
            write=self.write,
            jobs_in_flight=1,
        )


def _here(entry: WeightsEntry) -> WeightsEntry:
    if locate(entry) is None:
        hint = f"fetch them with `restore models pull {entry.id}`"
        raise UsageError(f"{entry.id} is not on this machine, and the server fetches nothing", hint=hint)
    return entry


def _job_of(data: bytes) -> ImageJob:
    return ImageJob(source=_STREAM, target=_STREAM, from_stdin=True, to_stdout=True, data=data)


def parse_request(texts: Mapping[str, str]) -> RestoreRequest:
    """Read a request from the texts of a query or a form; empty ones count as absent, `-` is as good as `_`.

    Raises:
        UsageError: If a name is unknown or a value cannot be.
    """
    values = {name.replace("-", "_"): text for name, text in texts.items() if text != ""}
    for name in texts:
        if name.replace("-", "_") not in PARAMETERS:
            raise UsageError(f"unknown parameter {name!r}", hint=f"known: {', '.join(PARAMETERS)}")
    steps = _steps(values)
    return RestoreRequest(
        weights=WeightsRequest(task=",".join(step.text for step in steps), offline=True) if steps else _weights(values),
        steps=steps,
        strength=_number(values, "strength", 1.0, 0.0, 1.0),
        tta=_switch(values, "tta"),
        write=_write_settings(values),
        allow_damaged=_switch(values, "allow_damaged"),
        strict=_switch(values, "strict"),
        all_pages=_switch(values, "all_pages"),
    )


def _weights(values: Mapping[str, str]) -> WeightsRequest:
    """Return which weights one task is to be done with."""
    task = values.get("task", "")
    if task not in task_names():
        raise UsageError(f"unknown task {task!r}", hint=f"known: {', '.join(task_names())}")
    for name in values:
        if TASK_PARAMETERS.get(name, task) != task:
            raise UsageError(f"{name} belongs to {TASK_PARAMETERS[name]}, not to {task}", hint="leave it out")
    if get_task(task).default_scale != 1 and "strength" in values:
        raise UsageError(f"{task} enlarges, and takes no strength", hint="leave it out")
    return WeightsRequest(
        task=task,
        model=values.get("weights"),
        scale=_whole(values, "scale", 2, 4),
        sigma=_sigma(values),
        gray=_switch(values, "gray") if "gray" in values else None,
        variant=_variant(values),
        offline=True,
    )


def _steps(values: Mapping[str, str]) -> tuple[Step, ...]:
    """Return the steps of a chain, none where one task is asked for."""
    if "steps" not in values:
        return ()
    for name in ("task", "weights", "strength", *TASK_PARAMETERS):
        if name in values:
            hint = "write it into the steps, as in denoise:25:strength=0.5,sr:2:photo"
            raise UsageError(f"steps and {name} contradict each other", hint=hint)
    return parse_steps(values["steps"])


def in_parameters(text: str) -> str:
    """Return a sentence of the command line with parameters in place of the options that are parameters here.

    Example:
        >>> in_parameters("ask for less with --long-side, or allow more with --max-pixels")
        'ask for less with long_side, or allow more with --max-pixels'
    """
    return _OPTION.sub(lambda found: name if (name := found[1].replace("-", "_")) in PARAMETERS else found[0], text)


def list_tasks() -> list[dict[str, Any]]:
    """Say for each task which weights are on this machine and what may be chosen, as JSON."""
    here = [entry for entry in load_manifest().entries if entry.task in task_names() and locate(entry) is not None]
    names = sorted(
        {entry.task for entry in here},
        key=lambda name: (_SHOWN_FIRST.index(name) if name in _SHOWN_FIRST else len(_SHOWN_FIRST), name),
    )
    return [
        {
            "task": name,
            "title": get_task(name).title,
            "action": get_task(name).action or get_task(name).title.capitalize(),
            "weights": [
                {"id": entry.id, "scale": entry.scale, "variant": entry.variant, "bundled": entry.bundled}
                for entry in here
                if entry.task == name and entry.variant != "dual-pixel"
            ],
            "scales": sorted({entry.scale for entry in here if entry.task == name}),
            "sigma": [0.0, LARGEST_SIGMA] if name == "denoise" else None,
        }
        for name in names
    ]


def _write_settings(values: Mapping[str, str]) -> WriteSettings:
    sides = {name: _whole(values, name, 1, LARGEST_SIDE) for name in ("width", "height", "long_side")}
    if sides["long_side"] is not None and (sides["width"] or sides["height"]):
        other = "width" if sides["width"] else "height"
        raise UsageError(f"long_side and {other} contradict each other", hint="choose one of them")
    background = WriteSettings().background
    if "background" in values:
        try:
            background = color_named(values["background"])
        except ValueError as error:
            msg = f"background {values['background']!r} is neither the name of a colour nor one such as '#336699'"
            raise UsageError(msg, hint="in an address write %23 for #") from error
    return WriteSettings(
        format=format_named(values["format"]) if "format" in values else None,
        quality=_whole(values, "quality", 1, 100) or WriteSettings().quality,
        lossless=_switch(values, "lossless"),
        strip=_switch(values, "strip"),
        background=background,
        size=SizeSettings(**sides),
    )


def _sigma(values: Mapping[str, str]) -> float | Literal["auto"] | None:
    text = values.get("sigma")
    if text is None or text == "auto":
        return None if text is None else "auto"
    try:
        return _number(values, "sigma", 0.0, 0.0, LARGEST_SIGMA)
    except UsageError as error:
        raise UsageError(error.message, hint="choose one of these values, or auto") from error


def _variant(values: Mapping[str, str]) -> str | None:
    """Return the special form of the task, None for the usual one."""
    kind = values.get("kind")
    if kind is not None and kind not in KINDS:
        raise UsageError(f"unknown kind {kind!r}", hint=f"known: {', '.join(KINDS)}")
    return kind or next((name for name in ("photo", "real") if _switch(values, name)), None)


def _switch(values: Mapping[str, str], name: str) -> bool:
    text = values.get(name, "").lower()
    if text not in _TRUE | _FALSE:
        raise UsageError(f"{name} {values[name]!r} is neither true nor false", hint="choose one of these values")
    return text in _TRUE


def _whole(values: Mapping[str, str], name: str, low: int, high: int) -> int | None:
    if name not in values:
        return None
    number = _number(values, name, low, low, high)
    if number != int(number):
        raise UsageError(f"{name} {values[name]!r} is no whole number", hint=f"choose one from {low} to {high}")
    return int(number)


def _number(values: Mapping[str, str], name: str, default: float, low: float, high: float) -> float:
    if name not in values:
        return default
    try:
        number = float(values[name])
    except ValueError:
        number = high + 1
    if not low <= number <= high:
        msg = f"{name} {values[name]!r} is not within {low:g} and {high:g}"
        raise UsageError(msg, hint="choose one of these values")
    return number

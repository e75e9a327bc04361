"""The steps of a chain, as they are typed: "denoise,sr:2". Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

from restore_cli.errors import UsageError
from restore_cli.jobs.choose import LARGEST_SIGMA, Chooser, WeightsRequest
from restore_cli.tasks import get_task, task_names
from restore_cli.weights.entry import WeightsEntry

_SCALES = (2, 3, 4)
_LARGEST_FACTOR = 16
_STRENGTH = "strength="
_AUTO: Literal["auto"] = "auto"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a chain.

    Attributes:
        text: As it was typed.
        task: Command name of the task.
        scale: Factor of super-resolution, 1 elsewhere.
        sigma: Strength of the noise on the 0..255 scale, "auto" to estimate it in what comes in, None where the network
            finds it itself.
        strength: Share of the result in what goes on, 0..1; the rest is what came in.
        model: A model's name or a weights id; None for the bundled weights.
    """

    text: str
    task: str
    scale: int = 1
    sigma: float | Literal["auto"] | None = None
    strength: float = 1.0
    model: str | None = None

    def entry(self) -> WeightsEntry:
        """Return the weights of this step, those for colour where none are named: one chain serves all its images.

        Raises:
            UsageError: If nothing serves it.
            WeightsError: If nothing is bundled for it.
        """
        return Chooser(WeightsRequest(task=self.task, model=self.model, scale=self.scale, sigma=self.sigma)).default


def parse_steps(text: str) -> tuple[Step, ...]:
    """Read the steps of a chain.

    Args:
        text: Tasks with commas between them; behind colons the factor of sr, the noise level of denoise or auto, and
            the strength of all but sr; behind an @ a model or a weights id.

    Raises:
        UsageError: If it says something else.

    Example:
        >>> [(step.task, step.scale, step.sigma, step.model) for step in parse_steps("denoise:25,sr:2@ramit-lite")]
        [('denoise', 1, 25.0, None), ('sr', 2, None, 'ramit-lite')]
        >>> [(step.sigma, step.strength) for step in parse_steps("denoise:25:strength=0.5,derain:strength=0.8")]
        [(25.0, 0.5), (None, 0.8)]
    """
    steps = tuple(_step(part.strip()) for part in text.split(","))
    if prod(step.scale for step in steps) > _LARGEST_FACTOR:
        msg = f"{text} enlarges {prod(step.scale for step in steps)} times"
        raise UsageError(msg, hint=f"enlarge at most {_LARGEST_FACTOR} times in all")
    return steps


def suffix_of_steps(steps: tuple[Step, ...]) -> str:
    """Return what is put behind the names of results, "_denoised_x2"."""
    return "".join(get_task(step.task).suffix.format(scale=step.scale) for step in steps)


def _step(text: str) -> Step:
    words, at, model = text.partition("@")
    task, *values = words.split(":")
    if task not in task_names():
        raise UsageError(f"unknown step {text!r}", hint=f"known: {', '.join(task_names())}, as in denoise:25,sr:2")
    if (at and not model) or "" in values:
        raise UsageError(f"the step {text!r} ends too early", hint="write it as sr:2 or denoise:25@ramit")
    strength = 1.0
    if values and values[-1].startswith(_STRENGTH):
        strength = _strength(task, values.pop().removeprefix(_STRENGTH), text)
    if task == "denoise" and values == [_AUTO]:
        return Step(text=text, task=task, sigma=_AUTO, strength=strength, model=model or None)
    number = _number(":".join(values), text)
    if task == "sr":
        if number is not None and number not in _SCALES:
            raise UsageError(f"the step {text!r} enlarges by no factor there is", hint="write sr:2, sr:3 or sr:4")
        return Step(text=text, task=task, scale=_SCALES[-1] if number is None else int(number), model=model or None)
    if task == "denoise":
        if number is not None and not 0.0 <= number <= LARGEST_SIGMA:
            raise UsageError(
                f"the step {text!r} has no noise level from 0 to 50", hint="write denoise, denoise:25 or denoise:auto"
            )
        return Step(text=text, task=task, sigma=number, strength=strength, model=model or None)
    if number is not None:
        raise UsageError(f"the step {text!r} takes no number", hint=f"write {task}")
    return Step(text=text, task=task, strength=strength, model=model or None)


def _strength(task: str, value: str, text: str) -> float:
    """Return how much of a step's result is taken."""
    if get_task(task).default_scale != 1:
        raise UsageError(f"the step {text!r} enlarges, and takes no strength", hint=f"write {task}:2")
    strength = _number(value, text)
    if strength is None or not 0.0 <= strength <= 1.0:
        raise UsageError(f"the step {text!r} has no strength from 0 to 1", hint=f"write {task}:strength=0.5")
    return strength


def _number(value: str, text: str) -> float | None:
    if not value:
        return None
    try:
        return float(value)
    except ValueError as error:
        raise UsageError(
            f"the step {text!r} has no number behind its colon", hint="write sr:2 or denoise:25"
        ) from error

"""The steps of a chain, as they are typed: "denoise,sr:2". Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

from restore_cli.errors import UsageError
from restore_cli.jobs.choose import LARGEST_SIGMA, Chooser, WeightsRequest
from restore_cli.tasks import get_task, task_names
from restore_cli.weights.entry import WeightsEntry
from restore_cli.weights.manifest import load_manifest

_SCALES = (2, 3, 4)
_LARGEST_FACTOR = 16
_STRENGTH = "strength="
_AUTO: Literal["auto"] = "auto"
_FORMS = {"sr": ("photo",), "denoise": ("real",), "deblur": ("motion", "defocus")}
_EXAMPLES = {"sr": "sr:2", "denoise": "denoise:25, denoise:auto"}


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
        variant: Special form of the task ("photo", "real", "defocus"); None for the usual one.
        model: A model's name or a weights id; None for the bundled weights.
    """

    text: str
    task: str
    scale: int = 1
    sigma: float | Literal["auto"] | None = None
    strength: float = 1.0
    variant: str | None = None
    model: str | None = None

    @property
    def level(self) -> float | None:
        """Return the level its network is told before it sees an image: none where each image has its own."""
        return None if self.sigma == "auto" else self.sigma

    def entry(self) -> WeightsEntry:
        """Return the weights of this step, those for colour where none are named: one chain serves all its images.

        Raises:
            UsageError: If nothing serves it.
            WeightsError: If nothing is bundled for it.
        """
        request = WeightsRequest(
            task=self.task, model=self.model, scale=self.scale, sigma=self.sigma, variant=self.variant
        )
        return Chooser(request).default


def parse_steps(text: str) -> tuple[Step, ...]:
    """Read the steps of a chain.

    Args:
        text: Tasks with commas between them; behind colons the factor of sr, the noise level of denoise or auto, the
            special form (photo, real, defocus), and the strength of all but sr; behind an @ a model or a weights id.

    Raises:
        UsageError: If it says something else.

    Example:
        >>> [(step.task, step.scale, step.sigma, step.model) for step in parse_steps("denoise:25,sr:2@ramit-lite")]
        [('denoise', 1, 25.0, None), ('sr', 2, None, 'ramit-lite')]
        >>> [(step.sigma, step.strength) for step in parse_steps("denoise:25:strength=0.5,derain:strength=0.8")]
        [(25.0, 0.5), (None, 0.8)]
        >>> [(step.scale, step.variant) for step in parse_steps("deblur:defocus,sr:2:photo")]
        [(1, 'defocus'), (2, 'photo')]
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
    sigma: Literal["auto"] | None = None
    forms: list[str] = []
    numbers: list[float] = []
    for value in values:
        if value.startswith(_STRENGTH):
            strength = _strength(task, value.removeprefix(_STRENGTH), text)
        elif value in _FORMS.get(task, ()):
            forms.append(value)
        elif task == "denoise" and value == _AUTO:
            sigma = _AUTO
        else:
            numbers.append(_number(value, text))
    if len(forms) > 1 or len(numbers) + (sigma is not None) > 1:
        raise UsageError(f"the step {text!r} says one thing twice", hint="write it as sr:2:photo or denoise:25")
    number = numbers[0] if numbers else None
    return Step(
        text=text,
        task=task,
        scale=_scale(task, number, model, text),
        sigma=sigma or _sigma(task, number, text),
        strength=strength,
        variant=forms[0] if forms else None,
        model=model or None,
    )


def _scale(task: str, number: float | None, model: str, text: str) -> int:
    """Return how many times a step enlarges: as it says, or as its weights do, or as the task does."""
    default = get_task(task).default_scale
    if default == 1:
        if number is not None and task != "denoise":
            raise UsageError(f"the step {text!r} takes no number", hint=f"write {task}")
        return 1
    if number is None:
        return next((entry.scale for entry in load_manifest().entries if entry.id == model), default)
    if number not in _SCALES:
        raise UsageError(f"the step {text!r} enlarges by no factor there is", hint="write sr:2, sr:3 or sr:4")
    return int(number)


def _sigma(task: str, number: float | None, text: str) -> float | None:
    """Return the noise level of a step, None where its network finds it itself."""
    if task != "denoise" or number is None:
        return None
    if not 0.0 <= number <= LARGEST_SIGMA:
        raise UsageError(
            f"the step {text!r} has no noise level from 0 to 50", hint="write denoise, denoise:25 or denoise:auto"
        )
    return number


def _strength(task: str, value: str, text: str) -> float:
    """Return how much of a step's result is taken."""
    if get_task(task).default_scale != 1:
        raise UsageError(f"the step {text!r} enlarges, and takes no strength", hint=f"write {task}:2")
    try:
        strength = float(value)
    except ValueError:
        strength = -1.0
    if not 0.0 <= strength <= 1.0:
        raise UsageError(f"the step {text!r} has no strength from 0 to 1", hint=f"write {task}:strength=0.5")
    return strength


def _number(value: str, text: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        task = text.partition(":")[0]
        forms = "".join(f", {task}:{form}" for form in _FORMS.get(task, ()))
        hint = f"write {_EXAMPLES.get(task, f'{task}:strength=0.5')}{forms}"
        raise UsageError(f"the step {text!r} takes no {value!r}", hint=hint) from error

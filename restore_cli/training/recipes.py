"""Recipes: which network is trained how, as data.

First stage of training, ASK: a recipe is chosen by name and all else follows from it, the images and the length
requested. `ramit-*` are the paper's (arXiv 2305.11474) and need its data and days on several GPUs; `ramit-lite-*` are
ours, small enough to be trained on two CPU cores or minutes of one GPU. `crossformer-lite-*` take the same time a step
and the same everything else, so that the two networks can be compared; `crossformer-ir-*` are for a GPU. Imports no
torch.

Progress runs from 0 at the first step to 1 at the last. Every moment of a recipe (warm-up, milestones, a larger patch)
is a share of it, so that the same recipe can be run for any number of steps.
"""

from __future__ import annotations

import difflib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from restore_cli.errors import UsageError
from restore_cli.models import NetworkChoice, Preset, presets
from restore_cli.models.ramit.presets import Network as Ramit
from restore_cli.tasks import get_task, task_names

if TYPE_CHECKING:
    from restore_cli.models import Config

Optimiser = Literal["adam", "adamw", "muon"]
Decay = Literal["cosine", "halving"]

# Forms of a task that hold its usual one: their networks serve it, and are validated on it.
MIXTURES = frozenset({"mixed", "chain"})

WHOLE_PROGRESS = 1.0


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Say what a batch is from some progress on.

    Attributes:
        start: Progress at which the phase begins.
        patch: Side of the patches in degraded pixels.
        batch: Samples a step, all processes together.
    """

    start: float = 0.0
    patch: int
    batch: int


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """Say how weights follow gradients.

    Attributes:
        optimiser: "adam", "adamw" (here without weight decay, so that its steps are the same), or "muon" for matrices
            and Adam's steps for all else.
        rate: Highest learning rate.
        rate_batch: Batch `rate` is meant for, others scale it in proportion; None for a rate that stands as it is.
        warmup: Progress over which the rate rises linearly from 0.
        decay: "cosine" down to 0, or "halving" at each milestone.
        milestones: Progress at which the rate is halved.
        clip: Highest norm of the gradient; None does not clip.
        ema_decay: Memory of the running average of the weights that is validated and kept; None averages nothing.
    """

    optimiser: Optimiser
    rate: float
    rate_batch: int | None = None
    warmup: float
    decay: Decay
    milestones: tuple[float, ...] = ()
    clip: float | None = None
    ema_decay: float | None = None


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """Hold parts of a network still at first.

    Attributes:
        until: Progress at which everything is trained.
        still: Prefixes of the parameters that are held.
        trained: Prefixes of those that are not, whatever `still` says.
    """

    until: float
    still: tuple[str, ...] = ("",)
    trained: tuple[str, ...] = ()

    def holds(self, name: str) -> bool:
        """Return whether a parameter is held still."""
        return name.startswith(self.still) and not name.startswith(self.trained)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything about a training that is not the user's images.

    Attributes:
        name: What --recipe takes.
        task: Command name of the task.
        network: Which network.
        scale: Factor of super-resolution, 1 elsewhere.
        channels: 1 for gray, 3 for RGB.
        variant: Special form of the task's degradation, None for the plain one.
        sigma_range: Noise levels to draw from, 0..255 scale; None where noise is not the task.
        optimisation: How weights follow gradients.
        phases: Batches, in order; the first starts at 0.
        steps: Usual length in steps; None where it is given in epochs.
        epochs: Usual length in epochs; None where it is given in steps.
        crops: Crops an image gives in an epoch.
        frozen: What is held still at first; None for nothing.
        paper: Whether the recipe is the paper's own.
    """

    name: str
    task: str
    network: NetworkChoice
    scale: int = 1
    channels: int = 3
    variant: str | None = None
    sigma_range: tuple[float, float] | None = None
    optimisation: Optimisation
    phases: tuple[Phase, ...]
    steps: int | None = None
    epochs: int | None = None
    crops: float = 1.0
    frozen: Frozen | None = None
    paper: bool = False

    @property
    def family(self) -> str:
        """Return the -m name of its networks: the recipe's name without the task."""
        return self.name.partition(f"-{self.task}")[0]

    @property
    def served_variant(self) -> str | None:
        """Return the form of the task that its weights serve: a mixture serves the usual one."""
        return get_task(self.task).default_variant if self.variant in MIXTURES else self.variant

    @property
    def floor(self) -> str:
        """Name what every network must beat: doing nothing, or the plainest enlarging."""
        return "bicubic" if self.scale > 1 else "the input itself"

    def config(self) -> Config:
        """Return the configuration of the network (imports torch)."""
        return self.network.config(task=self.task, scale=self.scale, channels=self.channels)


def recipe_names() -> tuple[str, ...]:
    """List the recipes, ours first; those of networks of one file are found by name alone, since they import torch."""
    return tuple(_RECIPES)


def get_recipe(name: str) -> Recipe:
    """Return a recipe by name.

    Raises:
        UsageError: If there is none of that name; the nearest and the known ones are in the message.
    """
    if name in _RECIPES:
        return _RECIPES[name]
    for recipe in itertools.chain.from_iterable(map(_of_preset, presets(of_files=True))):
        if recipe.name == name:
            return recipe
    near = difflib.get_close_matches(name, _RECIPES, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(_RECIPES)}"
    raise UsageError(f"unknown recipe {name!r}", hint=hint)


def default_recipe(task: str, scale: int, channels: int, variant: str | None) -> Recipe:
    """Return our own recipe of a task.

    Raises:
        UsageError: If none is for that combination.
    """
    wanted = (task, scale, channels, variant)
    for recipe in _RECIPES.values():
        if not recipe.paper and wanted == (recipe.task, recipe.scale, recipe.channels, recipe.served_variant):
            return recipe
    words = [task, f"x{scale}" if scale > 1 else "", "gray" if channels == 1 else "", variant or ""]
    raise UsageError(
        f"no recipe of ours is for {' '.join(filter(None, words))}", hint="name one with --recipe; see --help"
    )


def recipe_of_task(
    task: str | None, *, scale: int | None = None, gray: bool = False, variant: str | None = None
) -> Recipe:
    """Return our own recipe of a task as a person names it.

    Args:
        task: Command name of the task; None is refused with what there is.
        scale: 2, 3 or 4 for super-resolution.
        gray: Whether for gray images.
        variant: Special form of the task, None for its usual one.

    Raises:
        UsageError: If there is no such task, its factor is missing, or no recipe is for that combination.
    """
    if task is None:
        raise UsageError("there is no task to train for", hint=f"give --task {'|'.join(task_names())} or --recipe NAME")
    if task not in task_names():
        raise UsageError(f"unknown task {task!r}", hint=f"known: {', '.join(task_names())}")
    if task == "sr" and scale is None:
        raise UsageError("super-resolution needs a factor", hint="give --scale 2, 3 or 4")
    return default_recipe(task, scale or 1, 1 if gray else 3, variant or get_task(task).default_variant)


_BLIND = (0.0, 50.0)


def _of_preset(preset: Preset) -> tuple[Recipe, ...]:
    """Return recipes for every task of a preset, the same for all networks but for size and length."""
    batch, patch = preset.batch, preset.patch
    noise, highest = preset.noise
    first = Phase(patch=patch, batch=batch)
    # Images that keep their size gain from a wider view at the end.
    widening = (first, Phase(start=0.7, patch=2 * patch, batch=max(1, batch // 2)))
    # A kernel of 25 pixels shows itself in no small patch, and what is folded affords a large one.
    enlarging = Phase(patch=preset.enlarging_patch or patch, batch=batch)
    phases = {"sr": (enlarging,), "deblur": (Phase(patch=max(128, 2 * patch), batch=batch),)}

    def recipe(
        detail: str,
        task: str,
        *,
        scale: int = 1,
        channels: int = 3,
        variant: str | None = None,
        sigma_range: tuple[float, float] | None = None,
    ) -> Recipe:
        return Recipe(
            name=f"{preset.family}-{detail}",
            task=task,
            network=preset.deblurring or preset.network if task == "deblur" else preset.network,
            scale=scale,
            channels=channels,
            variant=variant,
            sigma_range=sigma_range,
            optimisation=Optimisation(
                optimiser="muon", rate=preset.rate, warmup=0.03, decay="cosine", clip=1.0, ema_decay=0.999
            ),
            phases=phases.get(task, widening),
            steps=preset.steps,
        )

    recipes: tuple[Recipe, ...] = (
        *(recipe(f"sr-x{scale}", "sr", scale=scale) for scale in (2, 3, 4)),
        *(recipe(f"sr-x{scale}-photo", "sr", scale=scale, variant="photo") for scale in (2, 3, 4)),
        recipe("denoise-color", "denoise", variant=noise, sigma_range=(0.0, highest)),
        recipe("denoise-gray", "denoise", channels=1, variant=noise, sigma_range=(0.0, highest)),
        recipe("dejpeg-color", "dejpeg"),
        recipe("dejpeg-gray", "dejpeg", channels=1),
        recipe("derain", "derain", variant="mixed"),
        recipe("lowlight", "lowlight", variant="mixed"),
        recipe("deblur-motion", "deblur", variant="mixed"),
    )
    served = {one.task for one in recipes}
    recipes += tuple(recipe(task, task) for task in task_names() if task not in served)
    return tuple(one for one in recipes if preset.tasks is None or one.task in preset.tasks)


_EPOCHS_SR, _EPOCHS_SR_WARM, _EPOCHS_FROZEN, _EPOCHS_OTHER = 500, 300, 50, 400
_SR_MILESTONES = (200, 300, 400, 425, 450, 475)
# The warm-started networks' milestones count from where the frozen epochs end, as their share of the 250 shows.
_SR_WARM_MILESTONES = (50, 100, 150, 175, 200, 225)
_OTHER_MILESTONES = (200, 300, 350, 375)


def _paper_optimisation(epochs: int, milestones: tuple[int, ...], warmup_epochs: int = 20) -> Optimisation:
    return Optimisation(
        optimiser="adam",
        rate=4e-4,
        rate_batch=64,
        warmup=warmup_epochs / epochs,
        decay="halving",
        milestones=tuple(milestone / epochs for milestone in milestones),
    )


def _paper_sr(name: str, variant: str, scale: int) -> Recipe:
    warm = scale > 2
    epochs = _EPOCHS_SR_WARM if warm else _EPOCHS_SR
    milestones = tuple(_EPOCHS_FROZEN + epoch for epoch in _SR_WARM_MILESTONES) if warm else _SR_MILESTONES
    return Recipe(
        name=f"{name}-sr-x{scale}",
        task="sr",
        network=Ramit(variant=variant),
        scale=scale,
        optimisation=_paper_optimisation(epochs, milestones, 10 if warm else 20),
        phases=(Phase(patch=64, batch=64),),
        epochs=epochs,
        crops=80.0,
        frozen=Frozen(until=_EPOCHS_FROZEN / epochs, trained=("to_target.",)) if warm else None,
        paper=True,
    )


def _paper_other(
    name: str,
    variant: str,
    task: str,
    crops: float,
    *,
    channels: int = 3,
    sigma_range: tuple[float, float] | None = None,
) -> Recipe:
    return Recipe(
        name=name,
        task=task,
        network=Ramit(variant=variant),
        channels=channels,
        sigma_range=sigma_range,
        optimisation=_paper_optimisation(_EPOCHS_OTHER, _OTHER_MILESTONES),
        phases=(
            Phase(start=0.0, patch=64, batch=64),
            Phase(start=100 / _EPOCHS_OTHER, patch=96, batch=32),
            Phase(start=200 / _EPOCHS_OTHER, patch=128, batch=16),
        ),
        epochs=_EPOCHS_OTHER,
        crops=crops,
        paper=True,
    )


_RECIPES = {
    recipe.name: recipe
    for recipe in (
        *itertools.chain.from_iterable(map(_of_preset, presets())),
        *(
            _paper_sr(name, variant, scale)
            for name, variant in (("ramit", "ramit"), ("ramit-1", "ramit-1"), ("ramit-slim", "ramit-slim-sr"))
            for scale in (2, 3, 4)
        ),
        _paper_other("ramit-denoise-color", "ramit", "denoise", 3.0, sigma_range=_BLIND),
        _paper_other("ramit-1-denoise-color", "ramit-1", "denoise", 3.0, sigma_range=_BLIND),
        _paper_other("ramit-denoise-gray", "ramit", "denoise", 3.0, channels=1, sigma_range=_BLIND),
        _paper_other("ramit-lowlight", "ramit", "lowlight", 14.006),
        _paper_other("ramit-slim-lowlight", "ramit-slim-lle", "lowlight", 14.006),
        _paper_other("ramit-derain", "ramit", "derain", 1.8234),
    )
}

"""What ails an image, one file each; this folder is the registry of tasks.

Stage 2, PLAN, and the source of degradations for training and scoring. A task says how its scores are taken, what the
outputs are called, and how a clean image is degraded; which weights serve it stands in weights_manifest.json. Adding
`tasks/<task>.py` with a `TASK` of that name is all a new task needs here. No module of this folder imports torch.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


ENTRY_POINTS = "restore_cli.tasks"
"""Group in which an installed package names its tasks: name of the task = module with its `TASK`."""


@dataclass(frozen=True, kw_only=True)
class DegradeOptions:
    """Choose what a degradation does.

    Attributes:
        scale: Factor of super-resolution, 1 elsewhere.
        sigma_range: Noise levels drawn uniformly, on the 0..255 scale; equal ends mean one fixed level.
        quality_range: Qualities of JPEG drawn uniformly, whole numbers of 1..100.
        variant: A task's special form ("photo", "motion", ...), None for the plain one.
    """

    scale: int = 1
    sigma_range: tuple[float, float] = (0.0, 50.0)
    quality_range: tuple[int, int] = (5, 100)
    variant: str | None = None


@dataclass(frozen=True, kw_only=True)
class Task:
    """One restoration task.

    Attributes:
        name: The name of the command and of the manifest's `task` field ("sr", "denoise", ...).
        title: A short phrase for help and tables.
        action: What it does, as a person asks for it ("Remove noise"); "" for the title.
        metrics: Names of its scores, the first decides ("psnr_y", "ssim_y" or "psnr", "ssim").
        suffix: What is put behind the stem of an output ("_denoised"), "{scale}" standing for the factor ("_x{scale}").
        crop_border: Takes the scale, returns the pixels cut off each side before scoring.
        degrade: clean float32 (N, C, H, W) in [0, 1], options, generator on the same device -> degraded, the same
            range; (N, C, H / scale, W / scale) for super-resolution. Same generator state, same result.
        degrade_and_measure: As `degrade`, and beside its result (N,): the standard deviation of the noise in each image
            on the scale of the pixels, negative where nobody is to know. For networks that take it; None where there
            is no noise to speak of.
        sigma_of_jpeg: Takes the quality of a JPEG, returns the noise level (0..255 scale) that a network which takes
            one is given where nobody names it; None leaves it to the network, as does a task without this.
        variants: Special forms that `degrade` and the manifest know.
        default_scale: Factor from input to output size where nobody names one.
        default_variant: Special form where nobody names one, for a task without a plain form.
    """

    name: str
    title: str
    metrics: tuple[str, str]
    suffix: str
    crop_border: Callable[[int], int]
    degrade: Callable[[torch.Tensor, DegradeOptions, torch.Generator], torch.Tensor]
    degrade_and_measure: (
        Callable[[torch.Tensor, DegradeOptions, torch.Generator], tuple[torch.Tensor, torch.Tensor]] | None
    ) = None
    sigma_of_jpeg: Callable[[int], float | None] | None = None
    variants: tuple[str, ...] = field(default=())
    default_scale: int = 1
    default_variant: str | None = None
    action: str = ""

    def require_variant(self, variant: str | None) -> None:
        """Refuse a special form that this task does not have.

        Raises:
            ValueError: If it is neither None nor one of `variants`, which the message lists.
        """
        if variant is not None and variant not in self.variants:
            msg = f"unknown variant {variant!r} of {self.name}; known: {', '.join(self.variants) or 'none'}"
            raise ValueError(msg)


def task_names() -> tuple[str, ...]:
    """List the command names of all tasks ("sr", "denoise", ...), without importing any of them."""
    return tuple(sorted(_modules()))


def get_task(name: str) -> Task:
    """Return one task by its command name.

    Raises:
        ValueError: If no task has that name; the known names are in the message.
    """
    if name not in _modules():
        msg = f"unknown task {name!r}; known: {', '.join(task_names())}"
        raise ValueError(msg)
    task: Task = importlib.import_module(_modules()[name]).TASK
    return task


@cache
def _modules() -> dict[str, str]:
    """Return the module of each task: of this folder, then what installed packages offer by entry points."""
    own = {m.name: f"{__name__}.{m.name}" for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")}
    others = {point.name: point.value for point in metadata.entry_points(group=ENTRY_POINTS)}
    return others | own

"""How weights of our own came to be, as the command line that would do it again.

Read from the `training` facts of a manifest entry, which `export` wrote. What the recipe says by itself is left out of
the command. Folders appear by name: where they lie is nobody else's business. Imports no torch.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from restore_cli.errors import UsageError
from restore_cli.training.recipes import Phase, Recipe, get_recipe
from restore_cli.weights.entry import WeightsEntry

# What every recipe of ours took before exports noted it.
_FIRST_OPTIMISER = "adamw"


def training_command(entry: WeightsEntry) -> str | None:
    """Return the command that trained weights, None for those that others trained.

    Phases that are no longer the recipe's, and that no option brings back, are told in a comment behind it.

    Example:
        >>> from restore_cli.weights.manifest import load_manifest
        >>> manifest = load_manifest()
        >>> training_command(manifest.get("ramit-lite-sr-x2")).split()[:4]
        ['restore', 'train', '--recipe', 'ramit-lite-sr-x2']
        >>> training_command(manifest.get("ramit-1-sr-x2")) is None
        True
    """
    training = entry.training
    if training is None or "recipe" not in training:
        return None
    recipe = _recipe(str(training["recipe"]))
    phases = tuple(Phase(**phase) for phase in training.get("phases", ()))
    words = ["restore", "train", "--recipe", str(training["recipe"]), *_image_words(training.get("data", {}))]
    if "warm_start" in training:
        words += ["--warm-start", str(training["warm_start"])]
    words += ["--steps", str(training.get("planned_steps", training["steps"]))]
    as_recipe = recipe is not None and phases == recipe.phases
    if len(phases) == 1 and not as_recipe:
        words += ["--patch", str(phases[0].patch), "--batch", str(phases[0].batch)]
    words += _optimisation_words(training, recipe)
    for prefix in training.get("freeze", ()):
        words += ["--freeze", str(prefix)]
    if "freeze_until" in training:
        words += ["--freeze-until", f"{training['freeze_until']:g}"]
    words += ["--bf16"] if training.get("bf16") else []
    words += ["--seed", str(training.get("seed", 0))]
    comment = "" if len(phases) < 2 or as_recipe else f"  # {_in_words(phases)}"
    return shlex.join(words) + comment


def _recipe(name: str) -> Recipe | None:
    """Return the recipe as it is now, None for one that is no longer, or not yet, known here."""
    try:
        return get_recipe(name)
    except UsageError:
        return None


def _image_words(data: Mapping[str, Any]) -> list[str]:
    named = (("data", "folders"), ("degraded", "degraded"), ("val", "validation"), ("val-degraded", "val_degraded"))
    return [word for option, name in named for folder in data.get(name, ()) for word in (f"--{option}", str(folder))]


def _optimisation_words(training: Mapping[str, Any], recipe: Recipe | None) -> list[str]:
    """Return the options of how weights followed gradients, where that is not the recipe's way."""
    usual = None if recipe is None else recipe.optimisation
    words = []
    if "rate" in training and (usual is None or training["rate"] != usual.rate):
        words += ["--lr", f"{training['rate']:g}"]
    optimiser = training.get("optimiser", _FIRST_OPTIMISER)
    if usual is None or optimiser != usual.optimiser:
        words += ["--optimiser", str(optimiser)]
    return words


def _in_words(phases: Sequence[Phase]) -> str:
    stretches = [f"from {phase.start:.0%} {phase.batch} patches of {phase.patch}" for phase in phases]
    return f"in phases that the recipe no longer has: {', '.join(stretches)}"

"""How weights of our own came to be, as the command line that would do it again.

Read from the `training` facts of a manifest entry, which `restore train export` wrote. Folders appear by name: where
they lie is nobody else's business. Imports no torch.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from restore_cli.weights.entry import WeightsEntry


def training_command(entry: WeightsEntry) -> str | None:
    """Return the command that trained weights, None for those that others trained.

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
    data: Mapping[str, Any] = training.get("data", {})
    words = ["restore", "train", "--recipe", str(training["recipe"])]
    for option, name in (("data", "folders"), ("degraded", "degraded"), ("val", "validation")):
        for folder in data.get(name, ()):
            words += [f"--{option}", str(folder)]
    if "warm_start" in training:
        words += ["--warm-start", str(training["warm_start"])]
    words += ["--steps", str(training["steps"])]
    phases = training.get("phases", ())
    if len(phases) == 1:
        words += ["--patch", str(phases[0]["patch"]), "--batch", str(phases[0]["batch"])]
    if "rate" in training:
        words += ["--lr", f"{training['rate']:g}"]
    words += ["--seed", str(training.get("seed", 0))]
    return shlex.join(words)

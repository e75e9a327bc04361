"""From a run's folder to weights that anyone can run: a .safetensors file that says itself what it is.

Last stage of training. What is exported is the running average of the weights at its best validation; where nothing was
held out, as it was last. The entry says how the weights came to be, in names only: a person's paths are theirs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from restore_cli._version import __version__
from restore_cli.errors import UsageError
from restore_cli.models import get_architecture, mult_adds_a_pixel
from restore_cli.tasks import get_task
from restore_cli.training.checkpoint import BEST, LAST, read_checkpoint
from restore_cli.training.recipes import Recipe
from restore_cli.training.request import TrainRequest
from restore_cli.training.run_file import TrainingFacts, read_run
from restore_cli.training.validation import SIDE_MOST_PIXELS
from restore_cli.weights.entry import Score, ScoreMetric, WeightsEntry, entry_from_json, entry_to_json
from restore_cli.weights.file import read_content
from restore_cli.weights.load import load_weights, save_weights
from restore_cli.weights.manifest import load_manifest, put_entry

_FILE_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors"


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """Say what the run itself does not know.

    Attributes:
        id: Weights id; None takes the recipe's name and "-own", so that no id of this project is taken.
        licence: Terms of the weights.
        notes: Anything a user should know, None for nothing.
        commit: Git commit of the code that trained, for a run that did not note it.
        half: Store float16 in place of float32.
    """

    id: str | None = None
    licence: str = "none stated"
    notes: str | None = None
    commit: str | None = None
    half: bool = False


@dataclass(frozen=True, kw_only=True)
class Export:
    """Weights of a run, ready to be written.

    Attributes:
        entry: What they are; without the size and digest that only the file has.
        state_dict: Tensors, float32 or float16.
    """

    entry: WeightsEntry
    state_dict: Mapping[str, torch.Tensor]


def read_export(folder: Path, settings: ExportSettings) -> Export:
    """Read the best weights of a run, finished or not, and say what they are.

    Raises:
        TrainingError: If the folder holds no run, or no checkpoint yet.
        ManifestError: If the id or another setting cannot stand in a manifest.
    """
    request, facts = read_run(folder)
    recipe = facts.recipe
    last = read_checkpoint(folder / LAST)
    best = read_checkpoint(folder / BEST) if (folder / BEST).is_file() else None
    state_dict: dict[str, torch.Tensor] = last["averaged"] if best is None else best["network"]
    if settings.half:
        state_dict = {
            name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state_dict.items()
        }
    weights_id = settings.id or f"{recipe.name}-own"
    commit = facts.commit or settings.commit
    entry = WeightsEntry(
        id=weights_id,
        model=recipe.family,
        arch=recipe.network.arch,
        config=facts.config,
        task=recipe.task,
        scale=recipe.scale,
        channels=recipe.channels,
        sigma_range=recipe.sigma_range,
        variant=recipe.served_variant,
        training_patch=recipe.phases[-1].patch,
        file=f"{weights_id}.safetensors",
        licence=settings.licence,
        origin=f"restore-cli {__version__}" if commit is None else f"restore-cli@{commit}",
        citation=get_architecture(recipe.network.arch).paper,
        notes=settings.notes,
        scores=() if best is None else (_score(request, recipe, float(best["score"])),),
        training=_training(request, facts, commit, last, int(last["step"] if best is None else best["step"])),
    )
    entry_from_json(entry_to_json(entry), "the entry")
    return Export(entry=entry, state_dict=state_dict)


def write_export(export: Export, path: Path) -> WeightsEntry:
    """Write weights, load them back, and return their entry with size and digest.

    Raises:
        UsageError: If the file's name is none that a manifest can hold.
        StorageError: If it cannot be written.
        WeightsError: If what was written cannot be loaded.
    """
    if re.fullmatch(_FILE_NAME, path.name) is None:
        raise UsageError(
            f"{path.name} is no name for a weights file",
            hint="end it in .safetensors and use letters, digits, '.', '_' and '-'",
        )
    entry = replace(export.entry, file=path.name)
    save_weights(path, export.state_dict, entry)
    load_weights(entry, path)
    content = read_content(path)
    return replace(entry, bytes=len(content.data), sha256=content.sha256)


def ship_export(export: Export, checkout: Path) -> WeightsEntry:
    """Put weights and their entry into a checkout of this project, in place of those of the same id.

    Raises:
        UsageError: If there is no checkout.
        ManifestError: If the entry does not go with the others of the manifest.
        StorageError: If it cannot be written.
        WeightsError: If what was written cannot be loaded.
    """
    manifest, bundled = checkout / "weights_manifest.json", checkout / "restore_cli" / "weights" / "bundled"
    if not manifest.is_file() or not bundled.parent.is_dir():
        raise UsageError(f"{checkout} is no checkout of this project", hint="name the folder of weights_manifest.json")
    bundled.mkdir(exist_ok=True)
    margins = {entry.id: entry.margin for entry in load_manifest(manifest).entries}
    arch = get_architecture(export.entry.arch)
    entry = replace(
        export.entry,
        bundled=True,
        margin=margins.get(export.entry.id),  # better weights of the same network
        mult_adds=mult_adds_a_pixel(arch, arch.config.from_json(export.entry.config)),
    )
    shipped = replace(export, entry=entry)
    entry = write_export(shipped, bundled / export.entry.file)
    put_entry(manifest, entry)
    return entry


def _score(request: TrainRequest, recipe: Recipe, value: float) -> Score:
    return Score(
        dataset="+".join(Path(folder).name for folder in request.val),
        protocol=_validation_protocol(request, recipe),
        metric=cast("ScoreMetric", get_task(recipe.task).metrics[0]),
        value=round(value, 4),
        scale=recipe.scale if recipe.scale > 1 else None,
        origin="measured",
    )


def _validation_protocol(request: TrainRequest, recipe: Recipe) -> str:
    """Name how validation scores; "paper" only where `restore eval` would come to the same numbers."""
    if request.val_degraded or (recipe.task == "sr" and recipe.variant is None):
        return f"paper, reflect padding, centre of at most {SIDE_MOST_PIXELS}x{SIDE_MOST_PIXELS} pixels"
    if recipe.sigma_range is not None and recipe.served_variant is None:
        low, high = recipe.sigma_range
        return f"validation, float noise, sigma spread evenly over {low:g} to {high:g}"
    return "validation, synthetic input"


def _training(
    request: TrainRequest, facts: TrainingFacts, commit: str | None, last: Mapping[str, Any], chosen: int
) -> dict[str, Any]:
    steps, planned = int(last["step"]), sum(stretch["steps"] for stretch in last["timeline"])
    training: dict[str, Any] = {
        "recipe": facts.recipe.name,
        "seed": request.seed,
        "steps": steps,
        "planned_steps": planned if planned != steps else None,
        "chosen_at_step": chosen,
        "phases": [asdict(phase) for phase in facts.recipe.phases],
        "rate": facts.recipe.optimisation.rate,
        "optimiser": facts.recipe.optimisation.optimiser,
        "freeze": list(request.freeze) or None,
        "freeze_until": request.freeze_until if request.freeze else None,
        "bf16": request.bf16 or None,
        "warm_start": None if request.warm_start is None else Path(request.warm_start).name,
        "commit": commit,
        "data": {
            "folders": [Path(folder).name for folder in request.data],
            "degraded": [Path(folder).name for folder in request.degraded],
            "validation": [Path(folder).name for folder in request.val],
            "val_degraded": [Path(folder).name for folder in request.val_degraded],
            "pictures": facts.images,
            "digest": facts.data_digest,
        },
        "seconds": round(float(last["seconds"])),
    }
    return {name: value for name, value in training.items() if value is not None}

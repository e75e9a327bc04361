"""The file in a run's folder that remembers what was asked for, and what was found out before the first step.

First stage of training, ASK. A resumed run takes its request from here, so that it goes on as it began, and is refused
where recipe or images are no longer those. An export takes from here what the weights are. Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from restore_cli.errors import TrainingError
from restore_cli.models import NetworkChoice, presets_module
from restore_cli.storage.files import replacing
from restore_cli.training.recipes import Frozen, Optimisation, Phase, Recipe
from restore_cli.training.request import TrainRequest

NAME = "run.json"

_FIRST_ARCH = "ramit"  # of runs begun before networks named their architecture
_ASKED = {"recipe": "the recipe", "config": "the network", "images": "the images", "data_digest": "the images"}


@dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """What a run was begun with.

    Attributes:
        recipe: The recipe with the request's settings in it.
        config: JSON object of the network's configuration.
        images: How many images are trained on.
        data_digest: Digest of their names and sizes.
        parameters: Numbers the network learns.
        commit: Git commit of the code, None where it does not run from a checkout.
        floor: Validation score of doing nothing, in dB; None where nothing is held out.
    """

    recipe: Recipe
    config: Mapping[str, Any]
    images: int
    data_digest: str
    parameters: int
    commit: str | None = None
    floor: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that `from_json` takes."""
        return {field.name: getattr(self, field.name) for field in fields(self)} | {"recipe": asdict(self.recipe)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Build from a JSON object; TypeError or KeyError where a field is unknown or missing."""
        return cls(**{**values, "recipe": _recipe_from_json(values["recipe"])})

    def refuse_change(self, now: TrainingFacts, folder: Path) -> None:
        """Refuse to go on where what a run was begun with is not what is there now.

        Raises:
            TrainingError: If recipe, network or images differ.
        """
        for name, words in _ASKED.items():
            if getattr(self, name) != getattr(now, name):
                raise TrainingError(
                    f"{words} of {folder} changed since it was begun; it cannot be resumed",
                    hint="begin a new run, with --warm-start if its weights are of use",
                )


def write_run(folder: Path, request: TrainRequest, facts: TrainingFacts) -> None:
    """Remember a request, and what was found out about it, in the run's folder."""
    content = {"request": request.to_json(), **facts.to_json()}
    with replacing(folder / NAME) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())


def read_run(folder: Path) -> tuple[TrainRequest, TrainingFacts]:
    """Return the request a run was started with, and the facts noted beside it.

    Raises:
        TrainingError: If the folder holds no run, or its file is damaged.
    """
    path = folder / NAME
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return TrainRequest.from_json(facts.pop("request")), TrainingFacts.from_json(facts)
    except FileNotFoundError as error:
        raise TrainingError(f"{folder} holds no training run ({NAME} is missing)") from error
    except (json.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise TrainingError(f"{path} is damaged: {error}") from error


def checkout_commit() -> str | None:
    """Return the git commit that the running code was checked out at, None where there is no checkout."""
    git = Path(__file__).resolve().parents[2] / ".git"
    try:
        if git.is_file():  # of a second working tree, which shares the references of the first
            git = Path(git.read_text(encoding="utf-8").removeprefix("gitdir:").strip())
        head = (git / "HEAD").read_text(encoding="ascii").strip()
        if not head.startswith("ref: "):
            return head
        reference = head.removeprefix("ref: ")
        common = git / "commondir"
        if common.is_file():
            git = (git / common.read_text(encoding="utf-8").strip()).resolve()
        if (git / reference).is_file():
            return (git / reference).read_text(encoding="ascii").strip()
        packed = (git / "packed-refs").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    return next((line.split()[0] for line in packed if line.endswith(f" {reference}")), None)


def network_from_json(values: Mapping[str, Any]) -> NetworkChoice:
    """Build from the object that `dataclasses.asdict` made, read back from JSON; RAMiT where no `arch` is named.

    Raises:
        TypeError: If a field is unknown.
        ValueError: If the architecture is unknown or cannot be trained.
    """
    plain = _tupled(values)
    arch = plain.get("arch", _FIRST_ARCH)
    module = presets_module(arch)
    if module is None:
        msg = f"architecture {arch!r} has no presets to train it with"
        raise ValueError(msg)
    choice: NetworkChoice = module.Network(**plain)
    return choice


def _recipe_from_json(values: Mapping[str, Any]) -> Recipe:
    given = _tupled(values)
    given["network"] = network_from_json(given["network"])
    given["optimisation"] = Optimisation(**_tupled(given["optimisation"]))
    given["phases"] = tuple(Phase(**phase) for phase in given["phases"])
    given["frozen"] = None if given["frozen"] is None else Frozen(**_tupled(given["frozen"]))
    return Recipe(**given)


def _tupled(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}

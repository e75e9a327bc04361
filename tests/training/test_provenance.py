"""The command that trained weights is one that `restore train` takes, repeats what was done, and names no paths."""

from __future__ import annotations

import shlex
from dataclasses import asdict, replace
from typing import Any

import pytest

from restore_cli.training.provenance import training_command
from restore_cli.training.recipes import Phase, get_recipe
from restore_cli.training.request import TrainRequest
from restore_cli.weights.manifest import WeightsEntry, load_manifest

ENTRIES = load_manifest().entries
OURS = [entry for entry in ENTRIES if entry.bundled and "recipe" in (entry.training or {})]


def words_of(entry: WeightsEntry) -> list[str]:
    command = training_command(entry)
    assert command is not None
    return shlex.split(command, comments=True)


def options_of(entry: WeightsEntry) -> dict[str, Any]:
    """Return the options of the command that trained weights, of several of a name the last; flags are left out."""
    words = [word for word in words_of(entry)[2:] if word != "--bf16"]
    return dict(zip(words[::2], words[1::2], strict=True))


def command_after(recipe: str, **facts: Any) -> str | None:
    """Return the command of weights that were trained as a recipe says, but for some facts."""
    usual = get_recipe(recipe)
    training = {
        "recipe": recipe,
        "steps": 9,
        "phases": [asdict(phase) for phase in usual.phases],
        "rate": usual.optimisation.rate,
        "optimiser": usual.optimisation.optimiser,
    }
    return training_command(replace(OURS[0], training=training | facts))


@pytest.mark.parametrize("entry", OURS, ids=lambda entry: entry.id)
def test_bundled_weights_tell_the_command_that_trained_them(entry: WeightsEntry):
    words, options = words_of(entry), options_of(entry)
    assert words[:2] == ["restore", "train"]
    assert get_recipe(options["--recipe"]).task == entry.task
    assert entry.training is not None
    assert int(options["--steps"]) == entry.training["steps"]
    assert [word for word in words if "/" in word] == []


@pytest.mark.parametrize("entry", OURS, ids=lambda entry: entry.id)
def test_the_command_asks_for_the_phases_rate_and_optimiser_that_trained(entry: WeightsEntry):
    options = options_of(entry)
    request = TrainRequest(
        recipe=options["--recipe"],
        data=(),
        patch=int(options["--patch"]) if "--patch" in options else None,
        batch=int(options["--batch"]) if "--batch" in options else None,
        rate=float(options["--lr"]) if "--lr" in options else None,
        optimiser=options.get("--optimiser"),
    )
    recipe = request.adjusted_recipe()
    assert entry.training is not None
    assert [asdict(phase) for phase in recipe.phases] == entry.training["phases"]
    assert recipe.optimisation.rate == entry.training["rate"]
    assert recipe.optimisation.optimiser == entry.training.get("optimiser", "adamw")  # all there was before it is noted


def test_what_the_recipe_says_by_itself_is_left_out():
    assert command_after("ramit-lite-derain") == "restore train --recipe ramit-lite-derain --steps 9 --seed 0"
    assert command_after("ramit-sr-x2") == "restore train --recipe ramit-sr-x2 --steps 9 --seed 0"


def test_what_is_not_the_recipes_way_is_an_option():
    one = asdict(Phase(patch=48, batch=6))
    command = command_after("ramit-lite-derain", phases=[one], optimiser="adam", rate=3e-4, bf16=True, planned_steps=20)
    assert command is not None
    assert "--steps 20 --patch 48 --batch 6 --lr 0.0003 --optimiser adam --bf16" in command


def test_phases_that_no_option_brings_back_are_told():
    phases = [asdict(Phase(patch=16, batch=9)), asdict(Phase(start=0.4, patch=24, batch=3))]
    command = command_after("ramit-lite-derain", phases=phases)
    assert command is not None
    assert command.endswith(
        "  # in phases that the recipe no longer has: from 0% 9 patches of 16, from 40% 3 patches of 24"
    )
    assert "--patch" not in command


def test_a_recipe_that_is_not_known_here_has_every_setting_named():
    phase = asdict(Phase(patch=32, batch=8))
    command = training_command(
        replace(OURS[0], training={"recipe": "gone", "steps": 5, "phases": [phase], "rate": 1e-3, "optimiser": "muon"})
    )
    assert command == "restore train --recipe gone --steps 5 --patch 32 --batch 8 --lr 0.001 --optimiser muon --seed 0"


def test_weights_that_others_trained_have_no_such_command():
    assert {training_command(entry) for entry in ENTRIES if not entry.bundled} == {None}

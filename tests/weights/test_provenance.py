"""The command that trained weights is one that `restore train` takes, and names no person's paths."""

from __future__ import annotations

import shlex

import pytest

from restore_cli.train.recipes import get_recipe
from restore_cli.weights.manifest import WeightsEntry, load_manifest
from restore_cli.weights.provenance import training_command

ENTRIES = load_manifest().entries
OURS = [entry for entry in ENTRIES if entry.bundled]


@pytest.mark.parametrize("entry", OURS, ids=lambda entry: entry.id)
def test_bundled_weights_tell_the_command_that_trained_them(entry: WeightsEntry):
    command = training_command(entry)
    assert command is not None
    words = shlex.split(command)
    options = dict(zip(words[2::2], words[3::2], strict=True))
    assert words[:2] == ["restore", "train"]
    assert get_recipe(options["--recipe"]).task == entry.task
    assert entry.training is not None
    assert int(options["--steps"]) == entry.training["steps"]
    assert [word for word in words if "/" in word] == []


def test_weights_that_others_trained_have_no_such_command():
    assert {training_command(entry) for entry in ENTRIES if not entry.bundled} == {None}

"""Recipes name their network, and the defaults are ours."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from restore_cli.models import get_architecture
from restore_cli.models.crossformer_ir.presets import Network as CrossFormer
from restore_cli.models.ramit.presets import Network as Ramit
from restore_cli.tasks import task_names
from restore_cli.training.recipes import default_recipe, get_recipe, recipe_names
from restore_cli.training.run_file import network_from_json


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_builds_the_network_it_names(name: str):
    recipe = get_recipe(name)
    arch = get_architecture(recipe.network.arch)
    config = recipe.config()
    assert isinstance(config, arch.config)
    assert (config.scale, config.channels) == (recipe.scale, recipe.channels)
    assert all(phase.patch % arch.of(config).multiple_of == 0 for phase in recipe.phases)


@pytest.mark.parametrize("family", ["crossformer-lite", "crossformer-ir"])
def test_crossformer_is_trained_for_every_task_ramit_lite_is(family: str):
    served = {name.removeprefix("ramit-lite-") for name in recipe_names() if name.startswith("ramit-lite-")}
    ours = {name.removeprefix(f"{family}-") for name in recipe_names() if name.startswith(f"{family}-")}
    assert ours == served
    assert {get_recipe(f"{family}-{detail}").task for detail in ours} == set(task_names())
    assert {get_recipe(f"{family}-{detail}").family for detail in ours} == {family}


def test_the_two_small_networks_are_trained_alike_so_that_they_can_be_compared():
    for name in recipe_names():
        if name.startswith("crossformer-lite-"):
            twin = get_recipe(name.replace("crossformer", "ramit"))
            assert dataclasses.replace(get_recipe(name), name=twin.name, network=twin.network) == twin


def test_the_default_of_a_task_is_ramit_lite():
    assert default_recipe("sr", 2, 3, None).name == "ramit-lite-sr-x2"
    assert default_recipe("denoise", 1, 3, None).name == "ramit-lite-denoise-color"


@pytest.mark.parametrize("network", [Ramit(variant="ramit-1"), CrossFormer(dims=(16,), depths=(1,))])
def test_a_network_survives_json(network: Ramit | CrossFormer):
    assert network_from_json(json.loads(json.dumps(dataclasses.asdict(network)))) == network


def test_a_run_begun_before_networks_named_their_architecture_is_of_ramit():
    values = dataclasses.asdict(Ramit())
    del values["arch"]
    assert network_from_json(values) == Ramit()


def test_the_standard_crossformer_has_about_a_million_parameters_and_the_small_one_fewer():
    counts = []
    for family in ("crossformer-ir", "crossformer-lite"):
        with torch.device("meta"):
            network = get_architecture("crossformer_ir").build(get_recipe(f"{family}-sr-x2").config())
        counts.append(sum(parameter.numel() for parameter in network.parameters()))
    assert 1.3e6 > counts[0] > counts[1] > 0.8e6

"""Exported weights are the run's best, say themselves what they are, and become the defaults of their commands."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from restore_cli.errors import TrainingError, UsageError
from restore_cli.training.checkpoint import BEST, LAST, read_checkpoint, write_checkpoint
from restore_cli.training.export import ExportSettings, read_export, ship_export, write_export
from restore_cli.training.processes import Processes
from restore_cli.training.recipes import get_recipe, recipe_names
from restore_cli.training.request import TrainRequest
from restore_cli.training.run_file import NAME, write_run
from restore_cli.training.session import Machine, prepare
from restore_cli.weights.file import entry_from_file
from restore_cli.weights.load import load_weights
from restore_cli.weights.manifest import load_manifest
from tests.conftest import ROOT
from tests.training.conftest import write_images

MACHINE = Machine(device=torch.device("cpu"), processes=Processes(), cache_mebibytes=64, readers=1)
OURS = [name for name in recipe_names() if name.startswith("ramit-lite")]


def begun_run(folder: Path, images: Path, recipe: str = "ramit-lite-sr-x2", *, validated: bool = True) -> Path:
    """Leave what a run leaves, at its first step: a network at its random start, moved off its zeros."""
    patch = get_recipe(recipe).phases[0].patch
    request = TrainRequest(recipe=recipe, data=(str(images),), val=(str(images),), batch=1, patch=patch, seed=3)
    session = prepare(dataclasses.replace(request, val=()), MACHINE)
    with torch.no_grad():
        for parameter in session.state.averaged.parameters():
            parameter.add_(0.01)
    folder.mkdir()
    write_run(folder, request, session.facts)
    state = session.state.to_dict()
    write_checkpoint(folder / LAST, {**state, "step": 9, "seconds": 12.3})
    if validated:
        write_checkpoint(folder / BEST, {"step": 6, "score": 31.25, "network": state["averaged"]})
    return folder


@pytest.fixture(scope="module")
def run(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of x2 super-resolution; not to be written to."""
    return begun_run(tmp_path_factory.mktemp("runs") / "x2", images)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What a checkout has of weights."""
    (tmp_path / "checkout" / "restore_cli" / "weights").mkdir(parents=True)
    shutil.copy(ROOT / "weights_manifest.json", tmp_path / "checkout")
    return tmp_path / "checkout"


def outputs(network: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        result: torch.Tensor = network(torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    return result


@pytest.mark.parametrize(("half", "tolerance"), [(False, 0.0), (True, 2e-3)])
def test_the_file_restores_what_the_averaged_network_of_the_best_checkpoint_restores(
    half: bool, tolerance: float, run: Path, images: Path, tmp_path: Path
):
    path = tmp_path / "mine.safetensors"
    write_export(read_export(run, ExportSettings(half=half)), path)
    entry = entry_from_file(path)
    assert entry is not None
    session = prepare(TrainRequest(recipe="ramit-lite-sr-x2", data=(str(images),), batch=1), MACHINE)
    session.state.averaged.load_state_dict(read_checkpoint(run / BEST)["network"])
    expected = outputs(session.state.averaged)
    assert (outputs(load_weights(entry, path).network) - expected).abs().max() <= tolerance
    assert expected.std() > 0.01


def test_the_entry_tells_how_the_weights_were_made_and_no_path_of_the_person(run: Path, tmp_path: Path):
    path = tmp_path / "mine.safetensors"
    settings = ExportSettings(id="my-own-x2", licence="CC0", notes="trained on stripes", half=True)
    entry = write_export(read_export(run, settings), path)
    assert (entry.id, entry.model, entry.file, entry.bytes) == (
        "my-own-x2",
        "ramit-lite",
        path.name,
        path.stat().st_size,
    )
    assert (entry.licence, entry.notes, entry.bundled) == ("CC0", "trained on stripes", False)
    assert [(score.metric, score.value, score.scale) for score in entry.scores] == [("psnr_y", 31.25, 2)]
    training: Any = entry.training
    assert (training["recipe"], training["seed"], training["steps"], training["seconds"]) == (
        "ramit-lite-sr-x2",
        3,
        9,
        12,
    )
    assert training["chosen_at_step"] == 6
    assert training["optimiser"] == "muon"
    assert training["planned_steps"] == 10_000
    assert training["data"]["folders"] == ["train"]
    assert training["data"]["pictures"] == 6
    assert str(tmp_path.anchor) not in json.dumps(dict(training))


@pytest.mark.slow
def test_what_is_shipped_is_what_its_model_means_to_each_command(checkout: Path, tmp_path: Path):
    large = write_images(tmp_path / "large", 1, 128)
    for name in OURS:
        entry = ship_export(read_export(begun_run(tmp_path / name, large, name), ExportSettings(id=name)), checkout)
        assert entry.id == name
    manifest = load_manifest(checkout / "weights_manifest.json")
    for wanted, expected in [
        ({"task": "sr", "scale": 2}, "sr-x2"),
        ({"task": "sr", "scale": 3}, "sr-x3"),
        ({"task": "sr", "scale": 4}, "sr-x4"),
        ({"task": "sr", "scale": 4, "variant": "photo"}, "sr-x4-photo"),
        ({"task": "denoise"}, "denoise-color"),
        ({"task": "denoise", "sigma": 25.0}, "denoise-color"),
        ({"task": "denoise", "channels": 1}, "denoise-gray"),
        ({"task": "derain"}, "derain"),
        ({"task": "lowlight"}, "lowlight"),
        ({"task": "deblur", "variant": "motion"}, "deblur-motion"),
    ]:
        assert manifest.select("ramit-lite", **wanted).id == f"ramit-lite-{expected}"  # type: ignore[arg-type]
    for name in OURS:
        entry = manifest.get(name)
        load_weights(entry, checkout / "restore_cli" / "weights" / "bundled" / entry.file)


def test_weights_of_ones_own_take_no_name_and_no_terms_of_ours(run: Path, tmp_path: Path):
    entry = write_export(read_export(run, ExportSettings()), tmp_path / "mine.safetensors")
    assert entry.id == "ramit-lite-sr-x2-own"
    assert entry.id not in {known.id for known in load_manifest().entries}
    assert (entry.licence, entry.bundled) == ("none stated", False)
    assert entry_from_file(tmp_path / "mine.safetensors") is not None


def test_a_better_checkpoint_replaces_what_was_shipped(run: Path, checkout: Path):
    name = "ramit-lite-sr-x2"
    ship_export(read_export(run, ExportSettings(id=name)), checkout)
    better = ship_export(read_export(run, ExportSettings(id=name, half=True)), checkout)
    assert load_manifest(checkout / "weights_manifest.json").get(better.id) == better


def test_a_run_that_did_not_note_its_commit_is_told_it(images: Path, tmp_path: Path):
    run = begun_run(tmp_path / "run", images)
    facts = json.loads((run / NAME).read_text())
    facts.pop("commit")
    (run / NAME).write_text(json.dumps(facts))
    assert read_export(run, ExportSettings()).entry.origin.startswith("restore-cli ")
    told = read_export(run, ExportSettings(commit="28eadec")).entry
    assert (told.origin, dict(told.training or {})["commit"]) == ("restore-cli@28eadec", "28eadec")


def test_a_run_without_validation_gives_its_last_average_and_no_score(images: Path, tmp_path: Path):
    run = begun_run(tmp_path / "run", images, validated=False)
    export = read_export(run, ExportSettings())
    assert export.entry.scores == ()
    assert all(
        torch.equal(tensor, export.state_dict[k]) for k, tensor in read_checkpoint(run / LAST)["averaged"].items()
    )


def test_a_folder_without_a_run_and_a_run_without_a_checkpoint_are_refused(run: Path, tmp_path: Path):
    with pytest.raises(TrainingError, match="holds no training run"):
        read_export(tmp_path, ExportSettings())
    shutil.copy(run / NAME, tmp_path)
    with pytest.raises(TrainingError, match="no checkpoint"):
        read_export(tmp_path, ExportSettings())


def test_a_file_name_no_manifest_can_hold_is_refused(run: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="no name for a weights file"):
        write_export(read_export(run, ExportSettings()), tmp_path / "weights.pth")


def test_only_a_checkout_can_be_shipped_to(run: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="no checkout"):
        ship_export(read_export(run, ExportSettings()), tmp_path)

"""Training works: some minutes on one core beat bicubic on a part of the image that was held out."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from restore_cli.models.ramit.presets import Network
from restore_cli.training import recipes
from restore_cli.training.export import ExportSettings, read_export, write_export
from restore_cli.training.journal import read_journal
from restore_cli.training.processes import Processes
from restore_cli.training.request import TrainRequest
from restore_cli.training.run_file import write_run
from restore_cli.training.session import Machine, make_loop, prepare
from restore_cli.weights.load import load_weights
from tests.samples.make_samples import render

RECIPE = "ramit-lite-sr-x2"
STEPS = 900
GAIN_LEAST_DB = 0.5  # a fifth of the steps gained 0.60 dB; the untrained network is bicubic itself


@pytest.fixture
def tiny_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the recipe train a network of a fifth of its size."""
    small = Network(dim=32, depths=(1, 1, 1, 1))
    recipe = replace(recipes.get_recipe(RECIPE), network=small)
    monkeypatch.setitem(recipes._RECIPES, RECIPE, recipe)


def write_still_life(folder: Path) -> tuple[Path, Path]:
    """Render the still life large: its left is to train on, its right, with a ball of its own, is held out."""
    pixels = render(288, 384)
    train, held_out = folder / "left", folder / "right"
    for part, columns in ((train, slice(0, 240)), (held_out, slice(264, 384))):
        part.mkdir()
        Image.fromarray(pixels[:, columns]).save(part / "still_life.png")
    return train, held_out


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)  # some minutes of one core, which others may be using
@pytest.mark.usefixtures("tiny_recipe")
def test_a_tiny_network_trained_for_some_minutes_beats_bicubic_on_held_out_crops(tmp_path: Path):
    train, held_out = write_still_life(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    request = TrainRequest(
        recipe=RECIPE,
        data=(str(train),),
        val=(str(held_out),),
        steps=STEPS,
        batch=4,
        rate=3e-3,
        log_every=STEPS // 4,
    )
    machine = Machine(device=torch.device("cpu"), processes=Processes(), cache_mebibytes=64)
    session = prepare(request, machine)
    write_run(run, request, session.facts)
    make_loop(session, machine, run, on_interval=lambda _: None, stop=threading.Event()).run()
    losses = [line["loss"] for line in read_journal(run)]
    assert losses[-1] < losses[0]
    path = tmp_path / "x2.safetensors"
    entry = write_export(read_export(run, ExportSettings(half=True)), path)
    assert session.validation is not None
    assert session.facts.floor is not None
    exported = session.validation.judge(load_weights(entry, path).network).score
    gained = exported - session.facts.floor
    assert gained > GAIN_LEAST_DB

"""Small images and a tiny recipe, so that real training runs in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from restore_cli.models.ramit.presets import Network
from restore_cli.training import recipes

SMALL = Network(dim=16, depths=(1, 1, 1, 1))


def write_images(folder: Path, count: int, side: int = 96, seed: int = 0) -> Path:
    """Write smooth coloured images with edges, PNG."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:side, 0:side] / side
    for index in range(count):
        angle, frequency = random.uniform(0, 3.14), random.uniform(2, 9)
        wave = np.sin(2 * np.pi * frequency * (rows * np.cos(angle) + columns * np.sin(angle)))
        colour = random.uniform(0.2, 0.8, 3)
        image = np.clip(colour + 0.3 * np.sign(wave)[..., None] * random.uniform(0.3, 1, 3), 0, 1)
        Image.fromarray((image * 255).astype(np.uint8)).save(folder / f"{index}.png")
    return folder


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Run on one thread: networks this small gain nothing from two, and other work may go on beside the tests."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ramit-lite's recipes train a network of a tenth of its size; processes of their own train the real one."""
    for name, recipe in recipes._RECIPES.items():
        if recipe.family == "ramit-lite":
            monkeypatch.setitem(recipes._RECIPES, name, replace(recipe, network=SMALL))


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with six images of 96x96."""
    return write_images(tmp_path_factory.mktemp("images") / "train", 6)


@pytest.fixture(scope="session")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with another image of 64x64."""
    return write_images(tmp_path_factory.mktemp("images") / "val", 1, 64, seed=1)

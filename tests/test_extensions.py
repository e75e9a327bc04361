"""The network and the task that README has, offered by an installed package, go wherever our own go."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT

README = (ROOT / "restore_cli" / "README.md").read_text(encoding="utf-8")
NETWORK, TASK = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
ENTRY_POINTS = """[restore_cli.networks]
toy = outside.toy
[restore_cli.tasks]
fade = outside.fade
"""
RUN = """
import json, sys
from restore_cli.cli.app import run
for arguments in json.loads(sys.argv[1]):
    code = run(arguments)
    assert code == 0, (arguments, code)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return a folder as `pip install` would leave it, with a package that offers a network and a task."""
    site = tmp_path / "site"
    facts = site / "outside-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(ENTRY_POINTS)
    (site / "outside").mkdir()
    for name, text in (("__init__", ""), ("toy", NETWORK), ("fade", TASK)):
        (site / "outside" / f"{name}.py").write_text(text)
    return site


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(2):
        Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    return folder


def run_all(package: Path, *commands: list[str]) -> str:
    path = os.pathsep.join((str(ROOT), str(package)))
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(commands)],
        cwd=package.parent,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def train(recipe: str, images: Path) -> tuple[list[str], list[str]]:
    begin = ["train", "--recipe", recipe, "--data", str(images), "--val", str(images), "--steps", "3", "--out", "run"]
    return begin, ["train", "export", "run", "-o", "toy.safetensors"]


@pytest.mark.slow
def test_a_network_of_an_installed_package_is_trained_run_scored_and_measured(package: Path, images: Path):
    run_all(
        package,
        *train("toy-sr-x2", images),
        ["sr", "--scale", "2", "--weights", "toy.safetensors", str(images / "0.png"), "-o", "larger.png"],
        ["eval", "sr", "--scale", "2", "--weights", "toy.safetensors", "--clean", str(images)],
        ["bench", "--weights", "toy.safetensors", "--size", "64x64", "--runs", "1", "--warmup", "1"],
    )
    with Image.open(package.parent / "larger.png") as larger:
        assert larger.size == (128, 128)


@pytest.mark.slow
def test_a_task_of_an_installed_package_is_trained_for_run_and_scored(package: Path, images: Path):
    run_all(
        package,
        *train("toy-fade", images),
        ["fade", "--weights", "toy.safetensors", str(images / "0.png")],
        ["eval", "fade", "--weights", "toy.safetensors", "--clean", str(images)],
    )
    assert (images / "0_bright.png").is_file()


def test_a_task_of_an_installed_package_has_a_command(package: Path):
    shown = run_all(package, ["fade", "--help"])
    assert "Restore images by the task fade." in shown


@pytest.mark.slow
def test_a_network_of_ours_is_trained_for_a_task_of_an_installed_package(package: Path, images: Path):
    begin, export = train("ramit-lite-fade", images)
    run_all(package, [*begin, "--batch", "1"], export)

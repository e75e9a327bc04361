"""`restore train` and `restore train export`, through the program itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run, picture


@pytest.fixture
def data(here: Path) -> Path:
    for index in range(2):
        picture(f"data/{index}.png", size=(72, 68))
    return here / "data"


def test_a_folder_of_pictures_becomes_weights_that_restore_pictures(run: Run, data: Path):
    trained = run(
        "train", "--task", "sr", "--scale", 2, "--data", data, "--val", data, "--out", "runs/x2",
        "--steps", 2, "--batch", 1, "--log-every", 1, "--validate-every", 1, "--device", "cpu",
    )  # fmt: skip
    assert trained.code == 0, trained.err
    assert trained.out == "runs/x2\n"
    exported = run("train", "export", "runs/x2", "-o", "mine.safetensors", "--half")
    assert exported.code == 0, exported.err
    entry = json.loads(exported.out)
    assert (entry["id"], entry["file"], entry["bundled"]) == ("ramit-lite-sr-x2", "mine.safetensors", True)
    restored = run("sr", "--weights", "mine.safetensors", data / "0.png", "big.png", "--device", "cpu")
    assert restored.code == 0, restored.err
    assert Path("big.png").is_file()

"""`restore train` and `restore train export`, through the program itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from restore_cli.training.request import TrainRequest
from restore_cli.training.run_file import TrainingFacts, write_run
from tests.cli.conftest import Run, image


@pytest.fixture
def data(here: Path) -> Path:
    for index in range(2):
        image(f"data/{index}.png", size=(72, 68))
    return here / "data"


def test_a_folder_of_images_becomes_weights_that_restore_images(run: Run, data: Path):
    trained = run(
        "train", "--task", "sr", "--scale", 2, "--data", data, "--val", data, "--out", "runs/x2",
        "--steps", 2, "--batch", 1, "--log-every", 1, "--validate-every", 1, "--device", "cpu",
    )  # fmt: skip
    assert trained.code == 0, trained.err
    assert trained.out == "runs/x2\n"
    assert "restore train export runs/x2 -o ramit-lite-sr-x2.safetensors" in trained.err
    exported = run("train", "export", "runs/x2", "-o", "mine.safetensors", "--half")
    assert exported.code == 0, exported.err
    assert "restore sr --weights mine.safetensors IMAGE" in exported.err
    entry = json.loads(exported.out)
    assert (entry["id"], entry["file"]) == ("ramit-lite-sr-x2-own", "mine.safetensors")
    restored = run("sr", "--weights", "mine.safetensors", data / "0.png", "big.png", "--device", "cpu")
    assert restored.code == 0, restored.err
    assert Path("big.png").is_file()


def test_a_run_whose_images_or_recipe_changed_is_not_resumed(run: Run, data: Path):
    begun = run(
        "train", "--task", "sr", "--scale", 2, "--data", data, "--out", "run", "--steps", 1, "--batch", 1,
        "--device", "cpu",
    )  # fmt: skip
    assert begun.code == 0, begun.err
    new = image("data/new.png", size=(72, 68))
    refused = run("train", "--resume", "--out", "run", "--device", "cpu")
    assert refused.code == 1
    assert refused.err.splitlines()[-1].startswith("restore: error: the images of run changed since it was begun")
    new.unlink()
    content = json.loads(Path("run/run.json").read_text())
    content["recipe"]["optimisation"]["rate"] = 0.5
    Path("run/run.json").write_text(json.dumps(content))
    refused = run("train", "--resume", "--out", "run", "--device", "cpu")
    assert refused.code == 1
    assert refused.err.splitlines()[-1].startswith("restore: error: the recipe of run changed since it was begun")


@pytest.mark.parametrize("option", [("--lr", 1), ("--data", "data"), ("--bf16",), ("--log-every", 7)])
def test_options_that_would_make_it_another_run_are_refused_with_resume(option: tuple[object, ...], run: Run):
    request = TrainRequest(recipe="ramit-lite-sr-x2", data=("data",))
    facts = TrainingFacts(recipe=request.adjusted_recipe(), config={}, images=1, data_digest="", parameters=1)
    Path("run").mkdir()
    write_run(Path("run"), request, facts)
    refused = run("train", "--resume", "--out", "run", *option)
    assert refused.code == 2
    assert f"{option[0]} cannot change while a run is resumed" in refused.err


def test_the_plan_says_steps_patches_memory_and_time_and_leaves_nothing(run: Run, data: Path):
    planned = run(
        "train", "--task", "sr", "--scale", 2, "--data", data, "--out", "runs/x2", "--steps", 100, "--batch", 2,
        "--freeze", "stage", "--freeze-until", 0.5, "--device", "cpu", "--dry-run",
    )  # fmt: skip
    assert planned.code == 0, planned.err
    for said in (
        "100 steps",
        "batches of 2 patches of 32x32",
        "until 50%",
        "held still",
        "memory on cpu",
        "time: about",
    ):
        assert said in planned.err
    assert planned.out == ""
    assert not Path("runs").exists()


def test_one_broken_image_is_left_out_with_a_warning(run: Run, data: Path):
    Path("data/broken.png").write_bytes((data / "0.png").read_bytes()[:200])
    trained = run(
        "train", "--task", "sr", "--scale", 2, "--data", data, "--out", "run", "--device", "cpu", "--dry-run",
    )  # fmt: skip
    assert trained.code == 0, trained.err
    assert "1 image is left out" in trained.err
    assert "broken.png" in trained.err
    assert "2 images, " in trained.err


def test_all_unusable_images_are_counted_and_the_first_are_named(run: Run, data: Path):
    for index in range(7):
        Path(f"data/broken{index}.png").write_bytes((data / "0.png").read_bytes()[:200])
    asked = ("train", "--task", "sr", "--scale", 2, "--data", data, "--out", "run", "--device", "cpu")
    refused = run(*asked)
    assert refused.code == 1
    assert "7 of 9 images cannot be trained on" in refused.err
    assert refused.err.count("broken") == 5
    assert "and 2 more; remove or replace them" in refused.err
    for index in range(7):
        image(f"data/broken{index}.png", size=(60, 90))
    refused = run(*asked)
    assert refused.code == 1
    assert "7 of 9 images are smaller than the 64 pixels a side that patches of 32 need" in refused.err
    assert refused.err.rstrip().endswith("and 2 more; remove them")
    assert not Path("run").exists()

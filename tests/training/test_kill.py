"""A training process that is killed at any moment and resumed ends where the uninterrupted one does, bit for bit."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from restore_cli.training.checkpoint import BEST, LAST, read_checkpoint
from restore_cli.training.journal import read_journal
from tests.cli.conftest import command, environment

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 240
Moment = Callable[[Path], bool]


def training(images: Path, held_out: Path, folder: Path, *extra: str) -> subprocess.Popen[str]:
    """Start a training of 10 steps that keeps its state behind every second one."""
    asked = ["--resume"] if (folder / "run.json").is_file() else [
        "--task", "sr", "--scale", "2", "--data", str(images), "--val", str(held_out), "--steps", "10",
        "--batch", "1", "--log-every", "2", "--validate-every", "1",
    ]  # fmt: skip
    line = command("train", "--out", str(folder), "--device", "cpu", "--threads", "1", *asked, *extra)
    return subprocess.Popen(line, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> None:
    _, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, said


def kill_at(process: subprocess.Popen[str], folder: Path, moment: Moment) -> None:
    """Kill the process as soon as a moment has come; none of its own code runs any more."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not moment(folder):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.001)
    process.kill()
    process.communicate()


def steps_done(folder: Path) -> int:
    return max((int(line["step"]) for line in read_journal(folder)), default=0)


def is_planned(folder: Path) -> bool:
    """Tell that the first step is still to come."""
    return (folder / "run.json").is_file()


def is_behind_a_log_line(folder: Path) -> bool:
    """Tell that a checkpoint is due."""
    return steps_done(folder) >= 4


def is_writing(folder: Path) -> bool:
    """Tell that a checkpoint is half-written."""
    return steps_done(folder) >= 4 and any(folder.glob(".restore-*"))


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Name every tensor and number of a checkpoint but the clock's."""
    if isinstance(value, dict):
        parts = [flat(item, f"{name}/{key}") for key, item in value.items() if key != "seconds"]
    elif isinstance(value, list | tuple):
        parts = [flat(item, f"{name}/{index}") for index, item in enumerate(value)]
    else:
        return {name: value}
    return {key: item for part in parts for key, item in part.items()}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    return bool(one == other)


@pytest.mark.parametrize(
    "moments",
    [
        pytest.param([is_writing], id="once"),
        pytest.param([is_planned, is_behind_a_log_line, is_writing], id="three times", marks=pytest.mark.exhaustive),
    ],
)
def test_killed_and_resumed_it_is_the_uninterrupted_run(
    moments: list[Moment], images: Path, held_out: Path, tmp_path: Path
):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for moment in moments:
        kill_at(training(images, held_out, cut), cut, moment)
    finish(training(images, held_out, cut))
    finish(training(images, held_out, whole))
    for name in (LAST, BEST):
        one, other = flat(read_checkpoint(whole / name)), flat(read_checkpoint(cut / name))
        assert one.keys() == other.keys()
        assert len(one) > 100
        assert [key for key in one if not same(one[key], other[key])] == []
    told = ("step", "loss", "gradient_norm", "rate", "score", "best")
    logs = [[{key: line[key] for key in told} for line in read_journal(folder)] for folder in (whole, cut)]
    assert logs[0] == logs[1]


def test_a_terminated_run_saves_its_step_and_says_how_to_go_on(images: Path, held_out: Path, tmp_path: Path):
    process = training(images, held_out, tmp_path / "run", "--log-every", "1000")
    assert process.stderr is not None
    while "validation" not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(0.5)
    process.terminate()
    _, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 143
    assert "go on with --resume" in said
    step = read_checkpoint(tmp_path / "run" / LAST)["step"]
    assert f"stopped behind step {step}" in said

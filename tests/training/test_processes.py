"""Several processes that share a batch come to what one alone comes to, and speak with one voice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from restore_cli.errors import TrainingError
from restore_cli.training.checkpoint import LAST, read_checkpoint
from restore_cli.training.journal import read_journal
from restore_cli.training.processes import Processes, processes_from_environment
from tests.cli.conftest import environment

STEPS = 6


def train(count: int, images: Path, held_out: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable]
    if count > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    asked = [
        "--recipe", "ramit-lite-denoise-color", "--data", images, "--val", held_out, "--out", folder,
        "--steps", STEPS, "--batch", 4, "--patch", 32, "--log-every", 2, "--validate-every", 1, "--threads", 1,
        "--device", "cpu",
    ]  # fmt: skip
    return subprocess.run(
        [*launcher, "-m", "restore_cli", "train", *map(str, asked)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.mark.slow
def test_two_processes_come_to_the_losses_and_weights_of_one_and_only_one_speaks(
    images: Path, held_out: Path, tmp_path: Path
):
    alone = train(1, images, held_out, tmp_path / "one")
    shared = train(2, images, held_out, tmp_path / "two")
    for ran in (alone, shared):
        assert ran.returncode == 0, ran.stderr
    one, two = read_journal(tmp_path / "one"), read_journal(tmp_path / "two")
    assert [line["step"] for line in two] == [2, 4, 6]
    for first, second in zip(one, two, strict=True):
        assert second["loss"] == pytest.approx(first["loss"], rel=1e-4)
        assert second["gradient_norm"] == pytest.approx(first["gradient_norm"], rel=1e-2)
        assert second["score"] == pytest.approx(first["score"], abs=0.01)
    assert "UserWarning" not in shared.stderr
    assert shared.stdout == f"{tmp_path / 'two'}\n"
    for said in ("recipe ramit-lite-denoise-color", f"step {STEPS}/{STEPS}", "best validation"):
        assert shared.stderr.count(said) == 1
    states = [read_checkpoint(tmp_path / name / LAST)["network"] for name in ("one", "two")]
    assert all(torch.allclose(states[0][name], states[1][name], atol=2e-3) for name in states[0])


def test_a_process_alone_needs_no_launcher(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert processes_from_environment() == Processes(rank=0, local_rank=0, count=1)


def test_what_torchrun_says_is_taken(monkeypatch: pytest.MonkeyPatch):
    for name, value in {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    processes = processes_from_environment()
    assert (processes.rank, processes.local_rank, processes.count, processes.leads) == (3, 1, 4, False)


def test_half_of_an_environment_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(TrainingError, match="start several processes with torchrun"):
        processes_from_environment()

"""A part of what `python -m tests.faults` does in full: kills, signals, full disks, failing calls, shared folders."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.faults.experiments import can_mount

pytestmark = pytest.mark.slow


def outcomes(tmp_path: Path, *options: str) -> list[dict[str, Any]]:
    """Run experiments in a process of their own: they fork, which one with threads must not."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--folder", str(tmp_path), *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.stdout, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_interrupted_batches_lose_nothing_and_are_resumed_to_the_same_bytes(tmp_path: Path):
    found = outcomes(tmp_path, "--kills", "3", "--signals", "2", "--processes", "1", "--images", "40")
    assert [outcome["wrong"] for outcome in found] == [[], [], []]
    assert found[0]["figures"]["killed"] > 0


@pytest.mark.exhaustive
@pytest.mark.parametrize("options", ["", "--tile 64 --overlap 16"])
def test_the_same_bytes_come_out_whatever_the_threads_the_order_and_the_interruptions(tmp_path: Path, options: str):
    weights = ROOT / "restore_cli/weights/bundled/ramit-lite-denoise-color.safetensors"
    asked = ("--same", "5", "--small", "4", "--side", "90", f"--options={options}")
    found = outcomes(tmp_path, "--weights", str(weights), *asked)
    assert [(outcome["wrong"], outcome["tries"]) for outcome in found] == [([], 14)]


def test_failing_calls_leave_no_partial_file_and_stop_the_run(tmp_path: Path):
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        pytest.skip("no C compiler here to make calls fail with")
    found = outcomes(tmp_path, "--calls", "1", "--small", "12")
    assert [outcome["wrong"] for outcome in found] == [[]]
    assert found[0]["tries"] == 16


def test_full_disks_leave_no_partial_file_and_stop_the_run(tmp_path: Path):
    if not can_mount(tmp_path / "disk"):
        pytest.skip("small disks can only be made as root")
    found = outcomes(tmp_path, "--sizes", "5", "--small", "24")
    assert [outcome["wrong"] for outcome in found] == [[]]
    assert found[0]["figures"]["full"] >= 3


def test_memory_and_descriptors_do_not_grow_with_the_batch(tmp_path: Path):
    found = outcomes(tmp_path, "--many", "400")
    assert [outcome["wrong"] for outcome in found] == [[]]
    assert found[0]["figures"]["most descriptors"] - found[0]["figures"]["fewest descriptors"] <= 8

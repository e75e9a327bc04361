"""The fuzz harness finds faults, and finds none for some seconds (more with RESTORE_FUZZ_SECONDS)."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests import fuzz
from tests.conftest import ROOT
from tests.imaging.files import pattern, saved


@pytest.mark.slow
def test_mutated_files_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    seconds = float(os.environ.get("RESTORE_FUZZ_SECONDS", "12"))
    command = [sys.executable, "-m", "tests.fuzz", "--seconds", str(seconds), "--failures", str(tmp_path / "failures")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds + 200)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_sample_of_the_harness_is_sound(tmp_path: Path) -> None:
    for name, data in fuzz.samples().items():
        path = tmp_path / name
        path.write_bytes(data)
        assert fuzz.unsound(fuzz.decode(path)) is None, name


def test_a_planted_fault_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(saved(pattern(), "PNG"))
    assert fuzz.fault_of(path, random.Random(5)) is None

    def faulty(*_: object, **__: object) -> None:
        raise IndexError

    monkeypatch.setattr(fuzz, "decode", faulty)
    assert "IndexError" in (fuzz.fault_of(path, random.Random(5)) or "")


def test_a_process_that_was_started_is_noticed() -> None:
    script = """
        import os, subprocess, sys
        from tests.children import children_seen
        assert children_seen() is None
        if sys.argv[1] == "waited for":
            subprocess.run(["true"])
        elif os.fork() == 0:
            os._exit(0)
        print(children_seen())
    """
    for kind in ("waited for", "left alone"):
        settings = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", dedent(script), kind], env=settings, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout[:15]) == (0, "a child process"), done.stderr


def test_the_same_seed_gives_the_same_mutations() -> None:
    data = fuzz.samples()["rgb.png"]
    one, two = ([fuzz.mutated(data, [data], random.Random(seed)) for seed in range(20)] for _ in range(2))
    assert one == two
    assert len(set(one)) > 15

"""Deadly images and `restore status`, from argv to files, with a real process that an image ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from restore_cli.jobs.attempts import ATTEMPTS_NAME
from tests.cli.conftest import Ran, Run, environment, image

# The program, but for one image whose restoring ends the process as the system's memory guard would.
_DEADLY = """
import os, sys
from restore_cli.cli import app
from restore_cli.inference.restorer import Restorer
restore_image = Restorer.restore_image
def deadly(self, image, **settings):
    if image.width == 13:
        os.kill(os.getpid(), 9)
    return restore_image(self, image, **settings)
Restorer.restore_image = deadly
sys.exit(app.run(sys.argv[1:]))
"""
_KILLED = -9


def run_deadly(*arguments: object) -> Ran:
    import subprocess

    command = [sys.executable, "-c", _DEADLY, *map(str, arguments)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120)
    return Ran(code=done.returncode, out=done.stdout, err=done.stderr)


def test_an_image_that_ends_its_process_twice_fails_and_the_others_arrive(run: Run, tiny: Callable[..., Path]):
    for name, width in (("a", 9), ("b", 13), ("c", 9)):
        image(f"in/{name}.png", size=(width, 7))
    command = ("denoise", "--weights", tiny("denoise", scale=1), "in", "out", "--resume", "--jobs", "1")
    assert [run_deadly(*command).code for _ in range(2)] == [_KILLED, _KILLED]
    assert Path("out", ATTEMPTS_NAME).exists()
    ran = run_deadly(*command)
    assert (ran.code, Path("out/c.png").exists()) == (1, True)
    assert "in/b.png: it ended its process twice; say --retry-failed" in ran.err

    counted = json.loads(run("status", "--json", "out").out)
    assert (counted["done"], counted["failed"], counted["begun"]) == (2, 1, 0)
    assert counted["failures"] == [{"target": "b.png", "error": "it ended its process twice"}]

    assert run(*command).code == 1  # a program that could do it does not try unasked
    assert run(*command, "--retry-failed").code == 0
    assert not Path("out", ATTEMPTS_NAME).exists()
    assert run("status", "out").out == "3 done, 0 failed, 0 begun\n"


def test_status_counts_what_failed_and_what_was_begun(run: Run, tiny: Callable[..., Path]):
    image("in/a.png")
    Path("in/broken.png").write_bytes(b"no image")
    command = ("denoise", "--weights", tiny("denoise", scale=1), "in", "out", "--resume")
    assert run(*command).code == 1
    ran = run("status", "out")
    assert ran.out == "1 done, 1 failed, 0 begun\n"
    assert "failed: broken.png" in ran.err
    image("in/broken.png", size=(13, 7))
    assert run_deadly(*command).code == _KILLED
    ran = run("status", "out")
    assert (ran.out, "begun: broken.png" in ran.err) == ("1 done, 0 failed, 1 begun\n", True)
    assert run(*command).code == 0
    assert run("status", "out").out == "2 done, 0 failed, 0 begun\n"


def test_a_folder_without_a_ledger_is_told(run: Run):
    Path("in").mkdir()
    ran = run("status", "in")
    assert (ran.code, "in has no ledger" in ran.err) == (2, True)

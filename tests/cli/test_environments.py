"""The program where it was not expected: no home, no locale, no streams, and files of every name there can be."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from restore_cli.jobs.ledger import LEDGER_NAME
from tests.cli.conftest import command, environment, image
from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("here")]

Tiny = Callable[..., Path]

NAMES = [
    "x" * 251 + ".png",
    "caf\u00e9 \u4f60.png",
    "new\nline \x1b[31m.png",
    "[bold]x[ bold].png",
    "-dash.png",
    "--help.png",
    "\u202egnp.exe.png",
    "*?.png",
    " .png",
    os.fsdecode(b"raw \xff\xfe.png"),
]


@pytest.fixture
def line(tiny: Tiny) -> list[str]:
    for name in NAMES:
        image(f"in/{name}", size=(4, 4))
    return command("denoise", "--weights", tiny("denoise", scale=1), "--threads", "1", "in", "out")


def written() -> set[str]:
    return {path.name for path in Path("out").iterdir()} - {LEDGER_NAME}


def test_bare_surroundings_and_odd_names_hinder_nothing(line: list[str]):
    bare = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "LC_ALL": "C"}
    done = subprocess.run(
        line,
        env={**bare, "XDG_CACHE_HOME": "/proc/nowhere"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert written() == set(NAMES)
    lines = done.stdout.split(b"\n")
    assert len(lines) == len(NAMES) + 1
    assert not any(byte < 32 for text in lines for byte in text)
    assert not any(byte < 32 for text in done.stderr.split(b"\n") for byte in text)


def test_closed_streams_hinder_nothing(line: list[str]):
    done = subprocess.run(["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *line], env=environment(), timeout=120)
    assert done.returncode == 0
    assert written() == set(NAMES)


def test_names_that_look_like_options_are_files_behind_two_dashes(line: list[str]):
    done = subprocess.run(
        [*line[:-2], "--beside", "--", "-dash.png", "--help.png"], env=environment(), cwd="in", capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert Path("in/-dash_denoised.png").exists()
    assert Path("in/--help_denoised.png").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_torch_is_loaded_is_an_exit_code_too(line: list[str], number: int, code: int):
    process = subprocess.Popen(line, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    maps = Path(f"/proc/{process.pid}/maps")
    while "libtorch" not in maps.read_text() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in errors

"""The program where it was not expected: no home, no locale, no streams, and files of every name there can be."""

from __future__ import annotations

import os
import signal
import subprocess
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


STARTED_WITH_A_SIGNAL = """
import os, sys

number, at = int(sys.argv.pop(1)), int(sys.argv.pop(1))
imports = 0

def hook(event, arguments):
    global imports
    if event == "import":
        imports += 1
        if imports == at:
            os.kill(os.getpid(), number)

sys.addaudithook(hook)
from restore_cli.__main__ import main
try:
    main()
finally:
    print("imports:", imports, file=sys.stderr)
"""


def test_a_signal_at_any_import_ends_the_program_with_its_code(line: list[str]):
    def started(number: int, at: int) -> subprocess.CompletedProcess[str]:
        arguments = [str(number), str(at), *line[3:], "--existing", "overwrite"]
        code = [line[0], "-c", STARTED_WITH_A_SIGNAL, *arguments]
        return subprocess.run(code, env=environment(), capture_output=True, text=True, timeout=120)

    whole = started(signal.SIGINT, 0)
    assert whole.returncode == 0, whole.stderr
    # What comes after the work began stops it in good order, and is tried elsewhere.
    imports = int(whole.stderr.rpartition("imports: ")[2]) * 9 // 10
    for number, share in ((signal.SIGINT, 0.1), (signal.SIGTERM, 0.4), (signal.SIGINT, 0.7), (signal.SIGTERM, 1.0)):
        ended = started(number, int(imports * share))
        assert ended.returncode in {-number, 128 + number}, ended.stderr
        assert "Traceback" not in ended.stderr


def test_a_terminal_that_is_lost_ends_a_batch_with_a_summary(tiny: Tiny):
    for index in range(60):
        image(f"many/{index:03}.png", size=(160, 160))
    report = Path("report.jsonl")
    arguments = ("sr", "--weights", tiny(), "--threads", "1", "--report", report, "many", "large")
    with subprocess.Popen(
        command(*arguments), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 129
    assert " not done in " in errors
    assert '"type": "summary"' in report.read_text().splitlines()[-1]


def test_nohup_keeps_a_batch_running_when_the_terminal_is_lost(tiny: Tiny):
    image("a.png")
    image("b.png", size=(160, 160))
    line = ["nohup", *command("sr", "--weights", tiny(), "--beside", "a.png", "b.png")]
    with subprocess.Popen(
        line, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert Path("b_x2.png").exists()

"""--workers from argv to files, with real processes: whoever dies of what, each image arrives once or is named."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from restore_cli.jobs.attempts import ATTEMPTS_NAME
from restore_cli.jobs.ledger import LEDGER_NAME
from tests.cli.conftest import Ran, Run, command, environment, image
from tests.conftest import ROOT

Tiny = Callable[..., Path]

# What Python imports by itself, in workers too: images end their process as the system's memory guard would, those 13
# pixels wide, whenever they meet the network. Ones 17 wide wait there until they are asked to leave.
_CHANGED = """
import importlib.util, os, sys
NAME = "restore_cli.inference.restorer"

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != NAME:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module
        spec.loader.exec_module = lambda module: (run(module), change(module))
        return spec

def change(module):
    restore_image = module.Restorer.restore_image
    def deadly(self, image, **settings):
        if image.width == 13:
            os.kill(os.getpid(), 9)
        if image.width == 17:
            from restore_cli.inference.runner import StopRequestedError
            settings["stop"].wait()
            raise StopRequestedError
        return restore_image(self, image, **settings)
    module.Restorer.restore_image = deadly

sys.meta_path.insert(0, Finder())
"""


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start the program, changed so, at the head of a process group of its own, to which its workers belong."""
    Path("changed").mkdir()
    Path("changed/sitecustomize.py").write_text(_CHANGED)
    path = os.pathsep.join([str(Path("changed").resolve()), str(ROOT)])
    return subprocess.Popen(
        command(*arguments), env=environment(PYTHONPATH=path), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> Ran:
    out, err = process.communicate(timeout=200)
    return Ran(code=process.returncode, out=out, err=err)


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 100
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_over(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def results(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).glob("*.png")}


def written(folder: str) -> list[str]:
    """Return the names that the ledger says were written, as often as it says so."""
    lines = [json.loads(line) for line in Path(folder, LEDGER_NAME).read_text().splitlines()]
    return sorted(line["target"] for line in lines if "output" in line)


def test_two_workers_that_an_image_kills_leave_what_one_process_leaves(run: Run, tiny: Tiny):
    for index in range(24):
        image(f"in/{index:02}.png", size=(18 + index, 7))
    denoise = ("denoise", "--weights", tiny("denoise", scale=1), "--threads", "1")
    assert run(*denoise, "in", "one").code == 0
    image("in/05_deadly.png", size=(13, 7))

    ran = finish(start(*denoise, "in", "two", "--workers", "2", "--json"))

    assert ran.code == 1
    assert "in/05_deadly.png: it ended its process twice; say --retry-failed" in ran.err
    records = [json.loads(line) for line in ran.out.splitlines()]
    assert [record["source"] for record in records if record.get("status") == "failed"] == ["in/05_deadly.png"]
    assert (records[-1]["ok"], records[-1]["failed"], records[-1]["device"]) == (24, 1, "cpu")
    assert results("two") == results("one")
    assert set(written("two")) == set(results("one"))  # a kill ahead of a result's name leaves a line of its own
    counted = json.loads(run("status", "--json", "two").out)
    assert (counted["done"], counted["failed"], counted["begun"]) == (24, 1, 0)

    assert run(*denoise, "in", "two", "--resume", "--retry-failed").code == 0
    assert "05_deadly.png" in written("two")


def processes_of(session: int) -> list[tuple[int, str]]:
    """Return the processes of a session that run, with their command lines; the first of them leads it."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            facts = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(facts[3]) == session and facts[0] != "Z":
                found.append((int(folder.name), (folder / "cmdline").read_text()))
        except OSError:  # it has ended
            continue
    return found


def is_worker(title: str) -> bool:
    return "spawn_main" in title and "resource_tracker" not in title


def killed_at_random(
    command_line: Sequence[object], *, is_worker: Callable[[str], bool], workers: int, drivers: int
) -> Ran:
    """Run the program again and again, killing so many workers and drivers at random moments; return the last run."""
    draw = random.Random(0)
    while True:
        process = subprocess.Popen(
            command(*command_line), env=environment(), text=True, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        while process.poll() is None:
            time.sleep(draw.uniform(0.0, 1.0))
            alive = [pid for pid, title in processes_of(process.pid) if is_worker(title)]
            if drivers and alive and draw.random() < drivers / (workers + drivers):
                drivers -= 1
                process.kill()
            elif workers and alive:
                workers -= 1
                with contextlib.suppress(ProcessLookupError):
                    os.kill(draw.choice(alive), signal.SIGKILL)
        ran = finish(process)
        wait_until(lambda: not processes_of(process.pid))  # noqa: B023 -- it is called here
        if ran.code != -signal.SIGKILL:
            return ran


def assert_whole(folder: str, truth: str) -> None:
    """Compare what killed runs left with what one run left."""
    assert results(folder) == results(truth)
    assert set(written(folder)) == set(results(truth))  # a kill ahead of a result's name leaves a line of its own
    rest = {path.name for path in Path(folder).iterdir()} - set(results(truth))
    assert rest <= {LEDGER_NAME, ATTEMPTS_NAME}


def assert_kills_lose_nothing(
    run: Run, tiny: Tiny, *engine: str, images: int, is_worker: Callable[[str], bool], workers: int, drivers: int
) -> None:
    """Restore images once in peace, and once while workers and drivers are killed: the same is left."""
    for index in range(images):
        image(f"in/{index:03}.png", size=(120 + index, 90))
    denoise = ("denoise", "--weights", tiny("denoise", scale=1), "--threads", "1", "in")
    assert run(*denoise, "one").code == 0
    ran = killed_at_random(
        (*denoise, "two", "--workers", "2", *engine, "--retry-failed"),
        is_worker=is_worker,
        workers=workers,
        drivers=drivers,
    )
    if ran.code:  # an image that met with too many of the kills
        ran = run(*denoise, "two", "--resume", "--retry-failed")
    assert ran.code == 0, ran.err
    assert_whole("two", "one")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize(
    ("images", "workers", "drivers"), [(16, 2, 1), pytest.param(120, 20, 5, marks=pytest.mark.exhaustive)]
)
def test_whoever_is_killed_at_whatever_moment_each_image_arrives_once(
    run: Run, tiny: Tiny, images: int, workers: int, drivers: int
):
    assert_kills_lose_nothing(run, tiny, images=images, is_worker=is_worker, workers=workers, drivers=drivers)


@pytest.mark.exhaustive
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interruption_ends_all_workers_in_good_order(tiny: Tiny, here: Path):
    for index in range(6):
        image(f"in/{index}.png", size=(17, 7))
    process = start("denoise", "--weights", tiny("denoise", scale=1), "in", "out", "--workers", "2")
    wait_until(lambda: Path("out", ATTEMPTS_NAME).exists())
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all of them
    ran = finish(process)
    assert (ran.code, "Traceback" in ran.err) == (130, False)
    assert "0 restored, 6 not done" in ran.err
    wait_until(lambda: is_over(process.pid))
    assert not Path("out", ATTEMPTS_NAME).exists()  # no image is suspected


@pytest.mark.exhaustive
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_workers_do_not_outlive_a_run_that_was_killed(tiny: Tiny, here: Path):
    for index in range(6):
        image(f"in/{index}.png", size=(17, 7))
    process = start("denoise", "--weights", tiny("denoise", scale=1), "in", "out", "--workers", "2")
    wait_until(lambda: Path("out", ATTEMPTS_NAME).exists())
    process.kill()
    finish(process)
    wait_until(lambda: is_over(process.pid))
    assert not Path("out", ATTEMPTS_NAME).exists()


@pytest.mark.exhaustive
def test_two_workers_leave_the_bytes_of_one_process_and_one_ledger_line_each(run: Run):
    for index in range(24):
        image(f"in/{index}.png", size=(18 + index, 7))
    chain = ("run", "denoise:25,sr:2", "--device", "cpu", "--threads", "1")
    assert run(*chain, "in", "one").code == 0
    assert finish(start(*chain, "in", "two", "--workers", "2")).code == 0
    assert results("two") == results("one")
    assert written("two") == written("one") == sorted(results("one"))
    assert "24 skipped" in run(*chain, "in", "two", "--resume").err


def test_what_does_not_go_with_workers_is_refused(run: Run, tiny: Tiny):
    image("a.png")
    denoise = ("denoise", "--weights", tiny("denoise", scale=1), "a.png", "--workers", "2")
    ran = run(*denoise, "-o", "b.png", "--compare", "page.html")
    assert (ran.code, "--workers and --compare contradict each other" in ran.err) == (2, True)
    assert run(*denoise, "-o", "-").code == 2
    for number, fault in (("1-4", "add --engine ray"), ("0", "no number of workers"), ("4-1", "no number of workers")):
        ran = run(*denoise[:-1], number)
        assert (ran.code, fault in ran.err) == (2, True)

"""--engine ray from argv to files, with a real Ray on this machine: equal bytes, whoever dies, and nobody stays."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from restore_cli.jobs.attempts import ATTEMPTS_NAME
from tests.cli.conftest import Run, command, environment, image
from tests.cli.test_workers import (
    assert_kills_lose_nothing,
    finish,
    processes_of,
    results,
    wait_until,
    written,
)

Tiny = Callable[..., Path]

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments), env=environment(), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def is_actor(title: str) -> bool:
    return title.startswith("ray::Actor")


def is_over(session: int) -> bool:
    """Return whether all processes of a session have ended; Ray gives its own groups, but no sessions."""
    return not processes_of(session)


def lines(folder: str) -> int:
    return len(written(folder)) if Path(folder).exists() else 0


@pytest.fixture
def weights(tiny: Tiny, here: Path) -> tuple[object, ...]:
    pytest.importorskip("ray")
    for index in range(24):
        image(f"in/{index:02}.png", size=(160 + index, 120))
    return "denoise", "--weights", tiny("denoise", scale=1), "--threads", "1"


@pytest.mark.exhaustive
@needs_proc
def test_two_actors_one_of_which_is_killed_leave_what_one_process_leaves(run: Run, weights: tuple[object, ...]):
    assert run(*weights, "in", "one").code == 0
    process = start(*weights, "in", "two", "--workers", "2", "--engine", "ray", "--json")
    wait_until(lambda: lines("two") >= 4 or process.poll() is not None)
    actors = [pid for pid, title in processes_of(process.pid) if is_actor(title)]
    if actors:  # else it was faster
        os.kill(actors[0], signal.SIGKILL)
    ran = finish(process)
    assert ran.code == 0, ran.err
    records = [json.loads(line) for line in ran.out.splitlines()]  # and not a word of Ray's own
    assert (records[-1]["type"], records[-1]["ok"]) == ("summary", 24)
    assert results("two") == results("one")
    assert set(written("two")) == set(results("one"))  # a kill ahead of a result's name leaves a line of its own
    wait_until(lambda: is_over(process.pid))


@pytest.mark.exhaustive
@needs_proc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_actor_outlives_a_run_that_is_ended(weights: tuple[object, ...], number: signal.Signals):
    process = start(*weights, "in", "out", "--workers", "2", "--engine", "ray")
    wait_until(lambda: lines("out") >= 1 or process.poll() is not None)
    os.killpg(process.pid, number)
    ran = finish(process)
    assert (ran.code in {130, -9, 0}, "Traceback" in ran.err) == (True, False)
    wait_until(lambda: is_over(process.pid))
    if number == signal.SIGINT:
        assert not Path("out", ATTEMPTS_NAME).exists()  # no image is suspected


@pytest.mark.exhaustive
def test_sixty_images_are_the_same_by_one_process_four_parts_and_two_actors(run: Run, tiny: Tiny):
    pytest.importorskip("ray")
    for index in range(60):
        image(f"in/{index:02}.png", size=(24 + index, 20))
    denoise = ("denoise", "--weights", tiny("denoise", scale=1), "--threads", "1", "in")
    assert run(*denoise, "one").code == 0
    for index in range(4):
        assert run(*denoise, "four", "--resume", "--shard", f"{index}/4").code == 0
    ran = finish(start(*denoise, "two", "--workers", "1-2", "--engine", "ray"))
    assert ran.code == 0, ran.err
    assert results("four") == results("two") == results("one")
    assert written("four") == written("two") == written("one") == sorted(results("one"))


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
@needs_proc
@pytest.mark.parametrize(("images", "actors", "drivers"), [(40, 3, 1), (120, 20, 5)])
def test_whichever_actor_or_driver_is_killed_each_image_arrives_once(
    run: Run, tiny: Tiny, images: int, actors: int, drivers: int
):
    pytest.importorskip("ray")
    assert_kills_lose_nothing(
        run, tiny, "--engine", "ray", images=images, is_worker=is_actor, workers=actors, drivers=drivers
    )


def test_what_does_not_go_with_ray_is_refused(run: Run, tiny: Tiny):
    image("a.png")
    denoise = ("denoise", "--weights", tiny("denoise", scale=1), "a.png", "-o", "b.png")
    ran = run(*denoise, "--engine", "ray")
    assert (ran.code, "add --workers N" in ran.err) == (2, True)
    ran = run(*denoise, "--address", "auto", "--workers", "2")
    assert (ran.code, "add --engine ray" in ran.err) == (2, True)


def test_without_ray_it_is_told_what_to_install(run: Run, tiny: Tiny, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # to import it is an error from now on
    image("a.png")
    ran = run("denoise", "--weights", tiny("denoise", scale=1), "a.png", "--workers", "1", "--engine", "ray")
    assert (ran.code, "pip install 'restore-cli[ray]'" in ran.err) == (2, True)


@pytest.mark.exhaustive
def test_a_cluster_that_is_not_there_is_told_at_once(run: Run, tiny: Tiny):
    pytest.importorskip("ray")
    image("a.png")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        options = ("--workers", "1", "--engine", "ray", "--address", address)
        process = start("denoise", "--weights", tiny("denoise", scale=1), "a.png", *options)
        ran = finish(process)
    assert (ran.code, f"no Ray cluster answers at {address}: " in ran.err) == (4, True)

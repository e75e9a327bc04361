"""A watch restores what arrives, once, and goes on after a restart; faults cost one image, not the watch."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Run, command, environment, image


def watch(run: Run, weights: Path, *options: object):
    return run("watch", "--once", "--settle", "0", "in", "out", "sr", "--weights", weights, "--device", "cpu", *options)


def test_what_is_there_is_restored_and_after_a_restart_only_what_is_new(run: Run, tiny: Callable[..., Path]):
    image("in/a.png")
    assert watch(run, tiny()).code == 0
    first = Path("out/a.png").stat()
    image("in/b.png")

    again = watch(run, tiny())

    assert again.code == 0
    assert Path("out/a.png").stat().st_mtime_ns == first.st_mtime_ns
    assert "out/b.png" in again.out
    assert "out/a.png" not in again.out


def test_a_chain_may_be_watched_with(run: Run):
    image("in/a.png", size=(16, 12))

    ran = run("watch", "--once", "--settle", "0", "in", "out", "run", "denoise,sr:2", "--device", "cpu")

    assert ran.code == 0, ran.err
    with Image.open("out/a.png") as result:
        assert result.size == (32, 24)


def test_a_bad_image_and_a_namesake_cost_only_themselves(run: Run, tiny: Callable[..., Path]):
    image("in/a.png")
    image("in/a.bmp")
    image("in/c.png")
    Path("in/b.png").write_bytes(b"no image")

    ran = watch(run, tiny())

    assert ran.code == 1
    assert "in/b.png" in ran.err
    assert "its result would replace that of" in ran.err
    assert {path.name for path in Path("out").glob("*.png")} == {"a.png", "c.png"}


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("nowhere", "out", "sr"), "nowhere is no folder"),
        (("in", "in", "sr"), "images cannot arrive where results go"),
        (("in", "out", "bench"), "'bench' restores nothing"),
        (("in", "out", "sr", "--in-place"), "--in-place is settled by the watch itself"),
        (("in", "out", "sr", "--scale", "9"), "Invalid value for '--scale': it must be at most 4"),
        (("in", "out", "sr", "--scal", "2"), "No such option: --scal"),
        (("in", "out", "sr", "--scale", "2", "b.png"), "b.png would be restored again and again"),
        (("in", "out", "run", "denoise,paint"), "unknown step 'paint'"),
        (("in", "out", "run"), "run is told no steps; write run denoise,sr:2"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_arrives(run: Run, words: tuple[str, ...], fault: str):
    Path("in").mkdir()

    ran = run("watch", "--once", "--settle", "0", *words)

    assert ran.code == 2
    assert fault in ran.err


@pytest.mark.slow
def test_images_that_arrive_while_it_runs_are_restored_until_a_signal_ends_it(here: Path, tiny: Callable[..., Path]):
    Path("in").mkdir()
    arguments = ("watch", "--settle", "0.2", "in", "out", "sr", "--weights", tiny(), "--device", "cpu")
    process = subprocess.Popen(command(*arguments), env=environment(), stdout=subprocess.PIPE, text=True)
    try:
        for name in ("a.png", "b.png"):
            image(f"in/{name}")
            for _ in range(1200):
                if Path("out", name).exists():
                    break
                time.sleep(0.05)
            assert Path("out", name).exists()
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
    finally:
        process.kill()
        process.communicate()

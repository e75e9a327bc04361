"""What other tools of this kind got wrong, read in their code or in what people asked of them.

Others have their test where the part is: the previous tile pasted after a fault, uniform overlaps, results
flattened into one folder, a web page saved as weights.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from PIL import Image

from restore_cli.cli.options import ByteSize, FileOptions, RunOptions
from restore_cli.imaging.background import color_named
from tests.cli.conftest import Run, environment, image

Tiny = Callable[..., Path]
OTHER_VALUES: dict[str, Any] = {
    "device": "mps", "dtype": "float16", "tile": "128", "overlap": 8, "context": "local",
    "max_memory": ByteSize(size=9),
    "pad": "symmetric", "tta": True, "compile": True, "threads": 3, "format": "png", "quality": 5, "lossless": True,
    "strip": True, "width": 3, "height": 3, "long_side": 3, "max_pixels": 7, "strict": True, "allow_damaged": True,
    "all_pages": True,
    "existing": "skip", "resume": True, "output": "x", "beside": True, "in_place": True, "recursive": True,
    "include": ["a"], "exclude": ["a"], "suffix": "_x", "keep_times": True, "shard": "0/2", "allow_private": True,
}  # fmt: skip


def test_every_option_is_passed_on() -> None:
    for options in (RunOptions(), FileOptions()):
        for option in fields(options):
            if option.name in {
                "jobs",
                "workers",
                "engine",
                "address",
                "dry_run",
                "fail_fast",
                "retry_failed",
                "report",
                "background",
                "compare",
            }:
                continue  # taken as they are, each with a test of its own
            assert passed_on(replace(options, **{option.name: OTHER_VALUES[option.name]})) != passed_on(options), option


def passed_on(options: RunOptions | FileOptions) -> list[object]:
    if isinstance(options, RunOptions):
        return [options.settings()]
    return [options.read_settings(), options.write_settings(), options.path_settings(["a"])]


def test_no_scale_is_guessed_from_the_name_of_a_file(run: Run, tiny: Tiny) -> None:
    shutil.copy(tiny("sr", scale=2), "realistic_x4.safetensors")
    image("photo_x3.png", size=(9, 7))
    assert run("sr", "--weights", "realistic_x4.safetensors", "photo_x3.png", "out.png").code == 0
    with Image.open("out.png") as pixels:
        assert pixels.size == (18, 14)


def test_each_result_carries_what_its_own_file_said(run: Run, tiny: Tiny) -> None:
    Path("in").mkdir()
    makers = {"a.jpg": "Maker A", "b.jpg": None, "error.jpg": "Maker C"}
    for name, maker in makers.items():
        exif = Image.Exif()
        if maker is not None:
            exif[271] = maker
        Image.new("RGB", (9, 7)).save(f"in/{name}", exif=exif)
    assert run("denoise", "--weights", tiny("denoise", scale=1), "in", "out").code == 0
    for name, maker in makers.items():
        with Image.open(f"out/{name}") as image:
            assert image.getexif().get(271) == maker


def test_skipped_images_are_counted_as_the_others_are(run: Run, tiny: Tiny) -> None:
    for name in ("a", "b", "c"):
        image(f"in/{name}.png")
    image("out/b.png")
    ran = run("denoise", "--weights", tiny("denoise", scale=1), "--existing", "skip", "-v", "in", "out")
    assert [line.partition("]")[0] for line in ran.err.splitlines() if line.startswith("[")] == ["[1/3", "[2/3", "[3/3"]


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_program_at_once(second: signal.Signals) -> None:
    script = f"""
        import os, signal, time
        from restore_cli.cli.signals import stop_on_signals
        with stop_on_signals() as asked:
            os.kill(os.getpid(), signal.SIGINT)
            print(asked.stop.is_set(), asked.exit_code, flush=True)
            os.kill(os.getpid(), {int(second)})
            time.sleep(60)
    """
    done = subprocess.run(
        [sys.executable, "-c", dedent(script)], env=environment(), capture_output=True, text=True, timeout=50
    )
    assert (done.returncode, done.stdout) == (-second, "True 130\n")


def test_the_background_is_passed_on() -> None:
    from restore_cli.cli.options import Background

    black = FileOptions(background=Background.parse("black"))
    assert black.write_settings().background == color_named("black")

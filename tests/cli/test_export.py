"""`restore export` writes a file that `--weights` takes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.cli.conftest import Run


def test_an_int8_file_is_written_and_restores_an_image(run: Run, here: Path):
    ran = run("export", "ramit-lite-sr-x2", "--to", "safetensors", "--dtype", "int8", "--check", "--json")
    assert ran.code == 0
    told = json.loads(ran.out)
    assert told["path"] == "ramit-lite-sr-x2-int8.safetensors"
    assert told["entry"]["bytes"] == Path(told["path"]).stat().st_size
    assert len(told["checks"]) == 3
    assert "restore sr --weights ramit-lite-sr-x2-int8.safetensors IMAGE" in ran.err
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save("flat.png")
    assert run("sr", "--scale", "2", "--weights", told["path"], "flat.png").code == 0
    with Image.open("flat_x2.png") as image:
        assert image.size == (60, 40)


def test_a_program_is_written_with_a_line_for_each_thing_that_takes_long(run: Run, here: Path):
    ran = run("export", "unet-lowlight", "--to", "pt2")
    assert ran.code == 0
    assert ran.out.strip() == "unet-lowlight.pt2"
    lines = ran.err.splitlines()
    assert lines[:3] == ["tracing unet-lowlight", "translating unet-lowlight to pt2", "checking unet-lowlight"]


def test_a_file_in_the_way_is_left_alone_with_exit_code_2(run: Run, here: Path):
    path = here / "ramit-lite-sr-x2.safetensors"
    path.write_bytes(b"mine")
    ran = run("export", "ramit-lite-sr-x2", "--to", "safetensors")
    assert ran.code == 2
    assert "exists already" in ran.err
    assert path.read_bytes() == b"mine"

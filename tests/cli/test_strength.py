"""`--strength` blends result and input before anything is rounded: in files, chains, ledgers, library and server."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restore_cli import load_restorer, restore
from restore_cli.errors import UsageError
from restore_cli.server.openapi import openapi_document
from restore_cli.server.page import page_markup
from restore_cli.server.request import PARAMETERS, parse_request
from restore_cli.server.worker import RecentNetworks
from restore_cli.settings import ReadSettings, RunSettings
from tests.cli.conftest import Run, image

Tiny = Callable[..., Path]
TASKS = ("denoise", "dejpeg", "derain", "lowlight", "deblur")


def pixels(path: str | Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(np.int64)


@pytest.mark.parametrize("task", TASKS)
def test_strength_one_is_the_result_and_zero_the_input(run: Run, tiny: Tiny, task: str):
    image("a.png", size=(20, 16))
    weights = tiny(task, scale=1)
    options = ("--weights", weights, "--device", "cpu")

    for name, strength in (("plain", ()), ("one", ("--strength", "1")), ("none", ("--strength", "0"))):
        assert run(task, "a.png", "-o", f"{name}.png", *options, *strength).code == 0

    assert Path("one.png").read_bytes() == Path("plain.png").read_bytes()
    assert (pixels("none.png") == pixels("a.png")).all()
    assert (pixels("plain.png") != pixels("a.png")).any()


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "I;16"])
def test_strength_zero_leaves_every_kind_of_image_as_it_is(run: Run, tiny: Tiny, mode: str):
    if mode == "I;16":
        deep = np.random.default_rng(1).integers(0, 65536, (9, 7), dtype=np.uint16)
        Image.fromarray(deep).save("a.png")
    else:
        image("a.png", mode=mode)
        Image.open("a.png").convert(mode).save("a.png")
    ran = run("derain", "--weights", tiny("derain", scale=1), "--strength", "0", "a.png", "-o", "b.png")
    assert ran.code == 0
    seen = pixels("a.png")[..., -1] > 0 if mode in {"LA", "RGBA"} else ...  # nobody sees the colour of what is clear
    assert (pixels("b.png")[seen] == pixels("a.png")[seen]).all()


def test_a_blend_is_made_of_floats_and_rounded_once(run: Run, tiny: Tiny):
    image("a.png", size=(20, 16))
    weights = tiny("derain", scale=1)
    assert run("derain", "--weights", weights, "--device", "cpu", "--strength", "0.3", "a.png", "-o", "b.png").code == 0

    came = pixels("a.png") / 255.0
    restored = load_restorer(weights, device="cpu").restore_pixels(came.astype(np.float32))
    blended = came + 0.3 * (restored - came)
    # One level where a blend lies on the border of two; twice rounded it would be more than a few.
    differing = pixels("b.png") != np.rint(blended * 255.0)
    assert np.abs(pixels("b.png") - blended * 255.0).max() < 0.51
    assert differing.mean() < 0.01


def test_another_strength_is_another_result_of_a_batch(run: Run, tiny: Tiny):
    image("in/a.png")
    batch = ("derain", "--weights", tiny("derain", scale=1), "in", "out", "--resume", "--device", "cpu")
    assert run(*batch).out == "out/a.png\n"
    assert run(*batch, "--strength", "1").out == ""
    assert run(*batch, "--strength", "0.5").out == "out/a.png\n"
    assert run(*batch, "--strength", "0.5").out == ""


@pytest.mark.parametrize("strength", ["-0.1", "1.1", "nan", "half"])
def test_a_strength_that_does_not_exist_is_refused(run: Run, strength: str):
    image("a.png")
    ran = run("derain", "--strength", strength, "a.png")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert not Path("a_derained.png").exists()


def test_what_enlarges_takes_no_strength(run: Run):
    image("a.png")
    assert "--strength" in run("sr", "--strength", "0.5", "a.png").err
    with pytest.raises(UsageError, match="enlarges"):
        load_restorer("ramit-lite-sr-x2", device="cpu", strength=0.5)
    assert run("run", "denoise,sr:2:strength=0.5", "a.png").code == 2


def test_the_steps_of_a_chain_have_their_own(run: Run):
    image("a.png", size=(20, 16))
    assert run("run", "denoise:9:strength=0,derain:strength=0", "a.png", "-o", "b.png", "--device", "cpu").code == 0
    assert (pixels("b.png") == pixels("a.png")).all()
    assert run("run", "denoise:9:strength=0,derain", "a.png", "-o", "c.png", "--device", "cpu").code == 0
    assert run("derain", "a.png", "-o", "d.png", "--device", "cpu").code == 0
    assert (pixels("c.png") == pixels("d.png")).all()


def test_the_library_takes_it_and_the_level_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    noisy = pixels(image("a.png", size=(20, 16))).astype(np.uint8)
    assert (restore(noisy, task="denoise", strength=0.0, device="cpu") == noisy).all()
    levels = [restore(noisy, task="denoise", sigma=sigma, device="cpu") for sigma in (5.0, 50.0)]
    assert (levels[0] != levels[1]).any()


class TestTheServer:
    def test_offers_it_where_images_keep_their_size(self):
        assert parse_request({"task": "derain", "strength": "0.25"}).strength == 0.25
        assert parse_request({"task": "sr"}).strength == 1.0
        with pytest.raises(UsageError, match="strength '2' is not within 0 and 1"):
            parse_request({"task": "derain", "strength": "2"})
        names = [one["name"] for one in openapi_document()["paths"]["/v1/restore"]["post"]["parameters"]]
        assert tuple(names) == PARAMETERS

    def test_restores_as_much_as_was_asked_for(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
        monkeypatch.chdir(tmp_path)
        data = image("a.png", size=(20, 16)).read_bytes()
        networks = RecentNetworks(ReadSettings(), RunSettings(device="cpu"))
        request = parse_request({"task": "derain", "strength": "0"})
        finished = networks.restore(request, data, threading.Event(), lambda _share: None)
        assert (np.asarray(Image.open(io.BytesIO(finished.data))) == pixels("a.png")).all()

    def test_names_the_slider_of_its_page(self):
        slider = page_markup().partition('<label id="strength-label"')[2].partition("</label>")[0]
        assert "Strength" in slider
        assert 'type="range"' in slider
        assert 'aria-describedby="strength-text"' in slider

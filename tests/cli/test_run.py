"""A chain gives what its networks give one after the other, not rounded between them, and the ledger knows them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from restore_cli import load_restorer
from restore_cli.imaging.decode import decode
from tests.cli.conftest import Run, image

CHAIN = "denoise:25,sr:2"


def test_an_image_goes_through_all_steps_in_float(run: Run):
    image("a.png", size=(20, 16))

    ran = run("run", CHAIN, "a.png", "--device", "cpu", "--tile", "off")

    assert (ran.code, ran.out) == (0, "a_denoised_x2.png\n")
    once = load_restorer("unet-denoise-color", device="cpu").restore_image(decode(Path("a.png")), sigma=25)
    twice = load_restorer("ramit-lite-sr-x2", device="cpu").restore_image(once)
    written = np.asarray(Image.open("a_denoised_x2.png")).astype(int)
    assert written.shape == (32, 40, 3)
    # One level: where a result lies on the border of two, machines may differ.
    assert np.abs(written - np.rint(twice.pixels * 255)).max() <= 1


def test_the_ledger_tells_the_steps_and_proves_the_whole_chain(run: Run):
    image("in/a.png")
    assert run("run", CHAIN, "in", "out", "--device", "cpu").code == 0
    (line,) = Path("out/.restore-ledger.jsonl").read_text().splitlines()
    steps = json.loads(line)["steps"]
    assert [step.split(" sha256:")[0] for step in steps] == [
        "denoise:25: unet-denoise-color",
        "sr:2: ramit-lite-sr-x2",
    ]

    assert "done already" in run("run", CHAIN, "in", "out", "--resume", "--device", "cpu").err
    other = run("run", "denoise:30,sr:2", "in", "out", "--resume", "--device", "cpu")
    assert (other.code, other.out) == (0, "out/a.png\n")


def test_a_chain_is_shown_before_and_after_and_without_doing_it(run: Run):
    image("a.png")

    assert "nothing was touched" in run("run", CHAIN, "a.png", "-n").err
    assert not Path("a_denoised_x2.png").exists()
    assert run("run", CHAIN, "a.png", "--compare", "page.html", "--device", "cpu").code == 0
    assert "9x7 to 18x14" in Path("page.html").read_text(encoding="utf-8")


def test_a_wrong_step_is_refused_before_anything_is_loaded(run: Run):
    image("a.png")

    ran = run("run", "denoise,paint", "a.png")

    assert (ran.code, "unknown step 'paint'" in ran.err) == (2, True)


def test_a_chain_estimates_the_noise_where_it_is_asked_to(run: Run):
    clean = np.linspace(60, 190, 64 * 64).reshape(64, 64, 1).repeat(3, axis=2)
    noisy = clean + np.random.default_rng(0).normal(0, 20, clean.shape)
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save("a.png")

    assert run("run", "denoise:auto,sr:2", "a.png", "--device", "cpu").code == 0
    assert run("denoise", "--sigma", "auto", "a.png", "--device", "cpu").code == 0
    assert run("sr", "--scale", "2", "a_denoised.png", "-o", "b.png", "--device", "cpu").code == 0

    chained, stepwise = (np.asarray(Image.open(name)).astype(int) for name in ("a_denoised_x2.png", "b.png"))
    assert np.abs(chained - stepwise).max() <= 2, "rounded once, not twice"

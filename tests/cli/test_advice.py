"""A person is told where noise stayed, lightening burnt the lights out, or a JPEG had better go through --photo."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restore_cli import Restorer, restore
from restore_cli.imaging.decode import decode, decode_bytes
from restore_cli.imaging.decoded_image import DecodedImage
from restore_cli.jobs.choose import Choice, WeightsRequest
from restore_cli.jobs.stages import advice_on, clipping_warning
from restore_cli.metrics.noise_level import NoiseEstimate
from restore_cli.settings import RunSettings
from restore_cli.weights.manifest import WeightsEntry, load_manifest
from tests.cli.conftest import Run
from tests.conftest import ROOT

SAMPLES = ROOT / "tests" / "samples"
CLEAN, NOISY = (decode(SAMPLES / f"still_life{name}.png") for name in ("", "_noisy"))


def entry(weights_id: str) -> WeightsEntry:
    return load_manifest().get(weights_id)


def texts(
    after: DecodedImage, *, before: DecodedImage = NOISY, weights: str = "unet-denoise-color", **run: float
) -> str:
    request = WeightsRequest(task="denoise")
    choice = Choice(entry=entry(weights))
    return "; ".join(a.text for a in advice_on(before, after, choice, request, RunSettings(**run)))  # type: ignore[arg-type]


class TestNoiseThatStayed:
    def test_is_told_with_a_level_to_try(self):
        assert "hardly differs" in texts(NOISY)
        assert "try --sigma 25" in texts(NOISY) or "try --sigma 24" in texts(NOISY)

    def test_is_told_with_a_higher_level_where_one_was_given(self):
        assert "try --sigma 36" in texts(NOISY, sigma=24.0)

    def test_is_told_with_other_weights_where_no_level_helps(self):
        assert "try other weights" in texts(NOISY, weights="ramit-lite-denoise-color")
        assert "try other weights" in texts(NOISY, sigma=50.0)

    def test_is_no_matter_where_it_went_or_never_was(self):
        assert texts(CLEAN) == ""
        assert texts(CLEAN, before=CLEAN) == ""
        assert texts(NOISY, strength=0.0) == ""

    def test_is_measured_by_what_was_asked_for(self):
        quarter = DecodedImage(pixels=NOISY.pixels + 0.25 * (CLEAN.pixels - NOISY.pixels))
        assert texts(quarter, strength=0.25) == ""
        assert "hardly differs" in texts(quarter)


class TestCompression:
    @staticmethod
    def advice(quality: int, weights: str = "ramit-lite-sr-x4", **request: str) -> str:
        file = io.BytesIO()
        Image.open(SAMPLES / "still_life.png").save(file, "JPEG", quality=quality)
        before = decode_bytes(file.getvalue(), "a.jpg")
        wanted = WeightsRequest(task="sr", **request)  # type: ignore[arg-type]
        found = advice_on(before, before, Choice(entry=entry(weights)), wanted, RunSettings())
        return "; ".join(advice.text for advice in found)

    @pytest.mark.parametrize("quality", [20, 60, 84])
    def test_below_quality_85_is_told_with_its_quality(self, quality: int):
        assert self.advice(quality).startswith(f"it is a JPEG of quality {quality} or so: --photo")

    def test_of_quality_85_and_above_is_none(self):
        assert self.advice(85) == self.advice(95) == ""

    def test_is_not_told_where_photo_was_asked_for_or_serves_nobody(self):
        assert self.advice(60, "unet-sr-x4-photo") == ""
        assert self.advice(60, "ramit-sr-x4", model="ramit") == ""
        served = {e.scale for e in load_manifest().entries if (e.task, e.variant, e.bundled) == ("sr", "photo", True)}
        for scale in (2, 3, 4):
            assert ("--photo" in self.advice(60, f"ramit-lite-sr-x{scale}")) == (scale in served)


class TestClipping:
    def test_of_more_than_a_twentieth_is_told(self):
        after = CLEAN.pixels.copy()
        after[: CLEAN.height // 10] = 1.0
        told = clipping_warning(CLEAN, DecodedImage(pixels=after), "lowlight")
        assert told is not None
        assert told.startswith(("9% of its samples", "10% of its samples"))
        assert "--strength" in told
        assert clipping_warning(CLEAN, DecodedImage(pixels=after), "derain") is None

    def test_that_was_there_before_is_not(self):
        white = DecodedImage(pixels=np.ones((9, 9, 3), dtype=np.float32))
        assert clipping_warning(white, white, "lowlight") is None
        after = CLEAN.pixels.copy()
        after[: CLEAN.height // 30] = 0.0
        assert clipping_warning(CLEAN, DecodedImage(pixels=after), "lowlight") is None


def test_a_batch_tells_it_once_and_each_line_of_json_has_it(run: Run):
    for name in ("a.jpg", "b.jpg"):
        Image.open(SAMPLES / "still_life.png").crop((0, 0, 24, 20)).save(name, quality=60)
    told = run("sr", "--scale", "4", "a.jpg", "b.jpg", "out/", "--device", "cpu").err
    assert told.count("--photo") == 1
    assert "a.jpg: it is a JPEG of quality 60 or so: --photo" in told
    lines = [
        json.loads(line) for line in run("sr", "a.jpg", "b.jpg", "more/", "--json", "--device", "cpu").out.splitlines()
    ]
    assert [len(line["warnings"]) for line in lines if line["type"] == "image"] == [1, 1]
    assert "--photo" not in run("sr", "--photo", "a.jpg", "-o", "c.jpg", "--device", "cpu").err
    # It is no fault of the image: what refuses warnings takes it.
    assert run("sr", "--strict", "a.jpg", "-o", "d.png", "--device", "cpu").code == 0


def test_the_estimate_is_told_in_luma_and_chroma(run: Run):
    ran = run("denoise", "--sigma", "auto", "-n", SAMPLES / "still_life_noisy.png", "out/")
    told = re.search(r"noise of about sigma ([\d.]+) \(luma ([\d.]+), chroma ([\d.]+)\)", ran.err)
    assert told is not None, ran.err
    sigma, luma, chroma = map(float, told.groups())
    assert sigma == pytest.approx(25, abs=2.5)
    assert luma == pytest.approx(0.67 * chroma, rel=0.1)


def test_a_level_that_is_little_more_than_texture_is_left_to_the_network(run: Run):
    Image.open(SAMPLES / "still_life.png").crop((0, 0, 64, 48)).save("a.png")

    told = run("denoise", "--sigma", "auto", "a.png", "-o", "auto.png", "--device", "cpu").err
    assert "too little to be sure: left to the network" in told
    assert run("denoise", "a.png", "-o", "plain.png", "--device", "cpu").code == 0
    assert Path("auto.png").read_bytes() == Path("plain.png").read_bytes()


def test_a_level_beyond_what_networks_know_is_the_highest_they_do():
    noise = NoiseEstimate(sigma=63.0, luma=45.0, chroma=60.0)
    assert Choice(entry=entry("unet-denoise-color"), noise=noise).level == 50.0


def test_the_library_warns_of_clipping_too(monkeypatch: pytest.MonkeyPatch):
    bright = np.full((32, 32, 3), 0.6, dtype=np.float32)
    monkeypatch.setattr(
        Restorer, "restore_image", lambda _self, one, **_: replace(one, pixels=np.ones_like(one.pixels))
    )
    with pytest.warns(UserWarning, match="100% of its samples become black or white"):
        restore(bright, task="lowlight", device="cpu")

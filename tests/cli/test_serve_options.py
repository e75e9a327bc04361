"""What is asked for over HTTP gives the bytes that the command line writes for the same options."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restore_cli.errors import ImageError, UsageError
from restore_cli.server.app import answer_of_error
from restore_cli.server.request import in_parameters, list_tasks, parse_request
from restore_cli.server.worker import RecentNetworks, RestoredFile
from restore_cli.settings import ReadSettings, RunSettings, SizeSettings
from tests.cli.conftest import Run


def noisy(path: Path, *, mode: str = "RGB", sigma: float = 25.0) -> bytes:
    shape = (48, 40) if mode == "L" else (48, 40, len(mode))
    flat = np.full(shape, 120.0) + np.random.default_rng(3).normal(0.0, sigma, shape)
    Image.fromarray(np.rint(flat).clip(0, 255).astype(np.uint8), mode).save(path)
    return path.read_bytes()


def restored(data: bytes, **values: str) -> RestoredFile:
    networks = RecentNetworks(ReadSettings(), RunSettings(device="cpu"))
    return networks.restore(parse_request(values), data, threading.Event(), lambda _share: None)


@pytest.mark.parametrize(
    ("mode", "values", "options"),
    [
        ("RGB", {"sigma": "auto"}, ("--sigma", "auto")),
        ("L", {"sigma": "auto"}, ("--sigma", "auto")),
        ("L", {"gray": "no"}, ("--color",)),
        ("RGB", {"tta": "on"}, ("--tta",)),
        ("RGB", {"format": "webp", "lossless": "1"}, ("--format", "webp", "--lossless")),
        ("RGBA", {"format": "jpeg", "background": "#336699"}, ("--format", "jpeg", "--background", "#336699")),
        ("RGB", {"long-side": "30", "strip": "true"}, ("--long-side", "30", "--strip")),
    ],
)
def test_the_bytes_are_those_of_the_command_line(
    run: Run, here: Path, mode: str, values: dict[str, str], options: tuple[str, ...]
):
    data = noisy(here / "a.png", mode=mode)
    ran = run("denoise", "a.png", "-o", "out/", "--device", "cpu", *options)
    assert ran.code == 0, ran.err

    assert restored(data, task="denoise", **values).data == Path(ran.out.strip()).read_bytes()


@pytest.mark.parametrize("steps", ["denoise:auto,sr:2", "denoise:25:strength=0.5", "deblur,sr:2:photo"])
def test_a_chain_gives_the_bytes_of_the_command_line(run: Run, here: Path, steps: str):
    data = noisy(here / "a.png")
    ran = run("run", steps, "a.png", "-o", "out/", "--device", "cpu")
    assert ran.code == 0, ran.err

    assert restored(data, steps=steps).data == Path(ran.out.strip()).read_bytes()


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"steps": "denoise", "task": "sr"}, "steps and task contradict each other"),
        ({"steps": "denoise", "strength": "0.5"}, "steps and strength contradict each other"),
        ({"steps": "sr:9"}, "enlarges by no factor there is"),
        ({"steps": "sr:2@ramit-sr-x2"}, "the server fetches nothing"),
    ],
)
def test_what_no_chain_can_be_is_refused(here: Path, values: dict[str, str], fault: str):
    with pytest.raises(UsageError, match=fault):
        restored(noisy(here / "a.png"), **values)


def test_all_pages_come_back_and_strict_refuses_what_one_would_lose(here: Path):
    pages = [Image.new("RGB", (24, 20), (level, 90, 200)) for level in (10, 150)]
    pages[0].save("two.tif", save_all=True, append_images=pages[1:])
    data = Path("two.tif").read_bytes()

    with Image.open(io.BytesIO(restored(data, task="denoise", all_pages="yes").data)) as both:
        assert getattr(both, "n_frames", 1) == 2
    with pytest.raises(ImageError, match="it holds 2 images: only the first is used"):
        restored(data, task="denoise", strict="yes")


def test_an_estimated_noise_is_told(here: Path):
    found = restored(noisy(here / "a.png"), task="denoise", sigma="auto").noise

    assert found == pytest.approx(25.0, abs=8.0)
    assert restored(noisy(here / "a.png"), task="denoise").noise is None


def test_weights_say_themselves_how_much_they_enlarge(here: Path):
    data = noisy(here / "a.png")

    assert restored(data, task="sr", weights="ramit-lite-sr-x2").size == (96, 80)
    assert restored(data, task="sr", scale="2", photo="true").weights.endswith("photo")


def test_every_setting_arrives():
    request = parse_request({"task": "deblur", "kind": "defocus", "width": "9", "allow_damaged": "yes", "quality": "7"})

    assert request.weights.variant == "defocus"
    assert request.allow_damaged
    assert (request.write.size, request.write.quality) == (SizeSettings(width=9), 7)


def test_advice_names_parameters_in_place_of_options():
    assert in_parameters("try --sigma 25, or -m; allow more with --max-pixels") == (
        "try sigma 25, or -m; allow more with --max-pixels"
    )
    answer = answer_of_error(UsageError("images are not written as 'exe'", hint="choose --format png"))
    assert b"choose format png" in answer.body


def test_tasks_are_offered_in_plain_words_the_most_wanted_first():
    offered = [(one["task"], one["action"]) for one in list_tasks()]

    assert offered[:2] == [("sr", "Enlarge"), ("denoise", "Remove noise")]

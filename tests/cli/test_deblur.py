"""`restore deblur` with one view and with two, and what -m restormer means to each command; tiny random networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from restore_cli.models.restormer.config import Config
from restore_cli.models.restormer.network import Restormer
from restore_cli.weights.load import save_weights
from restore_cli.weights.manifest import WeightsEntry
from tests.cli.conftest import Run, image

Weights = Callable[..., Path]


@pytest.fixture
def restormer(tmp_path: Path) -> Weights:
    """Write a tiny Restormer that says itself what it is; return its file."""

    def write(kind: str) -> Path:
        config = Config.tiny()
        if kind == "dual-pixel":
            config = replace(config, inp_channels=6, dual_pixel_task=True)
        path = tmp_path / f"{kind}.safetensors"
        entry = WeightsEntry(
            id=f"restormer-tiny-{kind}",
            model="restormer-tiny",
            arch="restormer",
            config=config.to_json(),
            task="deblur",
            scale=1,
            channels=3,
            variant=kind,
            training_patch=32,
            file=path.name,
            licence="MIT",
            origin="random numbers",
            citation="none",
        )
        torch.manual_seed(0)
        save_weights(path, Restormer.from_config(config).state_dict(), entry)
        return path

    return write


def pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def views(name: str, *, size: tuple[int, int] = (9, 7)) -> None:
    """Write left/NAME and right/NAME, which differ."""
    image(f"left/{name}", size=size)
    image(f"right/{name}", size=size)
    Image.fromarray(np.asarray(Image.open(f"right/{name}"))[::-1]).save(f"right/{name}")


def test_one_image_is_deblurred_beside_itself(run: Run, restormer: Weights):
    image("street.png", size=(21, 13))
    ran = run("deblur", "--weights", restormer("motion"), "street.png")
    assert (ran.code, ran.out) == (0, "street_deblurred.png\n"), ran.err
    assert pixels("street_deblurred.png").shape == (13, 21, 3)


def test_cells_change_pixels_and_the_memory_allowed_does_not(run: Run, restormer: Weights):
    image("street.png", size=(64, 48))
    deblur = ("deblur", "--weights", restormer("motion"), "street.png", "-o")
    for context in ("global", "local"):
        ran = run(*deblur, f"{context}.png", "--context", context)
        assert ran.code == 0, ran.err
    assert (pixels("local.png") != pixels("global.png")).any()
    ran = run(*deblur, "low.png", "--context", "local", "--max-memory", "2M", "--json")
    assert ran.code == 0, ran.err
    assert np.abs(pixels("low.png") - pixels("local.png")).max() <= 1
    assert '"context": "local"' in ran.out


def test_two_views_give_one_image_and_their_order_counts(run: Run, restormer: Weights):
    views("a.png")
    dual = ("deblur", "--kind", "dual-pixel", "--weights", restormer("dual-pixel"))
    for source, right, target in (("left", "right", "one.png"), ("right", "left", "other.png")):
        ran = run(*dual, f"{source}/a.png", "--right", f"{right}/a.png", "-o", target)
        assert ran.code == 0, ran.err
    assert pixels("one.png").shape == (7, 9, 3)
    assert (pixels("one.png") != pixels("other.png")).any()


def test_folders_of_views_are_paired_by_name_and_a_changed_right_view_is_done_anew(run: Run, restormer: Weights):
    views("a.png")
    views("b.png")
    weights = restormer("dual-pixel")
    command = ("deblur", "--kind", "dual-pixel", "--weights", weights, "left/", "--right", "right/", "out/", "--resume")
    assert run(*command, "-n").out.splitlines()[0] == "left/a.png + right/a.png -> out/a.png"
    assert run(*command).code == 0
    assert "2 skipped" in run(*command).err
    Image.fromarray(np.asarray(Image.open("right/b.png"))[:, ::-1]).save("right/b.png")
    again = run(*command)
    assert again.code == 0
    assert "1 restored, 1 skipped" in again.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--kind", "dual-pixel", "left/a.png"], "only the left one is named; name the right view"),
        (["--kind", "dual-pixel", "left/a.png", "--right", "none.png"], "none.png does not exist"),
        (["--kind", "dual-pixel", "left/a.png", "--right", "other/"], "left/a.png has no right view in other"),
        (["left/a.png", "--right", "right/a.png"], "--right belongs to --kind dual-pixel, not to motion"),
    ],
)
def test_views_that_do_not_fit_the_request_are_refused(run: Run, restormer: Weights, arguments: list[str], said: str):
    views("a.png")
    image("other/b.png")
    ran = run("deblur", "--weights", restormer("dual-pixel"), *arguments, "-o", "out.png")
    assert ran.code == 2
    assert said in ran.err
    assert not Path("out.png").exists()


def test_views_of_two_sizes_and_a_lone_view_fail_in_one_line(run: Run, restormer: Weights):
    image("left.png", size=(9, 7))
    image("right.png", size=(8, 7))
    weights = restormer("dual-pixel")
    ran = run("deblur", "--kind", "dual-pixel", "--weights", weights, "left.png", "--right", "right.png", "-o", "a.png")
    assert ran.code == 1
    assert "left.png: its views are not of one scene: 9x7 in color, 8x7 in color" in ran.err
    ran = run("deblur", "--weights", weights, "left.png")
    assert ran.code == 1
    assert "left.png: restormer-tiny-dual-pixel restores two views of a scene, and this is one" in ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["denoise", "--sigma", "25"], "sigma 25: restormer-denoise-color-sigma25, trained at sigma 25"),
        (
            ["denoise", "--sigma", "20"],
            "restormer-denoise-color-sigma25 was trained at sigma 25, the nearest there is to 20; "
            "-m restormer-denoise-color-blind takes any level",
        ),
        (["denoise"], "restormer-denoise-color-blind: would be fetched first"),
        (["denoise", "--gray", "--sigma", "15"], "sigma 15: restormer-denoise-gray-sigma15, trained at sigma 15"),
        (["denoise", "--real"], "restormer-denoise-real"),
        (
            ["denoise", "--real", "--sigma", "9"],
            "restormer-denoise-real takes no noise level, and --sigma changes nothing",
        ),
        (["derain"], "restormer-derain: would be fetched first"),
        (["deblur"], "restormer-deblur-motion: would be fetched first"),
        (["deblur", "--kind", "defocus"], "restormer-deblur-defocus: would be fetched first"),
    ],
)
def test_restormer_means_the_checkpoint_of_the_request_and_the_choice_is_said(
    run: Run, arguments: list[str], said: str
):
    image("a.png")
    ran = run(*arguments, "-m", "restormer", "-n", "a.png")
    assert ran.code == 0
    assert said in ran.err


def test_without_bundled_weights_the_way_to_others_is_named(run: Run):
    image("a.png")
    ran = run("deblur", "--kind", "defocus", "a.png")
    assert ran.code == 3
    assert "no weights are bundled for deblur defocus; name a model to fetch with -m: restormer" in ran.err

"""The page of a run shows its curves and what the network makes of held-out images, in one well-formed file."""

from __future__ import annotations

import math
import re
import subprocess
import threading
from pathlib import Path

import pytest
import torch

from restore_cli.models.ramit.network import RAMiT
from restore_cli.training.journal import Interval
from restore_cli.training.page import NAME, run_page
from restore_cli.training.processes import Processes
from restore_cli.training.report import redraw
from restore_cli.training.request import TrainRequest
from restore_cli.training.run_file import TrainingFacts, checkout_commit, write_run
from restore_cli.training.session import Machine, held_out, make_loop, prepare
from restore_cli.training.validation import SHOWN_MOST
from tests.conftest import ROOT
from tests.models.fill import lively
from tests.scoring.test_page import Balance
from tests.training.conftest import write_images

MACHINE = Machine(device=torch.device("cpu"), processes=Processes(), cache_mebibytes=64, readers=1)


def facts_of(request: TrainRequest, floor: float | None = 30.0) -> TrainingFacts:
    recipe = request.adjusted_recipe()
    return TrainingFacts(recipe=recipe, config={}, images=3, data_digest="", parameters=1234, floor=floor)


def log_of(count: int, *, validated: bool = True) -> list[dict[str, float]]:
    """A log whose loss falls and whose score rises."""
    lines = [
        {
            "step": 50 * n,
            "steps": 50 * count,
            "loss": 0.05 / n,
            "rate": 1e-3,
            "images_per_second": 9.0,
            "seconds": 5.0 * n,
        }
        for n in range(1, count + 1)
    ]
    return [line | {"score": 30 + math.log(line["step"])} if validated else line for line in lines]


def begin(images: Path, held: Path, folder: Path, **overrides: object) -> TrainRequest:
    settings: dict[str, object] = {"steps": 2, "batch": 1, "log_every": 1, "validate_every": 2}
    settings |= {"recipe": "ramit-lite-sr-x2", "data": (str(images),), "val": (str(held),)}
    request = TrainRequest(**(settings | overrides))  # type: ignore[arg-type]
    session = prepare(request, MACHINE)
    folder.mkdir()
    write_run(folder, request, session.facts)
    intervals: list[Interval] = []
    make_loop(session, MACHINE, folder, on_interval=intervals.append, stop=threading.Event()).run()
    assert [interval.look_back for interval in intervals] == [False, True]
    return request


def test_a_run_leaves_a_page_with_its_curves_and_images_and_asks_for_no_other_file(
    images: Path, held_out: Path, tmp_path: Path
):
    begin(images, held_out, tmp_path / "run <1>")
    page = (tmp_path / "run <1>" / NAME).read_text(encoding="utf-8")
    for title in ("Loss", "Validation", "Rate", "Throughput"):
        assert f"<b>{title}</b>" in page
    assert "bicubic" in page
    assert page.count("<img") == 4  # one held-out image: degraded, bicubic, restored, truth
    assert "<1>" not in page
    assert not re.search(r"https?:|<script|<link|@import|url\(", page)
    Balance().check(page)
    assert [path.name for path in (tmp_path / "run <1>").glob(".*")] == []


def test_without_held_out_images_there_are_curves_and_no_crops(images: Path, tmp_path: Path):
    begin(images, images, tmp_path / "run", val=())
    page = (tmp_path / "run" / NAME).read_text(encoding="utf-8")
    assert "<b>Loss</b>" in page
    assert "<b>Validation</b>" not in page
    assert "<img" not in page


def test_a_page_drawn_again_shows_the_best_weights_or_says_what_is_missing(images: Path, tmp_path: Path):
    held = write_images(tmp_path / "held", 2, 64)
    begin(images, held, tmp_path / "run")
    drawn = (tmp_path / "run" / NAME).read_text(encoding="utf-8")
    (tmp_path / "run" / NAME).unlink()
    page, missing = redraw(tmp_path / "run", MACHINE)
    assert missing is None
    assert page.read_text(encoding="utf-8") == drawn  # the last weights were the best
    for image in held.iterdir():
        image.unlink()
    page, missing = redraw(tmp_path / "run", MACHINE)
    assert missing == f"{held} holds no images"
    assert "<img" not in page.read_text(encoding="utf-8")


def test_a_run_that_has_not_logged_yet_has_a_page_that_says_so():
    request = TrainRequest(recipe="ramit-lite-lowlight", data=("data",))
    page = run_page("run", request, facts_of(request), [])
    assert "Nothing was logged yet" in page
    Balance().check(page)


@pytest.mark.parametrize("loss", [0.0, math.nan])
def test_a_loss_that_a_logarithmic_axis_cannot_hold_is_left_out(loss: float):
    request = TrainRequest(recipe="ramit-lite-sr-x2", data=("data",))
    lines = log_of(3)
    lines[1]["loss"] = loss
    assert "<b>Loss</b>" in run_page("run", request, facts_of(request), lines)
    assert "<b>Loss</b>" not in run_page("run", request, facts_of(request), lines[1:2])


def test_the_page_of_a_long_run_is_no_larger_than_its_plots_need():
    request = TrainRequest(recipe="ramit-lite-sr-x2", data=("data",))
    page = run_page("run", request, facts_of(request), log_of(20_000))
    assert len(page) < 200_000
    assert "1,000,000" in page


def test_the_same_places_are_shown_whatever_the_network_makes_of_them(images: Path):
    request = TrainRequest(recipe="ramit-lite-denoise-color", data=("data",), val=(str(images),))
    validation = held_out(request, request.adjusted_recipe(), MACHINE)
    assert validation is not None
    start, moved = (RAMiT(request.adjusted_recipe().config()) for _ in range(2))  # the start changes no pixel
    one, other = validation.views(start), validation.judge(lively(moved)).views
    assert [(view.name, view.box) for view in one] == [(view.name, view.box) for view in other]
    assert len(one) == SHOWN_MOST
    assert all((view.restored == view.floor).all() for view in one)


def test_the_commit_of_a_checkout_is_the_one_git_names():
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    assert checkout_commit() == (asked.stdout.strip() if asked.returncode == 0 else None)

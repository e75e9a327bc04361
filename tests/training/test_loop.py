"""Training a tiny network for real: it learns, it resumes bit for bit, it stops cleanly."""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from restore_cli.errors import TargetExistsError, TrainingError
from restore_cli.training.batches import Batch, BatchShape
from restore_cli.training.checkpoint import BEST, LAST, read_checkpoint
from restore_cli.training.journal import Interval, read_journal
from restore_cli.training.processes import Processes
from restore_cli.training.request import TrainRequest
from restore_cli.training.samples import SAMPLES, write_samples
from restore_cli.training.session import Machine, Session, make_loop, prepare

MACHINE = Machine(device=torch.device("cpu"), processes=Processes(), cache_mebibytes=64, readers=1)
pytestmark = pytest.mark.usefixtures("small_networks")


def request_for(images: Path, held_out: Path, **overrides: object) -> TrainRequest:
    settings: dict[str, object] = {"steps": 4, "batch": 1, "patch": 32, "log_every": 1, "validate_every": 2}
    settings |= {"recipe": "ramit-lite-sr-x2", "data": (str(images),), "val": (str(held_out),)}
    return TrainRequest(**(settings | overrides))  # type: ignore[arg-type]


def train(request: TrainRequest, folder: Path, stop: threading.Event | None = None) -> tuple[Session, list[Interval]]:
    folder.mkdir(parents=True, exist_ok=True)
    session, intervals = prepare(request, MACHINE), []
    make_loop(session, MACHINE, folder, on_interval=intervals.append, stop=stop or threading.Event()).run()
    return session, intervals


def test_a_run_leaves_a_log_the_last_state_and_the_best_weights(images: Path, held_out: Path, tmp_path: Path):
    session, intervals = train(request_for(images, held_out), tmp_path)
    assert [interval.step for interval in intervals] == [1, 2, 3, 4]
    assert [line["step"] for line in read_journal(tmp_path)] == [1, 2, 3, 4]
    assert [interval.score is not None for interval in intervals] == [False, True, False, True]
    assert read_checkpoint(tmp_path / LAST)["step"] == 4
    best = read_checkpoint(tmp_path / BEST)
    assert session.state.best is not None
    assert best["score"] == session.state.best.score == max(i.score for i in intervals if i.score is not None)


class PulledError(Exception):
    """Stands for the plug that was pulled."""


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["ramit-lite-sr-x2", "ramit-lite-denoise-color"])
def test_a_run_cut_off_and_resumed_is_the_uninterrupted_run_bit_for_bit(
    recipe: str, images: Path, held_out: Path, tmp_path: Path
):
    request = request_for(images, held_out, recipe=recipe, steps=8, batch=2, log_every=2)
    whole, _ = train(request, tmp_path / "whole")

    def pull(interval: Interval) -> None:
        if interval.step == 6:
            raise PulledError

    session = prepare(request, MACHINE)
    (tmp_path / "cut").mkdir()
    with pytest.raises(PulledError):
        make_loop(session, MACHINE, tmp_path / "cut", on_interval=pull, stop=threading.Event()).run()
    assert read_checkpoint(tmp_path / "cut" / LAST)["step"] == 4
    resumed, _ = train(request, tmp_path / "cut")
    for part in ("network", "averaged"):
        one, other = whole.state.to_dict()[part], resumed.state.to_dict()[part]
        assert all(torch.equal(one[name], other[name]) for name in one)
    kept = ("step", "loss", "rate", "score")
    logs = [[{k: line.get(k) for k in kept} for line in read_journal(tmp_path / run)] for run in ("whole", "cut")]
    assert logs[0] == logs[1]


def test_a_run_told_to_stop_saves_where_it_is(images: Path, held_out: Path, tmp_path: Path):
    stop = threading.Event()
    stop.set()
    with pytest.raises(KeyboardInterrupt):
        train(request_for(images, held_out), tmp_path, stop)
    assert read_checkpoint(tmp_path / LAST)["step"] == 1


def test_weights_that_were_ruined_stop_the_run_before_they_replace_the_last_good_state(
    images: Path, held_out: Path, tmp_path: Path
):
    session = prepare(request_for(images, held_out, steps=8), MACHINE)

    def ruin(interval: Interval) -> None:
        if interval.step == 4:  # behind the loss of step 4 and before the checkpoint that is due then
            with torch.no_grad():
                next(session.state.network.parameters()).fill_(float("nan"))

    loop = make_loop(session, MACHINE, tmp_path, on_interval=ruin, stop=threading.Event())
    with pytest.raises(TrainingError, match="not finite at step 4") as caught:
        loop.run()
    assert LAST in caught.value.message
    state = read_checkpoint(tmp_path / LAST)
    assert state["step"] == 2
    assert all(torch.isfinite(t).all() for t in state["network"].values() if t.is_floating_point())


def test_a_batch_that_is_not_finite_stops_the_run_and_the_last_good_state_is_kept(
    images: Path, held_out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    session = prepare(request_for(images, held_out, steps=8), MACHINE)
    make = session.maker.make

    def make_poisoned(step: int, shape: BatchShape) -> Batch:
        batch = make(step, shape)
        return replace(batch, degraded=batch.degraded * float("nan")) if step == 5 else batch

    monkeypatch.setattr(session.maker, "make", make_poisoned)
    with pytest.raises(TrainingError, match=r"not finite at step 6; the last good checkpoint is"):
        make_loop(session, MACHINE, tmp_path, on_interval=lambda _: None, stop=threading.Event()).run()
    state = read_checkpoint(tmp_path / LAST)
    assert state["step"] == 4
    assert all(torch.isfinite(t).all() for t in state["network"].values() if t.is_floating_point())


@pytest.mark.exhaustive
def test_an_absurd_rate_stops_the_run_and_what_is_kept_still_restores(images: Path, held_out: Path, tmp_path: Path):
    # The rate rises from nothing, so the first steps are good, are saved, and must be what is left.
    request = request_for(images, held_out, steps=20_000, rate=2.0, batch=8, validate_every=1)
    with pytest.raises(TrainingError, match=r"runs away|not finite"):
        train(request, tmp_path)
    kept = prepare(request, MACHINE)
    batch = kept.maker.make(0, BatchShape(batch=8, patch=32))

    def loss() -> float:
        with torch.inference_mode():
            return float(torch.nn.functional.l1_loss(kept.state.network(batch.degraded), batch.clean))

    untrained = loss()
    kept.state.load_dict(read_checkpoint(tmp_path / LAST))
    assert loss() < 4 * untrained


def test_a_rate_that_ruins_the_network_at_once_leaves_no_checkpoint(images: Path, held_out: Path, tmp_path: Path):
    with pytest.raises(TrainingError, match="no checkpoint was made yet"):
        train(request_for(images, held_out, rate=1e30), tmp_path)
    assert not (tmp_path / LAST).exists()


def test_a_network_ruined_on_its_very_first_steps_is_told_from_the_loss_it_began_with(
    images: Path, held_out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    session = prepare(request_for(images, held_out, steps=8, batch=16, log_every=4, validate_every=1), MACHINE)
    step = session.state.optimiser.step

    def step_and_ruin() -> None:
        step()
        with torch.no_grad():
            session.state.network.get_parameter("to_target.final_conv.bias").fill_(5.0)

    monkeypatch.setattr(session.state.optimiser, "step", step_and_ruin)
    with pytest.raises(TrainingError, match=r"the loss runs away at step 4: .*; no checkpoint was made yet"):
        make_loop(session, MACHINE, tmp_path, on_interval=lambda _: None, stop=threading.Event()).run()
    assert not (tmp_path / LAST).exists()
    assert not (tmp_path / BEST).exists()


@pytest.mark.slow
def test_accumulated_parts_give_the_step_of_the_whole_batch(images: Path, held_out: Path, tmp_path: Path):
    whole, _ = train(request_for(images, held_out, steps=2, batch=4), tmp_path / "whole")
    parts, _ = train(request_for(images, held_out, steps=2, batch=4, accumulate=2), tmp_path / "parts")
    for one, other in zip(whole.state.network.parameters(), parts.state.network.parameters(), strict=True):
        assert torch.allclose(one, other, atol=2e-5)


def test_a_network_that_takes_the_level_is_given_it_for_some_samples(images: Path, held_out: Path, tmp_path: Path):
    request = request_for(images, held_out, recipe="unet-denoise-color", batch=8, patch=16, accumulate=2, steps=2)
    session = prepare(request, MACHINE)
    given: list[torch.Tensor] = []
    network = session.state.network
    network.register_forward_pre_hook(lambda _, inputs: given.append(inputs[1]) if torch.is_grad_enabled() else None)
    make_loop(session, MACHINE, tmp_path, on_interval=lambda _: None, stop=threading.Event()).run()
    assert [level.shape[0] for level in given] == [4, 4, 4, 4]
    levels = torch.cat(given)
    assert (levels < 0).any()
    assert (levels > 0).any()


def test_frozen_parts_stay_still_until_their_time(images: Path, held_out: Path, tmp_path: Path):
    request = request_for(images, held_out, steps=4, freeze=("stage", "shallow"), freeze_until=0.5)
    session = prepare(request, MACHINE)
    before = {name: tensor.clone() for name, tensor in session.state.network.state_dict().items()}
    seen: list[bool] = []

    def look(_: Interval) -> None:
        now = session.state.network.state_dict()
        seen.append(torch.equal(now["shallow.conv.weight"], before["shallow.conv.weight"]))
        assert not torch.equal(now["to_target.final_conv.weight"], before["to_target.final_conv.weight"])

    make_loop(session, MACHINE, tmp_path, on_interval=look, stop=threading.Event()).run()
    assert seen == [True, True, False, False]


@pytest.mark.parametrize("log_every", [1, 1000])
def test_a_budget_of_minutes_sets_the_steps_and_ends_at_rate_zero(
    log_every: int, images: Path, held_out: Path, tmp_path: Path
):
    asked = replace(request_for(images, held_out, steps=None, minutes=0.08), log_every=log_every)
    session, intervals = train(asked, tmp_path)
    assert session.recipe.steps is not None
    assert 1 <= intervals[-1].step == intervals[-1].steps != session.recipe.steps  # however fast the machine is
    assert intervals[-1].progress == pytest.approx(1.0)
    assert intervals[-1].rate == pytest.approx(0.0, abs=1e-6)


def test_validations_are_spread_over_the_training_however_its_length_is_asked_for(
    images: Path, held_out: Path, tmp_path: Path
):
    _, intervals = train(request_for(images, held_out, steps=100, validate_every=None), tmp_path / "steps")
    assert [one.step for one in intervals if one.look_back] == list(range(4, 101, 4))
    budget = request_for(images, held_out, steps=None, minutes=0.08, validate_every=None)
    _, intervals = train(budget, tmp_path / "minutes")
    looked = [one for one in intervals if one.look_back]
    assert min(len(intervals), 5) <= len(looked) <= 25
    assert all(later.progress > earlier.progress for earlier, later in pairwise(looked))


def test_samples_are_drawn_on_a_page_before_anything_is_trained(images: Path, held_out: Path, tmp_path: Path):
    session = prepare(request_for(images, held_out, recipe="ramit-lite-denoise-color"), MACHINE)
    write_samples(session, tmp_path / "samples.html")
    page = (tmp_path / "samples.html").read_text(encoding="utf-8")
    assert page.count("<figure") == 2 * SAMPLES
    assert "<h3>sample 24 " in page
    with pytest.raises(TargetExistsError):
        write_samples(session, tmp_path / "samples.html")

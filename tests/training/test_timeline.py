"""Lengths, phases and learning rates are those of the recipes."""

from __future__ import annotations

import pytest

from restore_cli.training.recipes import Optimisation, Phase, get_recipe
from restore_cli.training.timeline import learning_rate, retimed, timeline_of_epochs, timeline_of_steps

GROWING = (Phase(patch=64, batch=64), Phase(start=0.25, patch=96, batch=32), Phase(start=0.5, patch=128, batch=16))
COSINE = Optimisation(optimiser="adamw", rate=1e-3, warmup=0.1, decay="cosine")


def test_phases_share_steps_by_their_part_of_the_progress():
    timeline = timeline_of_steps(GROWING, 1000)
    assert [(s.first, s.steps, s.patch) for s in timeline.stretches] == [(0, 250, 64), (250, 250, 96), (500, 500, 128)]
    assert timeline.steps == 1000
    assert timeline.at(249).patch == 64
    assert timeline.at(250).patch == 96
    assert timeline.at(999).patch == 128


def test_an_epoch_of_smaller_batches_has_more_steps():
    timeline = timeline_of_epochs(GROWING, epochs=400, samples=6400)
    assert [s.steps for s in timeline.stretches] == [100 * 100, 100 * 200, 200 * 400]


def test_progress_rises_to_one_at_the_last_step():
    timeline = timeline_of_steps(GROWING, 1000)
    values = [timeline.progress(step) for step in range(1000)]
    assert values == sorted(values)
    assert values[-1] == pytest.approx(1.0)
    assert values[0] == pytest.approx(0.001)


def test_the_paper_trains_x2_for_half_a_million_steps_of_64_patches():
    recipe = get_recipe("ramit-sr-x2")
    assert recipe.epochs == 500
    timeline = timeline_of_epochs(recipe.phases, recipe.epochs, 800 * recipe.crops)
    assert timeline.steps == 500_000
    assert timeline.stretches[0].batch == 64


def test_the_papers_rate_rises_over_20_epochs_and_is_halved_at_its_milestones():
    optimisation = get_recipe("ramit-sr-x2").optimisation
    epochs = {
        10: 2e-4,
        20.01: 4e-4,
        199: 4e-4,
        201: 2e-4,
        301: 1e-4,
        401: 5e-5,
        430: 2.5e-5,
        460: 1.25e-5,
        480: 6.25e-6,
    }
    for epoch, rate in epochs.items():
        assert learning_rate(optimisation, 64, epoch / 500) == pytest.approx(rate, rel=1e-3)


def test_the_papers_rate_follows_the_batch_and_ours_does_not():
    assert learning_rate(get_recipe("ramit-sr-x2").optimisation, 32, 0.1) == pytest.approx(2e-4)
    assert learning_rate(COSINE, 32, 0.1) == learning_rate(COSINE, 64, 0.1)


def test_the_cosine_starts_at_the_highest_rate_and_ends_at_zero():
    assert learning_rate(COSINE, 8, 0.05) == pytest.approx(5e-4)
    assert learning_rate(COSINE, 8, 0.1) == pytest.approx(1e-3)
    assert learning_rate(COSINE, 8, 0.55) == pytest.approx(5e-4)
    assert learning_rate(COSINE, 8, 1.0) == pytest.approx(0.0, abs=1e-12)


def test_a_budget_of_time_lays_the_rest_so_that_it_just_fits():
    timeline = timeline_of_steps((Phase(patch=10, batch=1),), 10_000)
    laid = retimed(timeline, 100, seconds_left=100.0, seconds_per_pixel=0.001)  # 0.1 s a step
    assert laid.steps == 100 + 990  # one hundredth is kept back
    assert laid.progress(99) == pytest.approx(timeline.progress(99))
    assert laid.progress(laid.steps - 1) == pytest.approx(1.0)


def test_a_budget_is_shared_by_phases_of_different_cost_in_proportion_to_their_progress():
    phases = (Phase(patch=10, batch=1), Phase(start=0.5, patch=20, batch=1))
    laid = retimed(timeline_of_steps(phases, 1000), 0, seconds_left=500.0, seconds_per_pixel=0.01)
    first, second = laid.stretches
    assert first.steps == second.steps
    assert first.steps * 1.0 + second.steps * 4.0 == pytest.approx(495.0, abs=5.0)


def test_a_slower_machine_gives_fewer_steps_again_and_again_until_the_time_is_up():
    timeline, step, left = timeline_of_steps((Phase(patch=10, batch=1),), 10_000), 0, 60.0
    while step < timeline.steps:
        timeline = retimed(timeline, step, left, 0.001 if step < 200 else 0.002)
        done = min(50, timeline.steps - step)
        step, left = step + done, left - done * (0.1 if step < 200 else 0.2)
    assert -5.0 < left < 6.0
    assert timeline.progress(step - 1) == pytest.approx(1.0)


def test_no_time_left_still_ends_with_one_step():
    timeline = timeline_of_steps((Phase(patch=10, batch=1),), 1000)
    assert retimed(timeline, 500, seconds_left=-3.0, seconds_per_pixel=0.1).steps == 501

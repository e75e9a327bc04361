"""Uneven batches are no divergence, and a divergence is not missed."""

from __future__ import annotations

import numpy as np

from restore_cli.training.loss_watch import SAMPLES, LossWatch


def test_single_crops_of_very_different_losses_are_no_divergence():
    watch, random = LossWatch(), np.random.default_rng(0)
    assert all(watch.add(float(loss), 1) is None for loss in random.exponential(0.02, 5000))


def test_a_mean_far_above_the_lowest_is_told():
    watch = LossWatch()
    assert watch.add(0.02, SAMPLES) is None
    assert watch.add(0.06, SAMPLES) is None
    assert watch.add(0.11, SAMPLES) == 0.11


def test_the_next_judgement_waits_until_enough_crops_were_seen():
    watch = LossWatch()
    watch.add(0.02, SAMPLES)
    assert watch.add(5.0, SAMPLES - 1) is None
    assert watch.add(5.0, 1) == 5.0


def test_weights_are_suspect_where_one_batch_is_far_above_what_is_usual():
    watch = LossWatch()
    assert not watch.suspects(9.0)  # nothing is known yet
    watch.add(0.02, 8)
    assert watch.suspects(0.07)
    watch.add(0.02, SAMPLES)
    assert watch.suspects(0.07)
    assert not watch.suspects(0.05)


def test_the_first_mean_is_compared_with_the_loss_that_training_began_with():
    assert LossWatch(0.02).add(0.5, SAMPLES) == 0.5
    assert LossWatch(0.02).suspects(0.07)
    assert LossWatch(0.4).add(0.02, SAMPLES) is None

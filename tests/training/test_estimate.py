"""The rehearsal on the meta device comes to the memory that the real step takes, and the plan says it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from restore_cli.inference.footprint import UNSEEN_SHARE, peak_bytes
from restore_cli.training.estimate import estimate_memory, measure_seconds
from restore_cli.training.session import prepare
from tests.training.test_loop import MACHINE, request_for

MIB = 2**20


def test_the_rehearsed_step_takes_what_the_real_step_takes(images: Path, held_out: Path):
    session = prepare(request_for(images, held_out, batch=2, val=()), MACHINE)
    network = session.state.network
    degraded, clean = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 64, 64)
    real = peak_bytes(lambda: torch.autograd.backward(functional.l1_loss(network(degraded), clean)))
    assert real > 20 * MIB
    waiting = 4 * 2 * 4 * 3 * 32**2 * 5  # four batches of two float32 pairs, the clean one four times as large
    assert estimate_memory(session, MACHINE).step == pytest.approx(UNSEEN_SHARE * real + waiting, rel=0.05)


def test_parts_and_computing_again_take_much_less(images: Path, held_out: Path):
    session = prepare(request_for(images, held_out, batch=4, val=()), MACHINE)
    whole = estimate_memory(session, MACHINE).step
    assert estimate_memory(session, replace(MACHINE, recompute=True)).step < 0.5 * whole
    parts = replace(session, request=replace(session.request, accumulate=4))
    assert estimate_memory(parts, MACHINE).step < 0.4 * whole


def test_state_images_and_validation_are_counted(images: Path, held_out: Path):
    session = prepare(request_for(images, held_out), MACHINE)
    memory = estimate_memory(session, MACHINE)
    weights = sum(parameter.numel() for parameter in session.state.network.parameters())
    assert memory.state == 16 * weights
    assert memory.images == 6 * (96 * 96 * 3 + 48 * 48 * 3)
    assert 0 < memory.validation < memory.step
    assert memory.device == memory.state + memory.step
    alone = prepare(request_for(images, held_out, val=()), MACHINE)
    assert estimate_memory(alone, MACHINE).validation == 0


def test_time_is_measured_on_a_copy(images: Path, held_out: Path):
    session = prepare(request_for(images, held_out, steps=1000, batch=1, val=()), MACHINE)
    before = [parameter.clone() for parameter in session.state.network.parameters()]
    seconds = measure_seconds(session, MACHINE)
    assert 5 < seconds < 5000
    assert all(torch.equal(one, other) for one, other in zip(before, session.state.network.parameters(), strict=True))
    assert session.state.step == 0

"""Muon moves matrices along their gradient with its singular values made equal, and all else as Adam does."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from restore_cli.training.muon import Muon, is_matrix, orthogonalised


@pytest.mark.parametrize(("rows", "columns"), [(16, 48), (48, 16), (24, 24)])
def test_orthogonalising_keeps_singular_vectors_and_brings_singular_values_near_one(rows: int, columns: int) -> None:
    matrix = torch.randn(rows, columns, dtype=torch.float64)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonalised(matrix[None])[0]
    in_its_own_axes = left.mT @ found @ right.mT
    off_diagonal = in_its_own_axes - torch.diag(in_its_own_axes.diagonal())
    assert off_diagonal.abs().max() < 1e-9
    well_conditioned = values > 0.05 * values.max()
    assert ((in_its_own_axes.diagonal()[well_conditioned] - 0.95).abs() < 0.35).all()


def test_a_gradient_of_zeros_moves_nothing() -> None:
    assert not orthogonalised(torch.zeros(2, 16, 8)).any()


def test_a_step_on_a_matrix_is_as_large_as_adams_and_points_down() -> None:
    weight = nn.Parameter(torch.randn(64, 32, 1, 1))
    before = weight.detach().clone()
    weight.grad = torch.randn_like(weight)
    Muon([weight], lr=0.01).step()
    step = weight.detach() - before
    assert (step * weight.grad).sum() < 0
    assert 0.5 < step.square().mean().sqrt() / (0.2 * 0.01) < 1.5


def test_a_matrix_and_the_same_one_written_as_a_convolution_take_the_same_steps() -> None:
    torch.manual_seed(0)
    matrix = nn.Parameter(torch.randn(16, 24))
    convolution = nn.Parameter(matrix.detach().clone()[:, :, None, None])
    optimiser = Muon([matrix, convolution], lr=0.1)
    for _ in range(3):
        matrix.grad = torch.randn(16, 24)
        convolution.grad = matrix.grad.clone()[:, :, None, None]
        optimiser.step()
    torch.testing.assert_close(matrix.detach(), convolution.detach()[:, :, 0, 0])


def test_what_is_no_matrix_takes_exactly_the_steps_of_torchs_adam() -> None:
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(12)), nn.Parameter(torch.randn(32, 1, 3, 3)), nn.Parameter(torch.randn(225, 4))]
    theirs = copy.deepcopy(ours)
    one, other = Muon(ours, lr=0.01), torch.optim.Adam(theirs, lr=0.01)
    for _ in range(5):
        for mine, its in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            its.grad = mine.grad.clone()
        one.step()
        other.step()
    for mine, its in zip(ours, theirs, strict=True):
        assert not is_matrix(mine)
        torch.testing.assert_close(mine, its)


def test_a_parameter_without_gradient_stays() -> None:
    still, moved = nn.Parameter(torch.ones(16, 16)), nn.Parameter(torch.ones(16, 16))
    moved.grad = torch.randn(16, 16)
    Muon([still, moved], lr=0.1).step()
    assert (still == 1).all()
    assert not (moved == 1).any()


def test_a_saved_state_goes_on_bit_for_bit() -> None:
    def trained(network: nn.Module, optimiser: Muon, steps: range) -> None:
        for step in steps:
            generator = torch.Generator().manual_seed(step)
            optimiser.zero_grad()
            network(torch.randn(4, 16, generator=generator)).square().sum().backward()
            optimiser.step()

    torch.manual_seed(0)
    whole = nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32), nn.Linear(32, 16))
    halves = copy.deepcopy(whole)
    trained(whole, Muon(whole.parameters(), lr=0.01), range(6))
    first = Muon(halves.parameters(), lr=0.01)
    trained(halves, first, range(3))
    second = Muon(halves.parameters(), lr=0.5)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    trained(halves, second, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), halves.parameters(), strict=True))

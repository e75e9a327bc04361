"""Blocks that are computed again give the same gradients and keep little for the backward pass."""

from __future__ import annotations

import copy
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from restore_cli.models import get_architecture
from restore_cli.training.blocks import compile_blocks, recompute_blocks
from restore_cli.training.session import make_loop, prepare
from tests.training.test_loop import MACHINE, request_for

pytestmark = pytest.mark.usefixtures("small_networks")


class Block(nn.Module):
    """A block with random numbers in it, as stochastic depth has."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.GELU(), nn.Dropout(0.5), nn.Conv2d(4, 4, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed: torch.Tensor = x + self.layers(x)
        return mixed


def gradients(network: nn.Module) -> list[torch.Tensor]:
    torch.manual_seed(1)
    network.zero_grad()
    torch.autograd.backward(network(torch.rand(2, 4, 16, 16)).abs().mean())
    return [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]


def kept_bytes(network: nn.Module) -> int:
    """Count the bytes that a forward pass keeps for the backward pass."""
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = network(torch.rand(2, 4, 16, 16))
    assert output.requires_grad
    return sum(storage.nbytes() for storage in kept.values())


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*(Block() for _ in range(4)))


def test_gradients_are_the_same_bit_for_bit_with_the_same_random_numbers(network: nn.Module):
    again = copy.deepcopy(network)
    recompute_blocks(again, Block)
    for one, other in zip(gradients(network), gradients(again), strict=True):
        assert torch.equal(one, other)
    assert list(again.state_dict()) == list(network.state_dict())


def test_a_block_keeps_its_input_alone(network: nn.Module):
    before = kept_bytes(network)
    recompute_blocks(network, Block)
    maps = 2 * 4 * 16 * 16 * 4
    assert kept_bytes(network) <= 4 * maps < before / 3


def test_without_gradients_nothing_is_done_twice(network: nn.Module):
    recompute_blocks(network, Block)
    with torch.inference_mode():
        assert not network(torch.rand(1, 4, 8, 8)).requires_grad


def test_every_architecture_that_is_trained_names_its_block():
    for name in ("ramit", "crossformer_ir"):
        arch = get_architecture(name)
        assert arch.block is not None
        network = arch.build(arch.config.tiny())
        assert any(isinstance(module, arch.block) for module in network.modules())


def test_a_run_that_computes_again_is_the_run_that_does_not(images: Path, held_out: Path, tmp_path: Path):
    request = request_for(images, held_out, steps=2, validate_every=1)
    results = []
    for machine in (MACHINE, replace(MACHINE, recompute=True)):
        folder = tmp_path / str(machine.recompute)
        folder.mkdir()
        session = prepare(request, machine)
        make_loop(session, machine, folder, on_interval=lambda _: None, stop=threading.Event()).run()
        results.append(session.state.to_dict())
    for part in ("network", "averaged"):
        assert all(torch.equal(results[0][part][name], results[1][part][name]) for name in results[0][part])


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")  # both of torch's own making
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
def test_compiled_blocks_come_close_and_may_be_computed_again_too(network: nn.Module):
    torch.manual_seed(0)
    plain = nn.Sequential(Block()).eval()  # without its random numbers, which a compiler may order
    expected = gradients(plain)
    again = copy.deepcopy(plain)
    compile_blocks(again, Block)
    recompute_blocks(again, Block)
    for one, other in zip(expected, gradients(again), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)

"""A device that runs out of memory now and then: the picture comes out all the same, within a few tries."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from restore_cli.inference.engine import Engine
from restore_cli.plan import RunWishes
from tests.inference.toys import Convolutions, toy_arch

ONE_LEVEL = 1 / 255
MOST_RETRIES = 8


class RunsOut(Convolutions):
    """Runs out of memory wherever `when` says so of a call's number, from 1, and the pixels at once."""

    def __init__(self, when: Callable[[int, int], bool], error: Callable[[], Exception]) -> None:
        super().__init__(depth=2)
        self.when = when
        self.error = error
        self.calls = 0
        self.faults = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.when(self.calls, x.shape[-2] * x.shape[-1]):
            self.faults += 1
            raise self.error()
        return super().forward(x)


ERRORS: dict[str, Callable[[], Exception]] = {
    "cuda": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    "cpu": lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    "python": MemoryError,
}


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).random((height, width, 3), dtype=np.float32)


def restore(network: Convolutions, pixels: np.ndarray, **wishes: object) -> np.ndarray:
    engine = Engine(network, toy_arch(), channels=3, scale=1, wishes=RunWishes(device="cpu", **wishes))  # type: ignore[arg-type]
    return engine.restore(pixels).pixels


@pytest.fixture(scope="module")
def right() -> np.ndarray:
    return restore(Convolutions(depth=2), noise(400, 480), tile="off")


@pytest.mark.parametrize(
    ("at", "error"),
    [(at, "cuda") for at in range(1, 21)] + [(at, error) for error in ("cpu", "python") for at in (1, 9)],
)
def test_memory_that_runs_out_at_any_tile_costs_no_more_than_a_few_tries(right: np.ndarray, at: int, error: str):
    network = RunsOut(lambda call, _: call == at, ERRORS[error])

    restored = restore(network, noise(400, 480), tile=128, overlap=32)

    assert network.faults == 1
    assert np.abs(restored - right).max() < ONE_LEVEL


@pytest.mark.parametrize("at", range(1, 21))
def test_memory_that_keeps_running_out_from_some_tile_on_ends_in_smaller_ones(right: np.ndarray, at: int):
    network = RunsOut(lambda call, pixels: call >= at and pixels > 64 * 64, ERRORS["cuda"])

    restored = restore(network, noise(400, 480), tile=128, overlap=32)

    assert network.faults <= MOST_RETRIES
    assert np.abs(restored - right).max() < ONE_LEVEL


@pytest.mark.parametrize("side", [64, 100, 250])
def test_a_picture_that_never_fits_whole_comes_out_after_few_tries(right: np.ndarray, side: int):
    network = RunsOut(lambda _, pixels: pixels > side * side, ERRORS["cuda"])

    restored = restore(network, noise(400, 480))

    assert 0 < network.faults <= MOST_RETRIES
    assert np.abs(restored - right).max() < ONE_LEVEL

"""A device that runs out of memory now and then: the image comes out all the same, within a few tries."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import torch
from _pytest.mark import ParameterSet
from torch import Tensor
from torch.overrides import TorchFunctionMode

from restore_cli.inference.engine import Engine
from restore_cli.models import get_architecture
from restore_cli.settings import RunSettings
from tests.conftest import ROOT
from tests.inference.toys import Convolutions, toy_arch

ONE_LEVEL = 1 / 255
MOST_RETRIES = 8


def some_of_twenty(*usual: int) -> list[ParameterSet]:
    """Return 1..20, of which only some are tried unless everything is asked for."""
    return [pytest.param(at, marks=[] if at in usual else [pytest.mark.exhaustive]) for at in range(1, 21)]


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


def restore(network: Convolutions, pixels: np.ndarray, **settings: object) -> np.ndarray:
    engine = Engine(network, toy_arch(), channels=3, scale=1, settings=RunSettings(device="cpu", **settings))  # type: ignore[arg-type]
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


@pytest.mark.parametrize("at", some_of_twenty(1, 2, 5, 9, 14, 20))
def test_memory_that_keeps_running_out_from_some_tile_on_ends_in_smaller_ones(right: np.ndarray, at: int):
    network = RunsOut(lambda call, pixels: call >= at and pixels > 64 * 64, ERRORS["cuda"])

    restored = restore(network, noise(400, 480), tile=128, overlap=32)

    assert network.faults <= MOST_RETRIES
    assert np.abs(restored - right).max() < ONE_LEVEL


class _Until(TorchFunctionMode):
    """Let an operation of a network run out of memory: the `at`-th, where the device has none for it."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        if self.calls == self.at:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def banded() -> Engine:
    """A network whose layers go over the image in bands of 32 rows, of which 20 places are to fail."""
    arch = get_architecture("ramit")
    config = arch.config.from_json({**arch.config.tiny().to_json(), "scale": 1})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = arch.build(config).eval()
    return Engine(network, arch, channels=3, scale=1, settings=RunSettings(device="cpu", context="mixed"))


@pytest.fixture(scope="module")
def in_bands(banded: Engine) -> tuple[np.ndarray, int]:
    """What comes out if memory suffices, and how many operations that takes."""
    with _Until(0) as counted:
        pixels = banded.restore(noise(64, 512)).pixels
    return pixels, counted.calls


@pytest.mark.parametrize("band", some_of_twenty(4, 17))
def test_memory_that_runs_out_at_any_band_costs_one_try_and_no_pixel(
    banded: Engine, in_bands: tuple[np.ndarray, int], band: int
):
    right, operations = in_bands

    with _Until(operations * band // 20):
        restored = banded.restore(noise(64, 512))

    assert restored.warnings == ("memory ran out on cpu; redone in bands of 8 rows",)
    assert np.abs(restored.pixels - right).max() < ONE_LEVEL


@pytest.mark.exhaustive
def test_an_allocator_that_refuses_in_earnest_ends_in_smaller_tiles():
    script = """
        import resource, sys
        import numpy as np, torch
        from pathlib import Path
        from restore_cli.inference.engine import Engine
        from restore_cli.settings import RunSettings
        from tests.inference.toys import Convolutions, toy_arch

        class Hungry(Convolutions):
            def forward(self, x):
                return super().forward(x.repeat(1, 300, 1, 1)[:, :3])  # 3.6 kB a pixel

        torch.set_num_threads(1)
        pixels = np.random.default_rng(0).random((600, 700, 3), dtype=np.float32)

        def restore():
            settings = RunSettings(device="cpu", tile=512, overlap=32)
            return Engine(Hungry(depth=2), toy_arch(), channels=3, scale=1, settings=settings).restore(pixels)

        right = restore()
        assert not right.warnings
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20), resource.RLIM_INFINITY))
        limited = restore()
        assert limited.warnings == ("memory ran out on cpu; redone in tiles of 256",), limited.warnings
        assert np.abs(limited.pixels - right.pixels).max() < 1 / 255
    """
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", dedent(script)], cwd=ROOT, env=settings, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("side", [64, 100, 250])
def test_an_image_that_never_fits_whole_comes_out_after_few_tries(right: np.ndarray, side: int):
    network = RunsOut(lambda _, pixels: pixels > side * side, ERRORS["cuda"])

    restored = restore(network, noise(400, 480))

    assert 0 < network.faults <= MOST_RETRIES
    assert np.abs(restored - right).max() < ONE_LEVEL

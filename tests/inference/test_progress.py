"""How far an image is: told before the work, growing with the work, and complete at the end."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from restore_cli.inference.engine import Engine
from restore_cli.inference.report import ImageProgress, ProgressTrack, part_of
from restore_cli.inference.runner import NetworkRunner
from restore_cli.settings import RunSettings
from tests.inference.toys import Convolutions, OutOfMemoryAbove, Recorder, toy_arch

CPU_OUT_OF_MEMORY = RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")


def followed(network: nn.Module, size: tuple[int, int], **settings: object) -> list[ImageProgress]:
    engine = Engine(network, toy_arch(), channels=3, scale=1, settings=RunSettings(device="cpu", **settings))
    told: list[ImageProgress] = []
    pixels = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    result = engine.restore(pixels, progress=told.append).pixels
    np.testing.assert_array_equal(result, engine.restore(pixels).pixels)
    return told


def test_tiles_are_told_before_the_work_and_counted():
    told = followed(Recorder(), (150, 100), tile=64, overlap=16)
    assert told[0] == ImageProgress(done=0, total=6 * 64 * 64, tiles=6, tile=64)
    assert told[-1].share == 1.0
    assert [one.done for one in told] == sorted(one.done for one in told)
    assert ImageProgress(done=3 * 64 * 64, total=6 * 64 * 64, tiles=6).tile_now == 4


def test_every_turn_of_a_self_ensemble_counts():
    told = followed(Recorder(), (16, 24), tta=True)
    assert (told[0].done, told[0].total, told[-1].done) == (0, 8 * 16 * 24, 8 * 16 * 24)


def test_work_that_is_redone_counts_anew():
    told = followed(OutOfMemoryAbove(128 * 128, CPU_OUT_OF_MEMORY), (256, 256))
    begun = [one for one in told if one.done == 0]
    assert [one.tiles for one in begun[:1]] == [1]
    assert begun[-1].tiles > 1
    assert told[-1].share == 1.0


def test_within_a_large_image_each_layer_counts():
    runner = NetworkRunner(Convolutions(depth=10), device=torch.device("cpu"), dtype=torch.float32, arch=toy_arch())
    shares: list[float] = []

    def run(side: int) -> list[float]:
        shares.clear()
        runner.run(torch.rand(1, 3, side, side), warn=lambda _line: None, advance=shares.append)
        return shares

    assert run(8) == []  # nobody knows yet, and it is not worth finding out
    assert run(512) == pytest.approx([*(layer / 10 for layer in range(1, 10)), 0.99])
    assert run(8) == []  # done in a moment, as is known by now


def test_nobody_is_told_more_often_than_a_few_times_a_second():
    now = 0.0
    told: list[ImageProgress] = []
    track = ProgressTrack(told.append, clock=lambda: now)
    track.begin(tiles=1, pixels=1000, tile=None, note="a note")
    for step in range(100):
        now += 0.01
        track.advance(step / 100)
    track.end_batch(1)
    assert (len(told), told[0].note, told[-1].done) == (11, "a note", 1000)


def test_the_networks_of_a_chain_make_one_whole():
    told: list[ImageProgress] = []
    part_of(told.append, before=0, own=100, total=500)(ImageProgress(done=9, total=9))
    part_of(told.append, before=100, own=400, total=500)(ImageProgress(done=1, total=2))
    assert [(one.done, one.total) for one in told] == [(100, 500), (300, 500)]

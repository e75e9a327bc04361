"""The footprint is the peak of the tensors alive at once: what a pixel costs, and what a run costs however small."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from restore_cli.inference.footprint import measure_footprint

UNSEEN = 1.25


def test_live_tensors_count_and_freed_ones_do_not():
    def five_maps_alive_at_the_peak(x: Tensor) -> Tensor:
        for _ in range(5):
            once = x + 1
            twice = once * 2
            once += 1  # in place: no new memory
            x = once + twice.view(-1).view(x.shape)
            del once, twice
        return x

    footprint = measure_footprint(five_maps_alive_at_the_peak, channels=4, multiple_of=8)

    # The network's input, a round's input and its three maps; those of earlier rounds are gone.
    assert footprint.bytes_per_pixel == pytest.approx(UNSEEN * 5 * 4 * 4)
    assert footprint.fixed_bytes == pytest.approx(0.0)


def test_what_does_not_grow_with_the_image_is_told_apart():
    def with_a_table(x: Tensor) -> Tensor:
        table = torch.zeros(1000)
        return x * table.sum()

    footprint = measure_footprint(with_a_table, channels=1, multiple_of=8)

    assert footprint.bytes_per_pixel == pytest.approx(UNSEEN * 2 * 4)
    assert footprint.fixed_bytes == pytest.approx(UNSEEN * 4 * 1000, rel=0.01)
    assert footprint.peak_bytes(100) == footprint.fixed_bytes + 100 * footprint.bytes_per_pixel
    assert footprint.pixels_within(int(footprint.peak_bytes(4096)) + 1) == 4096
    assert footprint.pixels_within(10) == 0

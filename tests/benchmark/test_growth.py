from __future__ import annotations

import pytest

from restore_cli.benchmark.growth import grouped, growths, line_through
from tests.benchmark.samples import a_measurement, a_row, an_entry

PIXELS = [50_000, 100_000, 400_000, 1_600_000]


def test_costs_on_a_line_stray_nowhere():
    line = line_through(PIXELS, [0.5 + 3.0 * pixels / 1e6 for pixels in PIXELS])
    assert line.fixed == pytest.approx(0.5)
    assert line.per_mpixel == pytest.approx(3.0)
    assert line.largest_deviation == pytest.approx(0, abs=1e-9)
    assert line.largest_step < 1
    assert line.at(2e6) == pytest.approx(6.5)


def test_a_cliff_is_found_at_its_size():
    costs = [3.0 * pixels / 1e6 for pixels in PIXELS]
    costs[2] *= 2
    line = line_through(PIXELS, costs)
    assert line.largest_at_pixels == 400_000
    assert line.largest_deviation > 0.3
    assert line.largest_step == pytest.approx(2.0)
    assert line.largest_step_at_pixels == 400_000


def test_small_sizes_weigh_as_much_as_large_ones():
    costs = [3.0 * pixels / 1e6 for pixels in PIXELS]
    costs[0] *= 1.1
    deviation = line_through(PIXELS, costs).largest_deviation
    costs = [3.0 * pixels / 1e6 for pixels in PIXELS]
    costs[3] *= 1.1
    assert 0.01 < deviation < 0.1
    assert 0.01 < line_through(PIXELS, costs).largest_deviation < 0.1


def sized(side: int, seconds: float = 1.0, **conditions: object):
    return a_row(a_measurement((seconds,)), size=(side, side), **conditions)


def test_each_network_and_condition_grows_by_itself():
    rows = [sized(side, threads=threads) for threads in (1, 2) for side in (256, 512, 1024)]
    other = [sized(side, entry=an_entry(id="other")) for side in (256, 512)]
    assert [growth.label for growth in growths(rows)] == ["ramit-sr-x4, threads 1", "ramit-sr-x4, threads 2"]
    assert [growth.id for growth in growths([*rows, *other])] == ["ramit-sr-x4", "ramit-sr-x4"]


def test_sizes_are_put_in_order_and_failures_left_out():
    rows = [sized(1024, 16.0), sized(256), a_row(None, error="killed", size=(2048, 2048)), sized(512, 4.0)]
    (growth,) = growths(rows)
    assert [row.input_pixels for row in growth.rows] == [64**2, 128**2, 256**2]
    assert growth.time.largest_deviation == pytest.approx(0, abs=1e-9)


def test_memory_has_a_line_only_where_every_size_has_a_figure():
    rows = [sized(side) for side in (256, 512)]
    told = a_row(a_measurement(memory_bytes=1), size=(1024, 1024))
    untold = a_row(a_measurement(memory_bytes=0), size=(1024, 1024))
    assert growths([*rows, told])[0].memory is not None
    assert growths([*rows, untold])[0].memory is None


def test_a_group_is_named_by_what_differs_between_groups():
    rows = [sized(256, batch=1), sized(256, batch=2), sized(512, batch=1)]
    assert list(grouped(rows, but="batch")) == ["ramit-sr-x4, size 256x256", "ramit-sr-x4, size 512x512"]
    assert list(grouped(rows, but="network")) == [
        "size 256x256, batch 1", "size 256x256, batch 2", "size 512x512, batch 1",
    ]  # fmt: skip

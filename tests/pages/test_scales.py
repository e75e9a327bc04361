"""Axes end a little beyond their values and carry few, round numbers."""

from __future__ import annotations

import itertools
import math

import pytest

from restore_cli.pages.scales import Axis, Scale, scale_for, written

LINEAR, LOGARITHMIC = Axis(title="x"), Axis(title="x", logarithmic=True)


def test_the_ends_are_just_beyond_the_values():
    scale = scale_for(LINEAR, [10.0, 20.0])
    assert 9.0 < scale.low < 10.0 < 20.0 < scale.high < 21.0
    assert 0.0 < scale.share(10.0) < scale.share(15.0) == pytest.approx(0.5)


def test_equal_ratios_are_equally_far_apart_on_a_logarithmic_axis():
    scale = scale_for(LOGARITHMIC, [0.01, 100.0])
    places = [scale.share(value) for value in (0.01, 0.1, 1.0, 10.0, 100.0)]
    gaps = [after - before for before, after in itertools.pairwise(places)]
    assert gaps == pytest.approx([gaps[0]] * 4)


@pytest.mark.parametrize("values", [[], [5.0], [0.0], [3.0, 3.0]])
def test_a_single_value_and_none_at_all_still_make_an_axis(values: list[float]):
    for axis in (LINEAR, LOGARITHMIC):
        if axis.logarithmic and 0.0 in values:
            continue
        scale = scale_for(axis, values)
        assert scale.low < scale.high
        assert len(scale.ticks()) >= 1


def test_zero_is_shown_where_it_is_wanted_and_not_overshot():
    scale = scale_for(Axis(title="x", from_zero=True), [40.0, 50.0])
    assert (scale.low, scale.ticks()[0]) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 100.0, (0, 20, 40, 60, 80, 100)),
        (33.9, 37.1, (34, 35, 36, 37)),
        (0.0012, 0.0019, (0.0012, 0.0014, 0.0016, 0.0018)),
        (-1.0, 1.0, (-1, -0.5, 0, 0.5, 1)),
    ],
)
def test_linear_ticks_are_round_and_about_five(low: float, high: float, ticks: tuple[float, ...]):
    assert Scale(low=low, high=high).ticks() == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.9, 1100.0, (1, 10, 100, 1000)),
        (0.9, 11.0, (1, 3, 10)),
        (0.009, 0.06, (0.01, 0.02, 0.05)),
        (0.021, 0.029, (0.022, 0.024, 0.026, 0.028)),  # too little for powers and their parts
    ],
)
def test_logarithmic_ticks_are_powers_of_ten_or_parts_of_them(low: float, high: float, ticks: tuple[float, ...]):
    assert Scale(low=low, high=high, logarithmic=True).ticks() == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("ticks", "texts"),
    [
        ((0.0, 1000.0, 2000.0), ("0", "1000", "2000")),
        ((0.0, 2500.0, 10_000.0), ("0", "2.5k", "10k")),
        ((500_000.0, 1_000_000.0), ("0.5M", "1M")),
        ((37.0, 37.25, 37.5), ("37", "37.25", "37.5")),
        ((0.1, 0.2, 0.30000000000000004), ("0.1", "0.2", "0.3")),
        ((-0.5, 0.0, 0.5), ("-0.5", "0", "0.5")),
        ((1e-5, 2e-5), ("1e-5", "2e-5")),
        ((40.0,), ("40",)),
        ((), ()),
    ],
)
def test_numbers_are_written_as_short_as_tells_them_apart(ticks: tuple[float, ...], texts: tuple[str, ...]):
    assert written(ticks) == texts


def test_values_without_a_place_are_not_accepted():
    assert not LINEAR.accepts(math.nan)
    assert not LINEAR.accepts(math.inf)
    assert LINEAR.accepts(-1.0)
    assert not LOGARITHMIC.accepts(0.0)

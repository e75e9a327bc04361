"""Charts hold what they are given, at the right places, as well-formed SVG that trusts no name."""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

import restore_cli.pages
from restore_cli.pages.chart import SERIES_COLOURS, Chart, Level, Series, drawing
from restore_cli.pages.scales import Axis


def chart(*series: Series, levels: tuple[Level, ...] = (), logarithmic: bool = False) -> Chart:
    y = Axis(title="dB", logarithmic=logarithmic)
    return Chart(title="Score", x=Axis(title="steps"), y=y, series=series, levels=levels)


def svg_of(drawn: str) -> ElementTree.Element:
    """Parse the SVG of a drawing: raises where it is not well-formed."""
    return ElementTree.fromstring(drawn[drawn.index("<svg") : drawn.index("</svg>") + len("</svg>")])  # noqa: S314


def places(line: ElementTree.Element) -> list[tuple[float, float]]:
    pairs = (pair.split(",") for pair in line.attrib["points"].split())
    return [(float(x), float(y)) for x, y in pairs]


def test_a_line_goes_from_left_to_right_and_up_where_values_rise():
    svg = svg_of(drawing(chart(Series(label="", points=((0, 30.0), (10, 31.0), (20, 33.0))))))
    (line,) = svg.iter("polyline")
    points = places(line)
    assert [x for x, _ in points] == pytest.approx([points[0][0], points[0][0] + 232, points[0][0] + 464], abs=20)
    heights = [y for _, y in points]
    assert heights == sorted(heights, reverse=True)
    assert (heights[0] - heights[1]) / (heights[0] - heights[2]) == pytest.approx(1 / 3, abs=0.01)


def test_a_value_without_a_place_parts_the_line_and_moves_nothing():
    points = ((0, 1.0), (1, 2.0), (2, math.nan), (3, 2.0), (4, 1.0), (5, math.inf))
    svg = svg_of(drawing(chart(Series(label="", points=points, dots=True))))
    assert [len(places(line)) for line in svg.iter("polyline")] == [2, 2]
    assert len(list(svg.iter("circle"))) == 4


def test_a_level_lies_where_a_point_of_its_value_would():
    series = Series(label="", points=((0, 10.0), (1, 20.0)), line=False, dots=True)
    svg = svg_of(drawing(chart(series, levels=(Level(label="bicubic", value=20.0),))))
    level = next(line for line in svg.iter("line") if line.attrib["class"] == "level")
    highest = min(float(dot.attrib["cy"]) for dot in svg.iter("circle"))
    assert float(level.attrib["y1"]) == pytest.approx(highest, abs=0.2)
    assert "bicubic" in [text.text for text in svg.iter("text")]


def test_a_chart_of_nothing_says_so():
    assert "nothing yet" in drawing(chart())
    assert "nothing yet" in drawing(chart(Series(label="a", points=((0, 0.0),)), logarithmic=True))


def test_every_name_is_escaped():
    series = Series(label="one&two", points=((0, 1.0),), dots=True, names=("<i>three",), notes=("<i>four",))
    other = Series(label="d", points=((0, 1.0),), colour=1)
    drawn = drawing(chart(series, other, levels=(Level(label="<i>five", value=1.0),)))
    for name in ("one&two", "<i>three", "<i>four", "<i>five"):
        assert name not in drawn
    (said,) = svg_of(drawn).iter("title")
    assert said.text == "<i>four"


def test_several_series_are_told_apart_by_a_legend_and_one_needs_none():
    one, other = Series(label="one", points=((0, 1.0),)), Series(label="other", points=((0, 2.0),), colour=1)
    assert "key" not in drawing(chart(one))
    assert [f"key series-{number}" in drawing(chart(one, other)) for number in range(2)] == [True, True]


def test_the_style_has_every_colour_twice_for_light_and_dark():
    style = (Path(restore_cli.pages.__file__).parent / "style.css").read_text(encoding="ascii")
    for number in range(SERIES_COLOURS):
        assert len(re.findall(rf"--series-{number}: #", style)) == 2
        assert f".series-{number} {{" in style

"""A plot shows every point where it belongs, trusts no name, and is well-formed."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import restore_cli.pages
from restore_cli.pages.plot import Axis, Level, Series, plot

PIXELS = Axis(title="pixels", text="{:g} Mpixel".format)
TIME = Axis(title="time", text="{:g} s".format)
LOG_PIXELS = Axis(title="pixels", text="{:g} Mpixel".format, logarithmic=True)
LOG_TIME = Axis(title="time", text="{:g} s".format, logarithmic=True)


def drawn(*series: Series, x: Axis = PIXELS, y: Axis = TIME, title: str = "Time") -> ET.Element:
    return parsed(plot(series, title=title, x=x, y=y, note="a < b"))


def parsed(markup: str) -> ET.Element:
    return ET.fromstring(markup)  # noqa: S314  (our own)


def discs(figure: ET.Element) -> list[tuple[float, float]]:
    """Centres of the first series' marks, the legend's left out."""
    found = [disc for svg in figure.findall("svg") for disc in svg.iter("circle")]
    return [(float(disc.attrib["cx"]), float(disc.attrib["cy"])) for disc in found]


def texts(figure: ET.Element) -> list[str]:
    return ["".join(element.itertext()) for element in figure.iter("text")]


def test_equal_steps_are_equally_far_apart_and_up_is_more():
    points = discs(drawn(Series(label="net", points=((1, 10), (2, 20), (3, 30)))))
    (x1, y1), (x2, y2), (x3, y3) = points
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.11)
    assert y1 - y2 == pytest.approx(y2 - y3, abs=0.11)
    assert x1 < x2
    assert y1 > y2


def test_equal_ratios_are_equally_far_apart_on_logarithmic_axes():
    points = discs(drawn(Series(label="net", points=((1, 0.1), (10, 1), (100, 10))), x=LOG_PIXELS, y=LOG_TIME))
    (x1, y1), (x2, y2), (x3, y3) = points
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.11)
    assert y1 - y2 == pytest.approx(y2 - y3, abs=0.11)


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize("values", [(0.05, 16.0), (3.0, 3.0), (0.97, 1.04), (1e-6, 1e6), (120.0, 480.0)])
def test_every_tick_stands_within_the_frame_and_there_are_a_few(values: tuple[float, float], logarithmic: bool):
    axis = Axis(title="pixels", text="{:.6g}".format, logarithmic=logarithmic)
    figure = drawn(Series(label="net", points=((values[0], 1), (values[1], 2))), x=axis)
    ticks = [element for element in figure.iter("text") if element.get("text-anchor") == "middle"]
    places = [float(tick.attrib["x"]) for tick in ticks if "x" in tick.attrib and tick.get("class") is None]
    assert 2 <= len(places) <= 14
    assert all(70 <= place <= 578 for place in places)
    assert len(set(texts(figure))) == len(texts(figure))


def test_an_axis_from_zero_shows_it():
    assert "0 s" in texts(drawn(Series(label="n", points=((1, 90), (2, 100))), y=Axis(
        title="time", text="{:g} s".format, from_zero=True)))  # fmt: skip


def test_names_stand_beside_their_points_and_not_on_each_other():
    points = tuple((1 + n / 50, 10.0) for n in range(6))
    figure = drawn(Series(label="", points=points, names=tuple(f"network {n}" for n in range(6)), joined=False))
    named = [element for element in figure.iter("text") if element.get("class") == "name"]
    assert len(named) == 6
    places = [(float(element.attrib["x"]), float(element.attrib["y"])) for element in named]
    overlapping = [
        (a, b) for n, a in enumerate(places) for b in places[:n] if abs(a[0] - b[0]) < 50 and abs(a[1] - b[1]) < 12
    ]
    assert not overlapping


def test_the_pointer_is_told_the_values_of_a_mark():
    (title,) = drawn(Series(label="net", points=((2, 10),))).iter("title")
    assert title.text == "net: 2 Mpixel, 10 s"


def test_what_is_not_finite_is_left_out():
    figure = drawn(Series(label="net", points=((1, 1), (2, float("nan")), (3, 3))))
    assert len(discs(figure)) == 2
    assert "nan" not in ET.tostring(figure, encoding="unicode")


def test_names_of_people_are_escaped():
    text = plot([Series(label="<b>&", points=((1, 1),), names=("<i>",))], title="a<b", x=PIXELS, y=TIME)
    assert not re.search("<i>|<b>&|a<b", text)
    parsed(text)


def test_a_line_that_was_computed_has_no_marks_and_may_share_a_colour():
    figure = drawn(
        Series(label="net", points=((1, 1), (2, 2))),
        Series(label="", points=((1, 1), (2, 2)), marked=False, colour=0),
    )
    assert len(discs(figure)) == 2
    lines = [path.attrib["class"] for svg in figure.findall("svg") for path in svg.findall("path")]
    assert [name for name in lines if "line" in name] == ["line s0", "line fit s0"]


def test_no_point_and_a_zero_on_a_logarithmic_axis_are_refused():
    with pytest.raises(ValueError, match="needs a point"):
        drawn(Series(label="net", points=()))
    with pytest.raises(ValueError, match="logarithmic"):
        drawn(Series(label="net", points=((0, 1),)), x=LOG_PIXELS)


def test_a_level_lies_where_a_point_of_its_value_would_and_the_axis_reaches_it():
    series = Series(label="", points=((0, 10.0), (1, 20.0)))
    for value in (20.0, 35.0):
        figure = parsed(plot([series], title="Score", x=PIXELS, y=TIME, levels=[Level(label="bicubic <", value=value)]))
        (line,) = [path for path in figure.iter("path") if path.get("class") == "level"]
        height = float(re.findall(r"[\d.]+", line.attrib["d"])[1])
        highest = min(y for _, y in discs(figure))
        assert height == pytest.approx(highest, abs=0.11) if value == 20.0 else 14 <= height < highest
        assert "bicubic <" in texts(figure)


def test_the_style_has_every_colour_twice_for_light_and_dark():
    style = (Path(restore_cli.pages.__file__).parent / "style.css").read_text(encoding="ascii")
    for number in range(8):
        assert len(re.findall(rf"--s{number}: #", style)) == 2
        assert f".s{number} {{" in style

"""Charts as SVG inside a page: curves, dots, and levels to hold them against.

Colours are the page's own (`--series-N`), so that a chart is light or dark with the page. What a dot stands for is
said by the browser when the pointer rests on it: there is no script.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from restore_cli.pages.scales import Axis, Scale, scale_for, written

Point = tuple[float, float]
Place = Callable[[float], float]

SERIES_COLOURS = 6
_WIDTH, _HEIGHT = 560, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 12, 44
_DOT_RADIUS = 3.5


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points that belong together.

    Attributes:
        label: What they are, "" to leave them out of the legend.
        points: (x, y); those the axes do not accept are left out and part the line.
        line: Whether they are joined, in their order.
        dots: Whether each is marked.
        names: Text beside each dot, "" for none; as many as points, or none at all.
        notes: What the browser says of each dot; as many as points, or none at all.
        colour: Number of its colour, 0..SERIES_COLOURS - 1.
        faint: Whether it stands back behind the others.
    """

    label: str
    points: tuple[Point, ...]
    line: bool = True
    dots: bool = False
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    colour: int = 0
    faint: bool = False


@dataclass(frozen=True, kw_only=True)
class Level:
    """A value of y to hold points against, drawn as a dashed line with its name on it."""

    label: str
    value: float


@dataclass(frozen=True, kw_only=True)
class Chart:
    """What is drawn.

    Attributes:
        title: A few words above.
        x: The axis below.
        y: The axis at the left.
        series: What is shown, the last on top.
        levels: What it is held against.
    """

    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    levels: tuple[Level, ...] = ()


def drawing(chart: Chart) -> str:
    """Return a chart as markup of a page: title, legend and an SVG as wide as its place allows."""
    points = [point for series in chart.series for point in series.points if _accepted(chart, point)]
    heights = [y for _, y in points] + [level.value for level in chart.levels if chart.y.accepts(level.value)]
    across, up = scale_for(chart.x, [x for x, _ in points]), scale_for(chart.y, heights)

    def left(x: float) -> float:
        return _LEFT + across.share(x) * (_WIDTH - _LEFT - _RIGHT)

    def top(y: float) -> float:
        return _HEIGHT - _BOTTOM - up.share(y) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [_grid(chart, across, up, left, top)]
    parts += [_level(level, top) for level in chart.levels if chart.y.accepts(level.value)]
    parts += [_series(chart, series, left, top) for series in chart.series]
    if not points:
        parts.append(f'<text class="empty" x="{_WIDTH / 2:.0f}" y="{_HEIGHT / 2:.0f}">nothing yet</text>')
    return (
        f'<figure class="chart"><figcaption><b>{escape(chart.title)}</b>{_legend(chart.series)}</figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(chart.title)}">{"".join(parts)}</svg>'
        "</figure>"
    )


def charts(chosen: Iterable[Chart]) -> str:
    """Return several charts side by side, as many as the window is wide enough for."""
    return f'<div class="charts">{"".join(drawing(chart) for chart in chosen)}</div>'


def _accepted(chart: Chart, point: Point) -> bool:
    return chart.x.accepts(point[0]) and chart.y.accepts(point[1])


def _legend(series: Sequence[Series]) -> str:
    named = [each for each in series if each.label]
    if len(named) < 2:
        return ""
    return "".join(f'<span class="key {_look(each)}"><i></i>{escape(each.label)}</span>' for each in named)


def _look(series: Series) -> str:
    """Return the classes that give a series its colour."""
    return f"series-{series.colour}{' faint-line' if series.faint else ''}"


def _grid(chart: Chart, across: Scale, up: Scale, left: Place, top: Place) -> str:
    """Draw the lines behind everything, the numbers beside them, and what they are numbers of."""
    bottom, end = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = [
        f'<line class="rule" x1="{_LEFT}" x2="{end}" y1="{top(y):.1f}" y2="{top(y):.1f}"/>'
        f'<text class="number" x="{_LEFT - 8}" y="{top(y) + 4:.1f}" text-anchor="end">{text}</text>'
        for y, text in zip(up.ticks(), written(up.ticks()), strict=True)
    ]
    parts += [
        f'<line class="mark" x1="{left(x):.1f}" x2="{left(x):.1f}" y1="{bottom}" y2="{bottom + 4}"/>'
        f'<text class="number" x="{left(x):.1f}" y="{bottom + 18}" text-anchor="middle">{text}</text>'
        for x, text in zip(across.ticks(), written(across.ticks()), strict=True)
    ]
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{end}" y1="{bottom}" y2="{bottom}"/>')
    middle_x, middle_y = (_LEFT + end) / 2, (_TOP + bottom) / 2
    parts.append(
        f'<text class="title" x="{middle_x:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(chart.x.title)}</text>'
        f'<text class="title" transform="translate(13 {middle_y:.0f}) rotate(-90)" text-anchor="middle">'
        f"{escape(chart.y.title)}</text>"
    )
    return "".join(parts)


def _level(level: Level, top: Place) -> str:
    y = top(level.value)
    return (
        f'<line class="level" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="level-name" x="{_WIDTH - _RIGHT}" y="{y - 5:.1f}" text-anchor="end">{escape(level.label)}</text>'
    )


def _series(chart: Chart, series: Series, left: Place, top: Place) -> str:
    """Draw one series: its line in as many parts as it is broken into, then its dots."""
    parts: list[str] = []
    if series.line:
        for together, run in itertools.groupby(series.points, key=lambda point: _accepted(chart, point)):
            if together:
                way = " ".join(f"{left(x):.1f},{top(y):.1f}" for x, y in run)
                parts.append(f'<polyline points="{way}"/>')
    if series.dots:
        names = series.names or ("",) * len(series.points)
        notes = series.notes or ("",) * len(series.points)
        for point, name, note in zip(series.points, names, notes, strict=True):
            if _accepted(chart, point):
                parts.append(_dot(left(point[0]), top(point[1]), name, note))
    return f'<g class="series {_look(series)}">{"".join(parts)}</g>'


def _dot(x: float, y: float, name: str, note: str) -> str:
    said = f"<title>{escape(note)}</title>" if note else ""
    dot = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_DOT_RADIUS}">{said}</circle>'
    if not name:
        return dot
    # A name goes to the side of its dot that has more room.
    right = x < 0.7 * _WIDTH
    where = f'x="{x + (8 if right else -8):.1f}" y="{y + 4:.1f}" text-anchor="{"start" if right else "end"}"'
    return f'{dot}<text class="name" {where}>{escape(name)}</text>'

"""Draw plots as inline SVG: lines and points over two axes, linear or logarithmic, with a legend.

Colours come from the page's style (classes `s0` to `s7`), so a plot is light or dark as the page is. Series differ in
the shape of their marks too, for those who cannot tell the colours apart. The pointer shows a mark's values; there is
no script.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]
_Box = tuple[float, float, float, float]  # left, top, right, bottom

_WIDTH, _HEIGHT = 600, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 578, 14, 326
_MARGIN_SHARE = 0.05  # of an axis, beyond the outermost values
_WANTED_TICKS = 6
_DECADES_WITH_STEPS = 2.5  # up to here 2 and 5 stand between the powers of ten
_LETTER_WIDTH, _LETTER_HEIGHT = 6.3, 13.0  # of the style's 12 px, about
_COLOURS = 8
_SHAPES = 4


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Say what an axis shows.

    Attributes:
        title: What, and in which unit unless `text` writes it.
        text: Writes a value, for ticks and beside the pointer.
        logarithmic: Equal ratios at equal distances; all values must be above 0.
        from_zero: Begin at 0.
    """

    title: str
    text: Callable[[float], str]
    logarithmic: bool = False
    from_zero: bool = False


@dataclass(frozen=True, kw_only=True)
class Series:
    """Hold points that belong together.

    Attributes:
        label: Their name in the legend; "" leaves them out of it.
        points: (x, y), in the order they are joined.
        names: A text beside each point; empty for none.
        joined: Draw a line through them.
        marked: Draw a mark at each; False where there are too many, or for a line that was computed.
        faint: Let it stand back behind the others.
        colour: Number of the colour, to share one between a series and its fit; None takes the series' place.
    """

    label: str
    points: tuple[Point, ...]
    names: tuple[str, ...] = ()
    joined: bool = True
    marked: bool = True
    faint: bool = False
    colour: int | None = None


@dataclass(frozen=True, kw_only=True)
class Level:
    """A value of y to hold points against, drawn as a dashed line with its name on it."""

    label: str
    value: float


def plot(
    series: Sequence[Series], *, title: str, x: Axis, y: Axis, levels: Sequence[Level] = (), note: str = ""
) -> str:
    """Return a plot as a number with its title, legend and note.

    Args:
        series: At least one point in all; values that are not finite are left out.
        title: What it shows, a phrase.
        x: The axis below.
        y: The axis on the left.
        levels: What points are held against; the axis reaches them.
        note: A sentence below.

    Raises:
        ValueError: If there is no point, or one of 0 or less on a logarithmic axis.
    """
    drawn = [_Drawn.of(one, place) for place, one in enumerate(series)]
    points = [point for one in drawn for point in one.points]
    if not points:
        raise ValueError("a plot needs a point")
    across = _Scale.over([point[0] for point in points], x, start=_LEFT, end=_RIGHT)
    heights = [point[1] for point in points] + [level.value for level in levels]
    up = _Scale.over(heights, y, start=_BOTTOM, end=_TOP)
    lines = "".join(_level(level, up) for level in levels)
    lines += "".join(one.line(across, up) for one in drawn)
    marks = "".join(one.marks(across, up, x, y) for one in drawn)
    names = "".join(_names(drawn, across, up))
    legend = "".join(one.key for one in drawn if one.series.label)
    return (
        f'<figure class="plot"><figcaption><b>{escape(title)}</b><span class="keys">{legend}</span></figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{_grid(across, up, x, y)}{lines}{marks}{names}</svg>"
        f"{_note(note)}</figure>"
    )


def _level(level: Level, up: _Scale) -> str:
    height = up.place(level.value)
    return (
        f'<path class="level" d="M{_LEFT} {height:.1f}H{_RIGHT}"/>'
        f'<text class="level" x="{_RIGHT}" y="{height - 5:.1f}" text-anchor="end">{escape(level.label)}</text>'
    )


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>' if text else ""


@dataclass(frozen=True, kw_only=True)
class _Scale:
    """Turn values of one axis into pixels."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool

    @classmethod
    def over(cls, values: Sequence[float], axis: Axis, *, start: float, end: float) -> _Scale:
        low, high = min(values), max(values)
        if axis.logarithmic:
            if low <= 0:
                msg = f"{axis.title!r} is logarithmic and holds {low}"
                raise ValueError(msg)
            # A lone value gets room to both sides.
            margin = max((high / low) ** _MARGIN_SHARE, 1.05 if high > low else 1.6)
            return cls(low=low / margin, high=high * margin, start=start, end=end, logarithmic=True)
        low = min(low, 0.0) if axis.from_zero else low
        margin = (high - low) * _MARGIN_SHARE or abs(high) * 0.1 or 1.0
        below = 0.0 if axis.from_zero and low == 0 else margin
        return cls(low=low - below, high=high + margin, start=start, end=end, logarithmic=False)

    def place(self, value: float) -> float:
        low, high = self._even(self.low), self._even(self.high)
        return self.start + (self._even(value) - low) / (high - low) * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        if self.logarithmic:
            ticks = self._ticks_of_powers()
            if len(ticks) >= 3:
                return ticks
        return self._even_ticks()

    def _even(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value

    def _ticks_of_powers(self) -> list[float]:
        steps = (1, 2, 5) if math.log10(self.high / self.low) <= _DECADES_WITH_STEPS else (1,)
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        values = (step * 10.0**power for power in powers for step in steps)
        return [value for value in values if self.low <= value <= self.high]

    def _even_ticks(self) -> list[float]:
        rough = (self.high - self.low) / _WANTED_TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
        first = math.ceil(self.low / step)
        # Through whole numbers of steps, so that 0.3 is not 0.30000000000000004.
        return [round(n * step, 12) for n in range(first, math.floor(self.high / step) + 1)]


@dataclass(frozen=True, kw_only=True)
class _Drawn:
    """One series with what tells it from the others."""

    series: Series
    points: tuple[Point, ...]
    names: tuple[str, ...]
    colour: int

    @classmethod
    def of(cls, series: Series, place: int) -> _Drawn:
        finite = [n for n, point in enumerate(series.points) if all(map(math.isfinite, point))]
        return cls(
            series=series,
            points=tuple(series.points[n] for n in finite),
            names=tuple(series.names[n] for n in finite) if series.names else (),
            colour=place if series.colour is None else series.colour,
        )

    @property
    def css(self) -> str:
        return f"s{self.colour % _COLOURS}{' faint' if self.series.faint else ''}"

    @property
    def key(self) -> str:
        """Return the series' entry in the legend."""
        stroke = f'<path class="{self._line_class}" d="M1 8H27"/>' if self.series.joined else ""
        mark = _mark(self.colour, 14, 8) if self.series.marked else ""
        sample = f'<svg class="{self.css}" viewBox="0 0 28 16" width="28" height="16" aria-hidden="true">{stroke}{mark}'
        return f'<span class="key">{sample}</svg>{escape(self.series.label)}</span>'

    @property
    def _line_class(self) -> str:
        return "line" if self.series.marked else "line fit"

    def line(self, across: _Scale, up: _Scale) -> str:
        if not self.series.joined or len(self.points) < 2:
            return ""
        path = "L".join(f"{across.place(x):.1f} {up.place(y):.1f}" for x, y in self.points)
        return f'<path class="{self._line_class} {self.css}" d="M{path}"/>'

    def marks(self, across: _Scale, up: _Scale, x_axis: Axis, y_axis: Axis) -> str:
        if not self.series.marked:
            return ""
        texts = self.names or (self.series.label,) * len(self.points)
        return "".join(
            f'<g class="{self.css}">{_mark(self.colour, across.place(x), up.place(y))}'
            f"<title>{escape(name)}: {escape(x_axis.text(x))}, {escape(y_axis.text(y))}</title></g>"
            for name, (x, y) in zip(texts, self.points, strict=True)
        )


def _grid(across: _Scale, up: _Scale, x: Axis, y: Axis) -> str:
    parts = []
    for value in up.ticks:
        height = up.place(value)
        parts.append(f'<path class="grid" d="M{_LEFT} {height:.1f}H{_RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{height + 4:.1f}" text-anchor="end">{escape(y.text(value))}</text>')
    for value in across.ticks:
        left = across.place(value)
        parts.append(f'<path class="grid" d="M{left:.1f} {_TOP}V{_BOTTOM}"/>')
        parts.append(f'<text x="{left:.1f}" y="{_BOTTOM + 19}" text-anchor="middle">{escape(x.text(value))}</text>')
    middle = (_LEFT + _RIGHT) / 2
    half_way = (_TOP + _BOTTOM) / 2
    parts += [
        f'<path class="axis" d="M{_LEFT} {_TOP}V{_BOTTOM}H{_RIGHT}"/>',
        f'<text class="title" x="{middle:.1f}" y="{_BOTTOM + 44}" text-anchor="middle">{escape(x.title)}</text>',
        f'<text class="title" transform="translate(12 {half_way:.1f}) rotate(-90)" text-anchor="middle">'
        f"{escape(y.title)}</text>",
    ]
    return "".join(parts)


def _names(drawn: Sequence[_Drawn], across: _Scale, up: _Scale) -> Iterator[str]:
    """Write each name where it covers neither a mark nor another name, as far as there is such a place."""
    centres = [(across.place(x), up.place(y)) for one in drawn if one.series.marked for x, y in one.points]
    taken: list[_Box] = [(x - 6, y - 6, x + 6, y + 6) for x, y in centres]
    for one in drawn:
        for name, (x, y) in zip(one.names, one.points, strict=bool(one.names)):
            left, middle = across.place(x), up.place(y)
            width = len(name) * _LETTER_WIDTH
            spots = [_box_of(left + dx, middle + dy, width) for dx, dy in _offsets(width)]
            box = min(spots, key=lambda spot: _covered(spot, taken))  # the first of the best
            taken.append(box)
            yield f'<text class="name" x="{box[0]:.1f}" y="{box[3] - 3:.1f}">{escape(name)}</text>'


def _offsets(width: float) -> Iterator[Point]:
    """Yield where a name may begin, seen from its mark: right, left, above, below, then farther away."""
    for rise in (0.0, -14.0, 14.0, -28.0, 28.0):
        yield 10.0, rise
        yield -10.0 - width, rise
        if rise:
            yield -width / 2, rise


def _box_of(left: float, middle: float, width: float) -> _Box:
    return left, middle - _LETTER_HEIGHT / 2, left + width, middle + _LETTER_HEIGHT / 2


def _covered(box: _Box, taken: Sequence[_Box]) -> float:
    """Return how much of a box lies on others or outside the frame, in square pixels."""
    within = _overlap(box, (_LEFT + 2, _TOP, _RIGHT + 18, _BOTTOM))
    area = (box[2] - box[0]) * (box[3] - box[1])
    return area - within + sum(_overlap(box, other) for other in taken)


def _overlap(a: _Box, b: _Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height)


def _mark(number: int, x: float, y: float) -> str:
    """Draw a disc, a square, a triangle or a diamond; the second four series of a plot get hollow ones."""
    hollow = " hollow" if number % _COLOURS >= _SHAPES else ""
    match number % _SHAPES:
        case 0:
            return f'<circle class="mark{hollow}" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>'
        case 1:
            return f'<path class="mark{hollow}" d="M{x - 4.2:.1f} {y - 4.2:.1f}h8.4v8.4h-8.4z"/>'
        case 2:
            return f'<path class="mark{hollow}" d="M{x:.1f} {y - 5.4:.1f}l5.2 9.4h-10.4z"/>'
        case _:
            return f'<path class="mark{hollow}" d="M{x:.1f} {y - 5.8:.1f}l5.8 5.8l-5.8 5.8l-5.8 -5.8z"/>'

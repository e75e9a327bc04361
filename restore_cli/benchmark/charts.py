"""What is drawn of a report.

Latency against quality, where the manifest tells scores of two networks on the same images; time and memory against
pixels, where several sizes were measured; and throughput against whatever else was varied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from restore_cli.benchmark.growth import Growth, Line, grouped, growths
from restore_cli.benchmark.numbers import brief, memory, mpixels, number, seconds, size
from restore_cli.benchmark.rows import Row
from restore_cli.pages.plot import Axis, Point, Series, plot
from restore_cli.weights.entry import Score

_WIDE_RATIO = 8  # from here on values are easier to tell apart on a logarithmic axis
_LINE_PLACES = 25  # of a straight line, so that it is one on logarithmic axes too

_METRICS = {"psnr": "PSNR, dB", "psnr_y": "PSNR of luma, dB"}
_NUMBERS = {"batch": "images a run", "threads": "CPU threads", "tile": "side of a tile, input pixels"}
_INPUT = Axis(title="input", text=lambda value: brief(mpixels(value * 1e6)), logarithmic=True)
_MEMORY = Axis(title="memory above the loaded process", text=lambda value: brief(memory(value)), logarithmic=True)


def _duration(value: float) -> str:
    return brief(seconds(value))


_Cost = Callable[[Row], float | None]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Hold what a plot shows.

    Attributes:
        title: A phrase.
        x: The axis below.
        y: The axis on the left.
        series: At least one, with at least one point.
        note: A sentence below.
    """

    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    note: str = ""

    @property
    def markup(self) -> str:
        """Return it as markup of a page."""
        return plot(self.series, title=self.title, x=self.x, y=self.y, note=self.note)


def quality_drawings(rows: Sequence[Row]) -> Iterator[Drawing]:
    """Yield a drawing for each set of images on which two networks or more have scores."""
    measured = [row for row in rows if row.measurement is not None]
    subjects: dict[tuple[object, ...], dict[str, Score]] = {}
    for entry in {row.case.entry.id: row.case.entry for row in measured}.values():
        for score in entry.scores:
            if score.metric in _METRICS:
                subject = (score.dataset, _protocol(score), score.metric, score.sigma, entry.scale, entry.channels)
                subjects.setdefault(subject, {})[entry.id] = score
    for scores in subjects.values():
        if len(scores) > 1:
            yield _quality([row for row in measured if row.case.entry.id in scores], scores)


def _protocol(score: Score) -> str:
    return score.protocol.partition(",")[0]  # what stands behind a comma is detail: padding, context


def _quality(rows: Sequence[Row], scores: dict[str, Score]) -> Drawing:
    # At one size, which most of the networks were measured at.
    outputs = [row.case.size for row in rows]
    output = max(outputs, key=outputs.count)
    shown = [row for row in rows if row.case.size == output]
    score, entry = next(iter(scores.values())), shown[0].case.entry
    series = [
        Series(
            label=label,
            points=tuple((_time(row) or 0.0, scores[row.case.entry.id].value) for row in group),
            names=tuple(row.case.entry.id for row in group),
            joined=False,
        )
        for label, group in grouped(shown, but="network").items()
    ]
    latencies = [latency for each in series for latency, _ in each.points]
    factor = f", x{entry.scale}" if entry.scale > 1 else ""
    noise = f", sigma {score.sigma:g}" if score.sigma is not None else ""
    details = dict.fromkeys(f"{each.protocol} ({each.origin})" for each in scores.values())
    return Drawing(
        title=f"{score.dataset}{factor}{noise}",
        x=Axis(
            title=f"latency for {size(output)}",
            text=_duration,
            logarithmic=max(latencies) > _WIDE_RATIO * min(latencies),
        ),
        y=Axis(title=_METRICS[score.metric], text="{:.2f}".format),
        series=tuple(series),
        note=f"Protocol {'; '.join(details)}.",
    )


def size_drawings(rows: Sequence[Row]) -> Iterator[Drawing]:
    """Yield time for each Mpixel and memory against input pixels, where sizes differ."""
    groups = {label: _by_pixels(group) for label, group in grouped(rows, but="size").items()}
    several = {label: group for label, group in groups.items() if len(group) > 1}
    if not several:
        return
    lines = {growth.label: growth for growth in growths(rows)}
    yield Drawing(
        title="Time for each Mpixel of input",
        x=_INPUT,
        y=Axis(title="latency for a Mpixel", text=_duration, from_zero=True),
        series=_over_pixels(several, _time_of_mpixel, lambda _label: ()),
        note="Level: linear. Higher at the left: what every image costs. A step upward: a cliff.",
    )
    series = _over_pixels(several, _memory, lambda label: _memory_line(lines.get(label)))
    if any(each.points for each in series):
        yield Drawing(title="Memory", x=_INPUT, y=_MEMORY, series=series)


def cost_drawing(rows: Sequence[Row]) -> Iterator[Drawing]:
    """Yield latency against FLOPs, for networks that have no scores to be compared by."""
    measured = [row for row in rows if row.measurement is not None]
    if not measured:
        return
    series = [
        Series(
            label=label,
            points=tuple((row.case.batch * row.counts.flops / 1e9, _time(row) or 0.0) for row in group),
            names=tuple(row.case.entry.id for row in group),
            joined=False,
        )
        for label, group in grouped(measured, but="network").items()
    ]
    yield Drawing(
        title="Latency against arithmetic",
        x=Axis(title="FLOPs of a run, G", text=lambda value: brief(number(value)), from_zero=True),
        y=Axis(title="latency", text=_duration, from_zero=True),
        series=tuple(series),
        note="On one line through the corner: equally fast for the arithmetic. Lower is better.",
    )


def _by_pixels(rows: Iterable[Row]) -> list[Row]:
    return list({row.input_pixels: row for row in sorted(rows, key=lambda row: row.input_pixels)}.values())


def _over_pixels(
    groups: dict[str, list[Row]], cost: _Cost, line: Callable[[str], tuple[Point, ...]]
) -> tuple[Series, ...]:
    """Return what each group costs at each size, and faintly the line through it where there is one."""
    drawn = []
    for colour, (label, rows) in enumerate(groups.items()):
        if points := line(label):
            drawn.append(Series(label="", points=points, marked=False, faint=True, colour=colour))
        costs = tuple((row.input_pixels / 1e6, value) for row in rows if (value := cost(row)))
        drawn.append(Series(label=label, points=costs, colour=colour))
    return tuple(drawn)


def _memory_line(growth: Growth | None) -> tuple[Point, ...]:
    return () if growth is None or growth.memory is None else _line_points(growth, growth.memory)


def _line_points(growth: Growth, line: Line) -> tuple[Point, ...]:
    low, high = (growth.rows[place].input_pixels for place in (0, -1))
    pixels = [low * (high / low) ** (step / (_LINE_PLACES - 1)) for step in range(_LINE_PLACES)]
    # A line that begins below 0 has no place on a logarithmic axis there.
    return tuple((value / 1e6, line.at(value)) for value in pixels if line.at(value) > 0)


def sweep_drawings(rows: Sequence[Row]) -> Iterator[Drawing]:
    """Yield throughput and memory against batch, threads and tile, whichever were varied."""
    for name, title in _NUMBERS.items():
        groups = grouped(rows, but=name)
        if max((len({_condition(row, name) for row in group}) for group in groups.values()), default=0) < 2:
            continue
        axis = Axis(title=title, text="{:g}".format, from_zero=True)
        rate = Axis(title="output, Mpixel/s", text=lambda value: brief(number(value)), from_zero=True)
        yield Drawing(title=f"Throughput against {name}", x=axis, y=rate, series=_over_condition(groups, name, _rate))
        series = _over_condition(groups, name, _memory)
        if any(each.points for each in series):
            held = Axis(title=_MEMORY.title, text=_MEMORY.text, from_zero=True)
            yield Drawing(title=f"Memory against {name}", x=axis, y=held, series=series)


def _over_condition(groups: dict[str, list[Row]], name: str, cost: _Cost) -> tuple[Series, ...]:
    drawn = []
    for label, rows in groups.items():
        costs = [(_condition(row, name), cost(row)) for row in rows]
        points = sorted((at, value) for at, value in costs if at is not None and value is not None)
        drawn.append(Series(label=label, points=tuple(points)))
    return tuple(drawn)


def _condition(row: Row, name: str) -> float | None:
    """Return a condition as a number, None where it is none ("auto", "off")."""
    value = {"batch": row.case.batch, "threads": row.case.threads, "tile": row.case.tile}[name]
    return float(value) if isinstance(value, int) else None


def _time(row: Row) -> float | None:
    return None if row.measurement is None else row.measurement.timing.median


def _time_of_mpixel(row: Row) -> float | None:
    time = _time(row)
    return None if time is None else time / (row.input_pixels / 1e6)


def _memory(row: Row) -> float | None:
    """Return bytes; None where nothing told them, or nothing was needed beyond what was there."""
    if row.measurement is None or row.measurement.memory is None:
        return None
    return float(row.measurement.memory.above_loaded_bytes) or None


def _rate(row: Row) -> float | None:
    time = _time(row)
    return None if time is None else row.output_pixels / 1e6 / time

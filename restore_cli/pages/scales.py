"""Axes of charts: which numbers are written beside them, and where a value lies between their ends."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_TICKS_WANTED = 5
_LOG_TICKS_FEWEST = 3
_ROOM = 0.04
_SUFFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_PLAIN_BELOW = 10_000.0
_SMALLEST_PLAIN = 1e-4


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Say what an axis shows.

    Attributes:
        title: Quantity and unit.
        logarithmic: Whether equal ratios, not equal differences, are equally far apart; all values are above 0 then.
        from_zero: Whether 0 is shown, however far from the values; not for a logarithmic axis.
    """

    title: str
    logarithmic: bool = False
    from_zero: bool = False

    def accepts(self, value: float) -> bool:
        """Tell whether a value has a place on the axis."""
        return math.isfinite(value) and (value > 0 or not self.logarithmic)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Place values between the ends of an axis.

    Attributes:
        low: Value at the beginning.
        high: Value at the end, above `low`.
        logarithmic: As of the axis.
    """

    low: float
    high: float
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """Return where a value lies: 0 at the beginning, 1 at the end."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> tuple[float, ...]:
        """Return round values to be written beside the axis, in order."""
        if self.logarithmic:
            for mantissas in ((1,), (1, 3), (1, 2, 5)):
                found = self._within(_decades(self.low, self.high, mantissas))
                if len(found) >= _LOG_TICKS_FEWEST:
                    return found
        step = _round_step((self.high - self.low) / _TICKS_WANTED)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return tuple(number * step for number in range(first, last + 1))

    def _within(self, values: Iterable[float]) -> tuple[float, ...]:
        return tuple(value for value in values if self.low <= value <= self.high)


def scale_for(axis: Axis, values: Sequence[float]) -> Scale:
    """Return a scale with a little room around values that the axis accepts; any at all where there are none."""
    low, high = (min(values), max(values)) if values else (1.0, 2.0)
    if axis.logarithmic:
        room = max((high / low) ** _ROOM, 1.02)
        return Scale(low=low / room, high=high * room, logarithmic=True)
    if axis.from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    room = _ROOM * (high - low) or 0.5 * abs(high) or 1.0
    return Scale(
        low=low if axis.from_zero and low == 0.0 else low - room,
        high=high if axis.from_zero and high == 0.0 else high + room,
    )


def written(ticks: Sequence[float]) -> tuple[str, ...]:
    """Write the numbers of an axis, as short as tells them apart and all in the same unit.

    Example:
        >>> written([37.0, 37.25]), written([0, 50000, 100000]), written([0.0002, 0.0004])
        (('37', '37.25'), ('0', '50k', '100k'), ('0.0002', '0.0004'))
    """
    largest = max(map(abs, ticks), default=0.0)
    spacing = min((after - before for before, after in itertools.pairwise(ticks)), default=largest)
    units = ((unit, suffix) for unit, suffix in _SUFFIXES if largest >= max(unit, _PLAIN_BELOW))
    unit, suffix = next(units, (1.0, ""))
    return tuple(_short(tick, spacing, unit, suffix) for tick in ticks)


def _short(value: float, spacing: float, unit: float, suffix: str) -> str:
    if value == 0.0:
        return "0"
    if abs(value) < _SMALLEST_PLAIN:
        return f"{value:.2g}".replace("e-0", "e-")
    return f"{_decimal(value / unit, spacing / unit)}{suffix}"


def _decimal(value: float, spacing: float) -> str:
    # Two digits more than the spacing's first: 0.25 needs them, and zeros at the end are taken off again.
    places = max(0, 1 - math.floor(math.log10(spacing))) if spacing > 0 else 6
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _round_step(least: float) -> float:
    """Return the smallest 1, 2, 2.5 or 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next((factor * power for factor in (1.0, 2.0, 2.5, 5.0) if factor * power >= least), 10.0 * power)


def _decades(low: float, high: float, mantissas: Sequence[int]) -> Iterable[float]:
    for exponent in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        for mantissa in mantissas:
            yield mantissa * 10.0**exponent

"""Figures as people read them: three digits or so, and the unit that needs no zeros."""

from __future__ import annotations

import re
from collections.abc import Sequence

NOTHING = "-"


def number(value: float | None) -> str:
    """Write a number with about three digits.

    Example:
        >>> number(0.01234), number(7.5), number(69.71), number(1234.5), number(None)
        ('0.0123', '7.50', '69.7', '1,234', '-')
    """
    if value is None:
        return NOTHING
    if abs(value) < 1:
        return f"{value:.3g}"
    decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{decimals}f}"


def brief(figure: str) -> str:
    """Take the zeros off the end of a number's decimals, as round numbers beside an axis need none.

    Example:
        >>> brief("10.0 s"), brief("1.50 GB"), brief("1,200 ms"), brief("0.0492 Mpixel")
        ('10 s', '1.5 GB', '1,200 ms', '0.0492 Mpixel')
    """
    return re.sub(r"(\.\d*?)0+\b", r"\1", figure).replace(". ", " ")


def giga(value: int | None) -> str:
    """Write a count in thousands of millions."""
    return NOTHING if value is None else f"{value / 1e9:,.2f} G"


def seconds(value: float | None) -> str:
    """Write a duration.

    Example:
        >>> seconds(0.0123), seconds(12.34)
        ('12.3 ms', '12.3 s')
    """
    if value is None:
        return NOTHING
    return f"{number(value)} s" if abs(value) >= 1 else f"{number(value * 1e3)} ms"


def memory(value: float | None) -> str:
    """Write bytes.

    Example:
        >>> memory(250_000_000), memory(2_500_000_000)
        ('250 MB', '2.50 GB')
    """
    if value is None:
        return NOTHING
    return f"{value / 1e9:.2f} GB" if abs(value) >= 1e9 else f"{value / 1e6:.0f} MB"


def joules(value: float | None) -> str:
    """Write an energy."""
    return NOTHING if value is None else f"{number(value)} J"


def percent(share: float | None) -> str:
    """Write a share as a whole number of percent, without the sign."""
    return NOTHING if share is None else f"{100 * share:.0f}"


def mpixels(pixels: float) -> str:
    """Write a number of pixels.

    Example:
        >>> mpixels(49_152), mpixels(15_925_248)
        ('0.0492 Mpixel', '15.9 Mpixel')
    """
    return f"{number(pixels / 1e6)} Mpixel"


def span(values: Sequence[float]) -> str:
    """Write the least and the largest of some numbers, or the one they all are."""
    low, high = number(min(values)), number(max(values))
    return low if low == high else f"{low} to {high}"


def size(height_width: Sequence[int]) -> str:
    """Write (height, width) as people do, the width first."""
    return f"{height_width[1]}x{height_width[0]}"

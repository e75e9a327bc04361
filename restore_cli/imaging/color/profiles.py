"""Colour profiles built from numbers: the two that converted images carry, and those of colours coded otherwise.

Stages 3 and 7, READ and WRITE. sRGB, and gray with sRGB's tone curve, are built here, as ICC.1:2022 describes them,
because Pillow makes none for gray and dates those it makes, so that the same image would give other bytes each
second.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt

_D50 = (0.9642, 1.0, 0.8249)
# sRGB's primaries (IEC 61966-2-1), adapted from D65 to D50 by Bradford, as XYZ.
_PRIMARIES = {
    b"rXYZ": (0.4360747, 0.2225045, 0.0139322),
    b"gXYZ": (0.3850649, 0.7168786, 0.0971045),
    b"bXYZ": (0.1430804, 0.0606169, 0.7141733),
}
_BRADFORD_D65_TO_D50 = (
    1.0478112, 0.0228866, -0.0501270, 0.0295424, 0.9904844, -0.0170491, -0.0092345, 0.0150436, 0.7521316,
)  # fmt: skip
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_CHROMATICITY_TOLERANCE = 0.002

Chromaticity = tuple[float, float]
"""CIE x and y."""

Curve = tuple[float, ...]
"""From samples to light: a power alone, or g, a, b, c, d of (a * x + b) ** g above d and c * x below."""

SRGB_CURVE: Curve = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_KIND_BY_PARAMETERS = {1: 0, 5: 3}


@dataclass(frozen=True, kw_only=True)
class Primaries:
    """Hold the white and the three lights of an RGB space."""

    white: Chromaticity
    red: Chromaticity
    green: Chromaticity
    blue: Chromaticity

    def is_close_to(self, other: Primaries) -> bool:
        """Return whether they are the same but for rounding."""
        distance = np.abs(np.array(astuple(self)) - np.array(astuple(other)))
        return bool(distance.max() <= _CHROMATICITY_TOLERANCE)


def power_curve(power: float) -> Curve:
    """Return the curve of a plain power."""
    return (power,)


@cache
def srgb_profile() -> bytes:
    """Return an ICC profile of sRGB for RGB pixels; the same bytes each time."""
    return _rgb_profile("sRGB", _PRIMARIES, SRGB_CURVE)


@cache
def gray_profile() -> bytes:
    """Return an ICC profile of gray with sRGB's tone curve; the same bytes each time."""
    return _profile(b"GRAY", "sRGB gray", {b"kTRC": _parametric_curve(SRGB_CURVE)})


@lru_cache(maxsize=16)
def rgb_profile(primaries: Primaries, curve: Curve) -> bytes:
    """Return an ICC profile of an RGB space, its white adapted to D50 by Bradford (ICC.1:2022, annex E).

    Raises:
        ValueError: If white is no mixture of the three lights.
    """
    lights = np.array([_of_unit_luminance(xy) for xy in (primaries.red, primaries.green, primaries.blue)]).T
    white = _of_unit_luminance(primaries.white)
    try:
        amounts = np.linalg.solve(lights, white)
    except np.linalg.LinAlgError:
        amounts = np.zeros(3)
    cones = _BRADFORD @ white
    if not (np.isfinite(amounts).all() and amounts.min() > 0 and cones.min() > 0):
        msg = "these chromaticities span no colours"
        raise ValueError(msg)
    adaptation = np.linalg.solve(_BRADFORD, np.diag(_BRADFORD @ _D50 / cones) @ _BRADFORD)
    columns = (adaptation @ (lights * amounts)).T
    return _rgb_profile("RGB", {tag: tuple(xyz) for tag, xyz in zip(_PRIMARIES, columns, strict=True)}, curve)


def _of_unit_luminance(xy: Chromaticity) -> npt.NDArray[np.float64]:
    x, y = xy
    if y <= 0:
        msg = "a chromaticity without luminance"
        raise ValueError(msg)
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _rgb_profile(description: str, colorants: Mapping[bytes, tuple[float, ...]], curve: Curve) -> bytes:
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _parametric_curve(curve))
    return _profile(b"RGB ", description, {tag: _xyz(*xyz) for tag, xyz in colorants.items()} | curves)


def _profile(space: bytes, description: str, tags: dict[bytes, bytes]) -> bytes:
    """Lay out header, tag table and tags of a version 4 display profile; equal tags are stored once."""
    tags = {
        b"desc": _text(description),
        b"cprt": _text("Public domain"),
        b"wtpt": _xyz(*_D50),
        b"chad": b"sf32\0\0\0\0" + _fixed(*_BRADFORD_D65_TO_D50),
        **tags,
    }
    table, body, places = b"", b"", {}
    start = 128 + 4 + 12 * len(tags)
    for tag, data in tags.items():
        if data not in places:
            places[data] = start + len(body)
            body += data + b"\0" * (-len(data) % 4)
        table += struct.pack(">4sII", tag, places[data], len(data))
    header = struct.pack(
        ">I4sI4s4s4s6H4s4sII4sIII12s",
        start + len(body), b"\0" * 4, 0x04300000, b"mntr", space, b"XYZ ",
        2000, 1, 1, 0, 0, 0, b"acsp", b"\0" * 4, 0, 0, b"\0" * 4, 0, 0, 0, _fixed(*_D50),
    )  # fmt: skip
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return struct.pack(">4sIII2s2sII", b"mluc", 0, 1, 12, b"en", b"US", len(encoded), 28) + encoded


def _xyz(*xyz: float) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(*xyz)


def _parametric_curve(curve: Curve) -> bytes:
    return struct.pack(">4sIHH", b"para", 0, _KIND_BY_PARAMETERS[len(curve)], 0) + _fixed(*curve)


def _fixed(*values: float) -> bytes:
    """Write numbers as ICC's signed 15.16 fixed point."""
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))

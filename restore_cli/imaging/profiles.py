"""The two colour profiles that converted pictures carry: sRGB, and gray with sRGB's tone curve.

Stages 3 and 7, READ and WRITE. They are built here, as ICC.1:2022 describes them, because Pillow makes none for gray
and dates those it makes, so that the same picture would give other bytes each second.
"""

from __future__ import annotations

import struct
from functools import cache

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
# (a * x + b) ** g above d, c * x below: the parameters g, a, b, c, d of sRGB's curve.
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_PARAMETRIC_CURVE_WITH_LINEAR_START = 3


@cache
def srgb_profile() -> bytes:
    """Return an ICC profile of sRGB for RGB pixels; the same bytes each time."""
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _parametric_curve())
    colorants = {tag: _xyz(*values) for tag, values in _PRIMARIES.items()}
    return _profile(b"RGB ", "sRGB", colorants | curves)


@cache
def gray_profile() -> bytes:
    """Return an ICC profile of gray with sRGB's tone curve; the same bytes each time."""
    return _profile(b"GRAY", "sRGB gray", {b"kTRC": _parametric_curve()})


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


def _xyz(x: float, y: float, z: float) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(x, y, z)


def _parametric_curve() -> bytes:
    return struct.pack(">4sIHH", b"para", 0, _PARAMETRIC_CURVE_WITH_LINEAR_START, 0) + _fixed(*_SRGB_CURVE)


def _fixed(*values: float) -> bytes:
    """Write numbers as ICC's signed 15.16 fixed point."""
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))

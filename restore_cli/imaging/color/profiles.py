"""Colour profiles built from numbers: the two of converted images, and those of files that name colours by codes.

Stages 3 and 7, READ and WRITE. sRGB, and gray with sRGB's tone curve, are built here, as ICC.1:2022 describes them,
because Pillow makes none for gray and dates those it makes, so that the same image would give other bytes each
second.

PNG's cICP, cHRM and gAMA chunks (PNG, third edition, section 11.3.2) and the colour box of AVIF and HEIF give code
points of ITU-T H.273, or chromaticities and a power. Made into a profile they go through the one rule of `srgb`.
Numbers that mean sRGB, or as good as that, give none: the image is untagged, as most are.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
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
        mine, others = ((*p.white, *p.red, *p.green, *p.blue) for p in (self, other))
        return all(abs(a - b) <= _CHROMATICITY_TOLERANCE for a, b in zip(mine, others, strict=True))


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


_D65 = (0.3127, 0.3290)
SRGB_PRIMARIES = Primaries(white=_D65, red=(0.64, 0.33), green=(0.30, 0.60), blue=(0.15, 0.06))

_SMPTE_C = Primaries(white=_D65, red=(0.630, 0.340), green=(0.310, 0.595), blue=(0.155, 0.070))

_UNSPECIFIED = 2
# H.273, table 2.
_PRIMARIES_BY_CODE = {
    1: SRGB_PRIMARIES,
    4: Primaries(white=(0.310, 0.316), red=(0.67, 0.33), green=(0.21, 0.71), blue=(0.14, 0.08)),
    5: Primaries(white=_D65, red=(0.64, 0.33), green=(0.29, 0.60), blue=(0.15, 0.06)),
    6: _SMPTE_C,
    7: _SMPTE_C,
    9: Primaries(white=_D65, red=(0.708, 0.292), green=(0.170, 0.797), blue=(0.131, 0.046)),
    11: Primaries(white=(0.314, 0.351), red=(0.680, 0.320), green=(0.265, 0.690), blue=(0.150, 0.060)),
    12: Primaries(white=_D65, red=(0.680, 0.320), green=(0.265, 0.690), blue=(0.150, 0.060)),
    22: Primaries(white=_D65, red=(0.630, 0.340), green=(0.295, 0.605), blue=(0.155, 0.077)),
}
# H.273, table 3. The curves of video cameras (1, 6, 14, 15) are undone by displays, not by their inverses: what was
# coded with them is looked at as if it were sRGB, by browsers too.
_CURVE_BY_CODE = {1: SRGB_CURVE, 6: SRGB_CURVE, 13: SRGB_CURVE, 14: SRGB_CURVE, 15: SRGB_CURVE}
_CURVE_BY_CODE |= {4: power_curve(2.2), 5: power_curve(2.8), 8: power_curve(1.0)}
_HIGH_RANGE = {16: "PQ", 18: "HLG"}

_COLOR_BOX = b"colrnclx"
_PROFILE_BOXES = (b"colrprof", b"colrrICC")

# gAMA of 1/2.2 is what programs write that mean sRGB; nearer than this nothing is corrected, as libpng has it.
_USUAL_POWER, _USUAL_WITHIN = 2.2, 0.05
_POWERS = (0.1, 10.0)
_AS_SRGB = "they are taken for sRGB"


@dataclass(frozen=True, kw_only=True)
class CodedColor:
    """Hold what a file's numbers mean.

    Attributes:
        icc_profile: The RGB profile that says the same; None for sRGB and for what is not known.
        warning: Why colours will not come out as meant, or None.
    """

    icc_profile: bytes | None = None
    warning: str | None = None


def color_of_codes(primaries: int, transfer: int, *, full_range: bool = True) -> CodedColor:
    """Look up code points of ITU-T H.273; unspecified ones are sRGB's.

    Args:
        primaries: ColourPrimaries.
        transfer: TransferCharacteristics.
        full_range: Whether samples fill their range, after a decoder's conversion to RGB.
    """
    if transfer in _HIGH_RANGE:
        return CodedColor(warning=f"its colours are coded for high dynamic range ({_HIGH_RANGE[transfer]}): {_AS_SRGB}")
    basis = SRGB_PRIMARIES if primaries == _UNSPECIFIED else _PRIMARIES_BY_CODE.get(primaries)
    curve = SRGB_CURVE if transfer == _UNSPECIFIED else _CURVE_BY_CODE.get(transfer)
    if basis is None or curve is None or not full_range:
        kind = "" if full_range else ", video range"
        return CodedColor(
            warning=f"its colours are coded in an unusual way ({primaries}, {transfer}{kind}): {_AS_SRGB}"
        )
    return CodedColor(icc_profile=_profile_unless_srgb(basis, curve))


def color_of_boxes(head: bytes) -> CodedColor:
    """Look up the colour box of an AVIF or HEIF file; where a profile is embedded, that counts.

    Args:
        head: The first bytes of the file, its properties among them.
    """
    place = head.find(_COLOR_BOX)
    codes = head[place + len(_COLOR_BOX) :][:4]
    if place < 0 or len(codes) < 4 or any(box in head for box in _PROFILE_BOXES):
        return CodedColor()
    return color_of_codes(int.from_bytes(codes[:2], "big"), int.from_bytes(codes[2:], "big"))


def color_of_power(power: float | None, primaries: Primaries | None) -> CodedColor:
    """Make what PNG's gAMA and cHRM say a profile.

    Args:
        power: Exponent from samples to light, the inverse of gAMA's; None for sRGB's curve.
        primaries: Chromaticities of cHRM; None for sRGB's.

    Raises:
        ValueError: If the power is none that an image can have, or the chromaticities span no colours.
    """
    curve = SRGB_CURVE
    if power is not None:
        if not _POWERS[0] <= power <= _POWERS[1]:
            msg = f"no image has a power of {power}"
            raise ValueError(msg)
        if abs(power / _USUAL_POWER - 1) > _USUAL_WITHIN:
            curve = power_curve(power)
    return CodedColor(icc_profile=_profile_unless_srgb(primaries or SRGB_PRIMARIES, curve))


def _profile_unless_srgb(primaries: Primaries, curve: Curve) -> bytes | None:
    near = primaries.is_close_to(SRGB_PRIMARIES)
    return None if near and curve == SRGB_CURVE else rgb_profile(primaries, curve)

"""Colours that a file names by numbers instead of a profile, as the profile that says the same.

Stage 3, READ. PNG's cICP, cHRM and gAMA chunks (PNG, third edition, section 11.3.2) and the colour box of AVIF and HEIF
give code points of ITU-T H.273 or chromaticities and a power. Made into a profile they go through the one rule of
`color`. Numbers that mean sRGB, or as good as that, give none: the image is untagged, as most are.
"""

from __future__ import annotations

from dataclasses import dataclass

from restore_cli.imaging.color.profiles import SRGB_CURVE, Curve, Primaries, power_curve, rgb_profile

_D65 = (0.3127, 0.3290)
SRGB_PRIMARIES = Primaries(white=_D65, red=(0.64, 0.33), green=(0.30, 0.60), blue=(0.15, 0.06))

_SMPTE_C = Primaries(white=_D65, red=(0.630, 0.340), green=(0.310, 0.595), blue=(0.155, 0.070))

_UNSPECIFIED = 2
# H.273, table 2.
_PRIMARIES = {
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
_CURVES = {1: SRGB_CURVE, 6: SRGB_CURVE, 13: SRGB_CURVE, 14: SRGB_CURVE, 15: SRGB_CURVE}
_CURVES |= {4: power_curve(2.2), 5: power_curve(2.8), 8: power_curve(1.0)}
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
    basis = SRGB_PRIMARIES if primaries == _UNSPECIFIED else _PRIMARIES.get(primaries)
    curve = SRGB_CURVE if transfer == _UNSPECIFIED else _CURVES.get(transfer)
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

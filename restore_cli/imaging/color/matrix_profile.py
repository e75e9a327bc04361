"""RGB profiles of three primaries and three curves, applied to 16-bit samples.

Stage 3, READ. Pillow's colour engine converts RGB at 8 bits only. What 16-bit images carry (Adobe RGB, ProPhoto, P3,
a scanner's own) is almost always a matrix with curves, which ICC.1:2022, section 8.3 describes in a page.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

_LEVELS = 65536
_MATRIX_TAGS, _CURVE_TAGS = (b"rXYZ", b"gXYZ", b"bXYZ"), (b"rTRC", b"gTRC", b"bTRC")
_TABLES = {b"A2B0", b"A2B1", b"D2B0", b"D2B1"}
# sRGB's primaries (IEC 61966-2-1), adapted from D65 to D50 by Bradford, as columns of XYZ.
_SRGB_TO_XYZ = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
# Parameters in a parametric curve of each kind, 0 to 4.
_PARAMETERS = (1, 3, 4, 5, 7)
_ROWS_AT_ONCE_PIXELS = 1 << 18


@dataclass(frozen=True, kw_only=True)
class MatrixProfile:
    """Hold an RGB profile as numbers.

    Attributes:
        curves: float32 (3, 65536), linear light of each level of each channel.
        matrix: float32 (3, 3), linear light to linear sRGB.
    """

    curves: npt.NDArray[np.float32]
    matrix: npt.NDArray[np.float32]

    def to_srgb(self, samples: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
        """Convert uint16 (H, W, 3) to sRGB's encoding, colours outside it clipped."""
        converted = np.empty_like(samples)
        rows = max(1, _ROWS_AT_ONCE_PIXELS // samples.shape[1])
        for top in range(0, samples.shape[0], rows):
            band = samples[top : top + rows]
            linear = np.stack([self.curves[channel][band[..., channel]] for channel in range(3)], axis=-1)
            encoded = _srgb_encoded(np.clip(linear @ self.matrix.T, 0.0, 1.0))
            converted[top : top + rows] = np.rint(encoded * np.float32(_LEVELS - 1))
        return converted


@lru_cache(maxsize=4)
def read_matrix_profile(profile: bytes) -> MatrixProfile | None:
    """Read an RGB profile; None if it is no such (a table of colours, or broken)."""
    try:
        tags = _tags(profile)
        if profile[16:24] != b"RGB XYZ " or _TABLES & tags.keys() or not {*_MATRIX_TAGS, *_CURVE_TAGS} <= tags.keys():
            return None
        columns = [[value / 65536 for value in struct.unpack_from(">3i", tags[tag], 8)] for tag in _MATRIX_TAGS]
        curves = np.stack([_curve(tags[tag]) for tag in _CURVE_TAGS]).astype(np.float32)
    except (struct.error, ValueError, ZeroDivisionError, OverflowError):
        return None
    matrix = np.linalg.solve(_SRGB_TO_XYZ, np.array(columns).T).astype(np.float32)
    return MatrixProfile(curves=curves, matrix=matrix) if np.isfinite(curves).all() else None


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    tags = {}
    for number in range(min(count, 256)):
        name, start, length = struct.unpack_from(">4sII", profile, 132 + 12 * number)
        tags[name] = profile[start : start + length]
    return tags


def _curve(data: bytes) -> npt.NDArray[np.floating]:
    """Return the linear light of each 16-bit level."""
    levels = np.linspace(0.0, 1.0, _LEVELS)
    if data[:4] == b"para":
        (kind,) = struct.unpack_from(">H", data, 8)
        if kind >= len(_PARAMETERS):
            raise ValueError(kind)
        count = _PARAMETERS[kind]
        return _parametric(kind, [v / 65536 for v in struct.unpack_from(f">{count}i", data, 12)], levels)
    if data[:4] != b"curv":
        raise ValueError(data[:4])
    (count,) = struct.unpack_from(">I", data, 8)
    if count == 0:
        return levels
    points = np.array(struct.unpack_from(f">{count}H", data, 12))
    if count == 1:
        return np.asarray(levels ** (points[0] / 256))
    return np.interp(levels, np.linspace(0.0, 1.0, count), points / 65535)


def _parametric(kind: int, values: list[float], levels: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Evaluate one of ICC's five formulas, each a power above a point and a line or nothing below."""
    gamma, a, b, c, d, e, f = 1.0, 1.0, 0.0, 0.0, -1.0, 0.0, 0.0
    if kind == 0:
        (gamma,) = values
    elif kind in (1, 2):
        gamma, a, b = values[:3]
        e = f = values[3] if kind == 2 else 0.0
        d = -b / a
    else:
        gamma, a, b, c, d = values[:5]
        e, f = values[5:] if kind == 4 else (0.0, 0.0)
    above = np.maximum(a * levels + b, 0.0) ** gamma + e
    return np.clip(np.where(levels >= d, above, c * levels + f), 0.0, 1.0)


def _srgb_encoded(linear: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    power = np.float32(1.055) * linear ** np.float32(1 / 2.4) - np.float32(0.055)
    return np.where(linear <= np.float32(0.0031308), linear * np.float32(12.92), power)

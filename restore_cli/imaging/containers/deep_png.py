"""PNG of 16-bit colour written: Pillow has no image of three 16-bit channels.

Stage 7, WRITE. Rows are filtered with numpy, each by whichever of three filters leaves the smallest differences, as
the PNG specification suggests, and deflated in bands, so that memory stays at a few bands beside the image.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_SUB, _UP, _AVERAGE = 1, 2, 3
_LEVEL = 6
_BAND_BYTES = 4 << 20


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def write_deep_png(samples: npt.NDArray[np.uint16], ancillary: Iterable[bytes]) -> bytes:
    """Write a PNG of 16 bits a channel.

    Args:
        samples: uint16 (H, W, C), C = 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA.
        ancillary: Whole chunks to stand before the pixels.

    Returns:
        The file.
    """
    height, width, channels = samples.shape
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, _COLOR_TYPES[channels], 0, 0, 0))
    parts = [_SIGNATURE, header, *ancillary]
    stream = zlib.compressobj(_LEVEL)
    row_bytes = width * channels * 2
    above = np.zeros((1, row_bytes), np.uint8)
    rows = max(1, _BAND_BYTES // row_bytes)
    for top in range(0, height, rows):
        band = samples[top : top + rows].astype(">u2").reshape(-1, width * channels).view(np.uint8)
        packed = stream.compress(_filtered(band, above, channels * 2))
        if packed:
            parts.append(chunk(b"IDAT", packed))
        above = band[-1:]
    parts += [chunk(b"IDAT", stream.flush()), chunk(b"IEND", b"")]
    return b"".join(parts)


def _filtered(rows: npt.NDArray[np.uint8], above: npt.NDArray[np.uint8], pixel: int) -> bytes:
    """Return rows of bytes, each behind the number of its filter."""
    up = np.concatenate([above, rows[:-1]])
    left = np.zeros_like(rows)
    left[:, pixel:] = rows[:, :-pixel]
    average = ((left.astype(np.uint16) + up) >> 1).astype(np.uint8)
    kinds = {_SUB: rows - left, _UP: rows - up, _AVERAGE: rows - average}
    costs = np.stack([np.abs(coded.view(np.int8).astype(np.int16)).sum(axis=1) for coded in kinds.values()])
    best = costs.argmin(axis=0)
    out = np.empty((rows.shape[0], 1 + rows.shape[1]), np.uint8)
    for place, (kind, coded) in enumerate(kinds.items()):
        chosen = best == place
        out[chosen, 0] = kind
        out[chosen, 1:] = coded[chosen]
    return out.tobytes()

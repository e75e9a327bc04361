"""Image files made for the tests: Pillow's where it can write them, built chunk by chunk where it cannot."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

Uint8 = npt.NDArray[np.uint8]


def pattern(height: int = 20, width: int = 28, channels: int = 3, seed: int = 0) -> Uint8:
    """Return a smooth image with some noise: compressible, but no two rows or columns alike."""
    random = np.random.default_rng(seed)
    ramp = np.add.outer(np.arange(height) * 5.0, np.arange(width) * 3.0)[..., np.newaxis]
    return np.clip(ramp + 20 * np.arange(channels) + random.integers(0, 25, (height, width, channels)), 0, 255).astype(
        np.uint8
    )


def saved(image: Image.Image | npt.NDArray[Any], format_name: str, **options: Any) -> bytes:
    """Return the bytes Pillow writes."""
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, format_name, **options)
    return buffer.getvalue()


def opened(data: bytes) -> Image.Image:
    """Return the image as Pillow reads it, independently of our gate."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return a PNG chunk with its checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, bits: int, color_type: int, rows: list[bytes], *chunks: bytes) -> bytes:
    """Build a PNG of any bit depth and colour type from packed rows; `chunks` go before the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def packed(levels: npt.NDArray[np.integer[Any]], bits: int) -> list[bytes]:
    """Pack samples of 1, 2, 4, 8 or 16 bits into rows, the first in the highest bits."""
    if bits == 16:
        return [row.astype(">u2").tobytes() for row in levels]
    rows = []
    for row in levels:
        digits = "".join(f"{int(level):0{bits}b}" for level in row)
        digits = digits.ljust(-(-len(digits) // 8) * 8, "0")
        rows.append(bytes(int(digits[start : start + 8], 2) for start in range(0, len(digits), 8)))
    return rows


def exif_with(**tags: Any) -> bytes:
    """Return an EXIF block of first-directory tags given by Pillow's names, plus a date and a size in the second."""
    from PIL import ExifTags

    block = Image.Exif()
    for name, value in tags.items():
        block[int(ExifTags.Base[name])] = value
    details = block.get_ifd(ExifTags.IFD.Exif)
    details[int(ExifTags.Base.DateTimeOriginal)] = "2021:05:04 03:02:01"
    details[int(ExifTags.Base.ExifImageWidth)] = 4321
    return block.tobytes()


@cache
def builtin_srgb() -> bytes:
    """Return the sRGB profile of Pillow's own colour engine: not our bytes, the same colours.

    It carries the second it was made in, so it is made once.
    """
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

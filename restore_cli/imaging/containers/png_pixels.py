"""Pixels of PNG files that Pillow cuts or makes up: 16-bit colour read in full, and streams that end early told.

Stage 3, READ, behind `png`, which has taken the file apart. Pillow hands out the upper 8 bits of 16-bit colour, so
samples of 16 bits come from two passes; and it fills rows that nobody stored with black.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import PngImagePlugin

from restore_cli.imaging.containers.png import CHANNELS, GRAY, GRAY_ALPHA, RGB, RGBA, SIGNATURE, read_png_header

_INTERLACE_OFFSET = 28
# First row, first column, and steps down and across of each pass.
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
_INFLATED_BYTES = 1 << 18  # at a time


def is_deep_color_png(core: bytes) -> bool:
    """Return whether a PNG has 16 bits a channel and more than one channel."""
    _, _, bits, color_type = read_png_header(core)
    return bits == 16 and color_type != GRAY


def read_deep_png(core: bytes) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.float32] | None]:
    """Decode a PNG of 16-bit colour, or gray with alpha.

    Pillow has no such mode, but ways to unpack such samples: the one for the other byte order yields their lower bytes,
    so that its C code does the work, in twice the time of a plain read.

    Args:
        core: As `dissect_png` left it.

    Returns:
        uint16 (H, W, C), C = 1 or 3, and alpha float32 (H, W) in [0, 1] or None.
    """
    color_type = read_png_header(core)[3]
    if color_type == GRAY_ALPHA:
        pairs = _unpacked(core, "RGBA")  # four bytes a pixel, as they lie in the file
        samples = pairs.view(">u2").astype(np.uint16)
    else:
        name = "RGBA" if color_type == RGBA else "RGB"
        high, low = _unpacked(core, f"{name};16B"), _unpacked(core, f"{name};16L")
        samples = np.left_shift(high, 8, dtype=np.uint16)
        samples |= low
    if color_type == RGB:
        return samples, _alpha_from_key(core, samples)
    return samples[..., :-1], samples[..., -1].astype(np.float32) / np.float32(65535)


def is_png_short(core: bytes) -> bool:
    """Return whether a PNG's pixel stream ends before its last row, which its decoder would fill with black.

    Args:
        core: As `dissect_png` left it, its size found acceptable.
    """
    height, width, bits, color_type = read_png_header(core)
    pixel_bits = bits * CHANNELS[color_type]
    passes = _ADAM7 if core[_INTERLACE_OFFSET] else ((0, 0, 1, 1),)
    needed = 0
    for top, left, down, across in passes:
        rows, columns = len(range(top, height, down)), len(range(left, width, across))
        needed += rows * (1 + (columns * pixel_bits + 7) // 8) if columns else 0
    stream = zlib.decompressobj()
    try:
        for body in _pixel_chunks(core):
            rest: bytes | memoryview = body
            while rest and needed > 0 and not stream.eof:
                needed -= len(stream.decompress(rest, _INFLATED_BYTES))
                rest = stream.unconsumed_tail
    except zlib.error:
        return False  # the decoder will say what is wrong
    return needed > 0


def _pixel_chunks(core: bytes) -> Iterator[memoryview]:
    view, position = memoryview(core), len(SIGNATURE)
    while position + 8 <= len(core):
        length, kind = struct.unpack_from(">I4s", core, position)
        if kind == b"IDAT":
            yield view[position + 8 : position + 8 + length]
        position += length + 12


def _unpacked(core: bytes, raw_mode: str) -> npt.NDArray[Any]:
    with PngImagePlugin.PngImageFile(io.BytesIO(core)) as image:
        image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
        image.load()
        return np.asarray(image)


def _alpha_from_key(core: bytes, samples: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32] | None:
    place = core.find(b"tRNS", 33, core.find(b"IDAT"))
    if place < 0:
        return None
    key = np.frombuffer(core, ">u2", 3, place + 4)
    return np.asarray((samples != key).any(axis=2), dtype=np.float32)

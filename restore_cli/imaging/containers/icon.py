"""Icons taken apart: the largest of their images, alone.

Stage 3, READ. An icon is a directory of small files, each a PNG or a bitmap without its file header. What its directory
says of their sizes is a byte each and need not be true, so what they say themselves is measured. A PNG goes the way of
all PNGs; a bitmap goes to Pillow in an icon of its own.
"""

from __future__ import annotations

import struct
from dataclasses import replace

from restore_cli.imaging.containers.parts import DAMAGED, TRUNCATED, Parts, UnreadableError
from restore_cli.imaging.containers.png import dissect_png
from restore_cli.imaging.formats import format_of_bytes

_HEADER, _ENTRY = struct.Struct("<HHH"), struct.Struct("<BBBBHHII")
_BITMAP_HEADER = struct.Struct("<IiiHHI")
_BITMAP_HEADER_BYTES, _COLOR_COUNT_OFFSET = 40, 32
_COLOR_COUNT = struct.Struct("<I")
_NOT_PACKED = 0
_WITH_ALPHA = 32
_BITS = (1, 4, 8, 24, _WITH_ALPHA)
_LONGEST_SIDE = 256  # which a directory writes as 0


def dissect_icon(data: bytes) -> Parts:
    """Take an icon apart; what is left of it is a PNG, or an icon of one bitmap.

    Raises:
        UnreadableError: If it holds no image, or one that makes no sense.
    """
    _, _, count = _HEADER.unpack_from(data)
    if not count:
        raise UnreadableError("it holds no image")
    entries = [_ENTRY.unpack_from(data, _HEADER.size + number * _ENTRY.size) for number in range(count)]
    largest = max(entries, key=lambda entry: ((entry[0] or _LONGEST_SIDE) * (entry[1] or _LONGEST_SIDE), entry[5]))
    length, start = largest[6:]
    image = data[start : start + length]
    parts = dissect_png(image) if format_of_bytes(image) == "PNG" else _dissect_bitmap(image)
    return replace(parts, frames=count, damage=TRUNCATED if start + length > len(data) else parts.damage)


def _dissect_bitmap(image: bytes) -> Parts:
    """Measure a bitmap, whose height counts the mask below its pixels too, and put it into an icon of its own."""
    header_bytes, width, height, _, bits, packing = _BITMAP_HEADER.unpack_from(image)
    (colors,) = _COLOR_COUNT.unpack_from(image, _COLOR_COUNT_OFFSET)
    height //= 2
    sound = header_bytes >= _BITMAP_HEADER_BYTES and packing == _NOT_PACKED and bits in _BITS
    if not sound or not (1 <= width <= _LONGEST_SIDE and 1 <= height <= _LONGEST_SIDE):
        msg = f"{DAMAGED}: its image makes no sense"
        raise UnreadableError(msg)
    palette_bytes = 4 * (colors or 1 << bits) if bits <= 8 else 0
    pixels_end = header_bytes + palette_bytes + _row_bytes(width, bits) * height
    damage = TRUNCATED if len(image) < pixels_end else None
    mask_bytes = 0 if bits == _WITH_ALPHA else _row_bytes(width, 1) * height
    if len(image) < pixels_end + mask_bytes:
        image = image[:pixels_end] + bytes(mask_bytes)  # some programs write less of it; then nothing is hidden
    start = _HEADER.size + _ENTRY.size
    entry = _ENTRY.pack(width % _LONGEST_SIDE, height % _LONGEST_SIDE, 0, 0, 1, bits, len(image), start)
    return Parts(core=_HEADER.pack(0, 1, 1) + entry + image, size=(height, width), gray=False, damage=damage)


def _row_bytes(width: int, bits: int) -> int:
    return (width * bits + 31) // 32 * 4

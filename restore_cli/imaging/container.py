"""Check that a file's bytes are all there, before a decoder makes up what is missing.

Stage 3, READ. Pillow is lenient where it can be: a PNG without its end, a damaged checksum or a GIF that stops early
pass without a word. A restored picture must not rest on pixels nobody stored, so the containers that tell their own
length are walked here, by the few rules each format has, and nothing of their content is interpreted.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

_JPEG_STANDALONE = {0x01, *range(0xD0, 0xD8)}
_JPEG_START_OF_SCAN = 0xDA
_JPEG_END = b"\xff\xd9"

# Chunks, segments or bytes of junk in one file: far more than any program writes, few enough to be walked soon.
_MOST_PARTS = 1 << 18
_TOO_MANY_PARTS = "it is damaged: its parts have no end"

_GIF_IMAGE, _GIF_EXTENSION, _GIF_END, _GIF_PADDING = 0x2C, 0x21, 0x3B, 0x00


def reason_incomplete(format_name: str, data: bytes) -> str | None:
    """Return why a file's bytes cannot be the whole picture, or None if its container gives no such sign.

    Args:
        format_name: Pillow's name of the format the bytes begin as.
        data: The whole file.
    """
    check = _CHECKS.get(format_name)
    try:
        return None if check is None else check(data)
    except (IndexError, struct.error):
        return "it is truncated"


def gif_frame_count(data: bytes) -> int:
    """Return the number of pictures in a GIF whose bytes are all there."""
    return _walk_gif(data)[0]


def tiff_page_count(data: bytes) -> int:
    """Return the number of pictures in a TIFF: the length of its chain of directories, each counted once."""
    order = "<" if data.startswith(b"II") else ">"
    big = data[2:4] in (b"\x2b\x00", b"\x00\x2b")
    count_format, pointer_format, entry_bytes = (
        (f"{order}Q", f"{order}Q", 20) if big else (f"{order}H", f"{order}I", 12)
    )
    seen: set[int] = set()
    try:
        (position,) = struct.unpack_from(pointer_format, data, 8 if big else 4)
        while position and position not in seen:
            (entries,) = struct.unpack_from(count_format, data, position)
            seen.add(position)
            position += struct.calcsize(count_format) + entries * entry_bytes
            (position,) = struct.unpack_from(pointer_format, data, position)
    except struct.error:
        pass  # a chain that leads out of the file ends there
    return max(1, len(seen))


def _check_png(data: bytes) -> str | None:
    position = 8
    for _ in range(_MOST_PARTS):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        (stored,) = struct.unpack_from(">I", data, end)
        # Pillow verifies the checksums of all chunks but those of the pixels.
        if kind == b"IDAT" and zlib.crc32(data[position + 4 : end]) != stored:
            return "it is damaged: a checksum of its pixels does not match"
        if kind == b"IEND":
            return None
        position = end + 4
    return _TOO_MANY_PARTS


def _check_jpeg(data: bytes) -> str | None:
    position = 2
    for _ in range(_MOST_PARTS):
        marker = data[position + 1]
        if data[position] != 0xFF or marker in (0x00, 0xFF):
            position += 1  # filling, or junk between segments, which decoders skip
        elif marker in _JPEG_STANDALONE:
            position += 2
        elif marker == _JPEG_START_OF_SCAN:
            # Inside compressed data a 0xFF byte is never followed by 0xD9, so the first one found is the end.
            return None if data.find(_JPEG_END, position) >= 0 else "it is truncated"
        else:
            (length,) = struct.unpack_from(">H", data, position + 2)
            position += 2 + length
    return _TOO_MANY_PARTS


def _check_riff(data: bytes) -> str | None:
    (length,) = struct.unpack_from("<I", data, 4)
    return None if 8 + length <= len(data) else "it is truncated"


def _check_boxes(data: bytes) -> str | None:
    """Walk the top-level boxes of an ISO base media file (AVIF)."""
    position = 0
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, position + 8)
        if length == 0:
            return None  # this box reaches to the end of the file
        if length < 8:
            return "it is damaged"
        position += length
    return None if position == len(data) else "it is truncated"


def _check_gif(data: bytes) -> str | None:
    return None if _walk_gif(data)[1] else "it is truncated"


def _walk_gif(data: bytes) -> tuple[int, bool]:
    """Return how many pictures a GIF holds and whether its end mark was met."""
    frames = 0
    position = 13 + _gif_palette_bytes(data[10])
    while position < len(data):
        block = data[position]
        if block == _GIF_END:
            return frames, True
        if block == _GIF_PADDING:
            position += 1
            continue
        if block == _GIF_IMAGE:
            frames += 1
            position += 11 + _gif_palette_bytes(data[position + 9])
        elif block == _GIF_EXTENSION:
            position += 2
        else:
            return frames, False
        while data[position]:
            position += data[position] + 1
        position += 1
    return frames, False


def _gif_palette_bytes(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


_CHECKS: dict[str, Callable[[bytes], str | None]] = {
    "PNG": _check_png,
    "JPEG": _check_jpeg,
    "WEBP": _check_riff,
    "AVIF": _check_boxes,
    "GIF": _check_gif,
}

"""The size that a JPEG XL file declares, which must be known before its plugin, in opening it, decodes all of it.

Stage 3, READ. The codestream begins with a signature and a size header of a few bits (ISO/IEC 18181-1, annex D), alone
or in a box of a container.
"""

from __future__ import annotations

import struct

from restore_cli.imaging.parts import DAMAGED, Parts, UnreadableError

_CODESTREAM = b"\xff\x0a"
_WHOLE, _PARTIAL = b"jxlc", b"jxlp"
_MOST_BOXES = 1024
_LENGTHS_BITS = (9, 13, 18, 30)
_RATIOS = (None, (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def dissect_jxl(data: bytes) -> Parts:
    """Take a JPEG XL file apart, as far as its size.

    Raises:
        UnreadableError: If there is no codestream in it.
    """
    bits = _Bits(_start_of_codestream(data))
    is_small = bits.read(1)
    height = 8 * (bits.read(5) + 1) if is_small else _read_length(bits)
    ratio = _RATIOS[bits.read(3)]
    if ratio is not None:
        width = height * ratio[0] // ratio[1]
    else:
        width = 8 * (bits.read(5) + 1) if is_small else _read_length(bits)
    return Parts(core=data, size=(height, width))


class _Bits:
    """Read bits, the lowest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self._left = int.from_bytes(data, "little")

    def read(self, count: int) -> int:
        value = self._left & ((1 << count) - 1)
        self._left >>= count
        return value


def _read_length(bits: _Bits) -> int:
    return 1 + bits.read(_LENGTHS_BITS[bits.read(2)])


def _start_of_codestream(data: bytes) -> bytes:
    """Return the sixteen bytes behind the codestream's signature."""
    position = 0
    if not data.startswith(_CODESTREAM):
        for _ in range(_MOST_BOXES):
            length, kind = struct.unpack_from(">I4s", data, position)
            content = position + (16 if length == 1 else 8)
            if kind in (_WHOLE, _PARTIAL):
                position = content + (4 if kind == _PARTIAL else 0)
                break
            if length == 1:
                (length,) = struct.unpack_from(">Q", data, position + 8)
            if length < 8:
                break
            position += length
    if data[position : position + 2] != _CODESTREAM:
        msg = f"{DAMAGED}: it holds no picture"
        raise UnreadableError(msg)
    return data[position + 2 : position + 18]

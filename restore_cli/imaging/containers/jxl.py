"""What a JPEG XL file declares: its size, which must be known before its plugin, in opening it, decodes all of it.

Stage 3, READ. The codestream begins with a signature, a size header and a metadata header of a few bits (ISO/IEC
18181-1, annex D), alone or in a box of a container. The plugin tells neither that it cut 16 bits to 8, nor that there
are more images, nor that it has turned the image already; the header does.
"""

from __future__ import annotations

from dataclasses import dataclass

from restore_cli.imaging.containers.boxes import boxes, first_of, parts_beside
from restore_cli.imaging.containers.parts import DAMAGED, Parts, UnreadableError

_CODESTREAM = b"\xff\x0a"
_SIGNATURE_BOX, _WHOLE, _PARTIAL = b"JXL ", b"jxlc", b"jxlp"
_SIGNATURE_AND_SIZE_BYTES = 6
_LENGTHS_BITS = (9, 13, 18, 30)
Choices = tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]
_INTEGER_BITS: Choices = ((0, 8), (0, 10), (0, 12), (6, 1))
_FLOAT_BITS: Choices = ((0, 32), (0, 16), (0, 24), (6, 1))
_PREVIEW_EIGHTHS: Choices = ((0, 16), (0, 32), (5, 1), (9, 33))
_PREVIEW_LENGTHS: Choices = ((6, 1), (8, 65), (10, 321), (12, 1345))
_ANIMATION_FIELDS: tuple[Choices, ...] = (
    ((0, 100), (0, 1000), (10, 1), (30, 1)),
    ((0, 1), (0, 1001), (8, 1), (10, 1)),
    ((0, 0), (3, 0), (16, 0), (32, 0)),
)
_HEADER_BYTES = 64  # of the codestream, more than all these fields take
# The JPEG that a file was made of, which comes out of its plugin as it was, not turned.
_JPEG_BOX, _BOXES_BYTES = b"jbrd", 1 << 20
_UPRIGHT = 1
_ANIMATED = "it is animated: only its first image is used"
_RATIOS = (None, (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def dissect_jxl(data: bytes) -> Parts:
    """Take a JPEG XL file apart, as far as its size.

    Raises:
        UnreadableError: If there is no codestream in it.
    """
    data, count = _first_of(data)
    bits = _Bits(_start_of_codestream(data))
    height, width = _read_size(bits)
    facts = _read_metadata(bits)
    return Parts(
        core=data,
        size=(height, width),
        frames=count,
        bits=facts.bits,
        orientation=_UPRIGHT if facts.is_turned and _JPEG_BOX not in data[:_BOXES_BYTES] else None,
        further=parts_beside(data),
        warnings=(_ANIMATED,) if facts.is_animated else (),
    )


def _first_of(data: bytes) -> tuple[bytes, int]:
    """Return the first of files one behind the other, as from a pipe, and how many there are.

    A bare codestream does not tell where it ends; those of a pipe declare the same size, by which they are counted.
    """
    if data.startswith(_CODESTREAM):
        return data, data.count(data[:_SIGNATURE_AND_SIZE_BYTES])
    return first_of(data, _SIGNATURE_BOX)


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """What the metadata header says: bits a channel, whether decoders turn the image, whether there are more."""

    bits: int = 8
    is_turned: bool = False
    is_animated: bool = False


class _Bits:
    """Read bits, the lowest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self._left = int.from_bytes(data, "little")

    def read(self, count: int) -> int:
        value = self._left & ((1 << count) - 1)
        self._left >>= count
        return value

    def choose(self, choices: Choices) -> int:
        """Read which of four fields follows, (bits, offset), and that field."""
        count, offset = choices[self.read(2)]
        return offset + self.read(count)


def _read_size(bits: _Bits) -> tuple[int, int]:
    is_small = bits.read(1)
    height = 8 * (bits.read(5) + 1) if is_small else _read_length(bits)
    ratio = _RATIOS[bits.read(3)]
    if ratio is not None:
        return height, height * ratio[0] // ratio[1]
    return height, 8 * (bits.read(5) + 1) if is_small else _read_length(bits)


def _read_metadata(bits: _Bits) -> _Facts:
    if bits.read(1):  # all as usual
        return _Facts()
    is_turned = is_animated = False
    if bits.read(1):
        is_turned = bits.read(3) + 1 != _UPRIGHT
        if bits.read(1):
            _read_size(bits)  # the size it is meant to be shown at
        if bits.read(1):
            _pass_over_preview(bits)
        is_animated = bool(bits.read(1))
        if is_animated:
            for choices in _ANIMATION_FIELDS:
                bits.choose(choices)
            bits.read(1)  # whether there are time codes
    is_float = bits.read(1)
    depth = bits.choose(_FLOAT_BITS if is_float else _INTEGER_BITS)
    return _Facts(bits=depth, is_turned=is_turned, is_animated=is_animated)


def _pass_over_preview(bits: _Bits) -> None:
    sides = _PREVIEW_EIGHTHS if bits.read(1) else _PREVIEW_LENGTHS
    bits.choose(sides)
    if not bits.read(3):  # no ratio of the sides
        bits.choose(sides)


def _read_length(bits: _Bits) -> int:
    return 1 + bits.read(_LENGTHS_BITS[bits.read(2)])


def _start_of_codestream(data: bytes) -> bytes:
    """Return the bytes behind the codestream's signature."""
    position = 0
    if not data.startswith(_CODESTREAM):
        for kind, start, _ in boxes(data):
            if kind in (_WHOLE, _PARTIAL):
                position = start + (4 if kind == _PARTIAL else 0)
                break
    if data[position : position + 2] != _CODESTREAM:
        msg = f"{DAMAGED}: it holds no image"
        raise UnreadableError(msg)
    return data[position + 2 : position + 2 + _HEADER_BYTES]

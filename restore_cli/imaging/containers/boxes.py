"""Files made of ISO base media boxes: AVIF and HEIF taken apart as far as their decoders need no help.

Stage 3, READ. A box has a length, a kind and a body (ISO/IEC 14496-12); JPEG XL's container is made of them too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

from restore_cli.imaging.color.profiles import color_of_boxes
from restore_cli.imaging.containers.further_parts import CREDENTIALS, GAIN_MAP, VIDEO, further_parts
from restore_cli.imaging.containers.parts import DAMAGED, MOST_PARTS, TRUNCATED, Parts
from restore_cli.imaging.formats import format_of_bytes

_AV1_CONFIGURATION, _HEVC_CONFIGURATION = b"av1C\x81", b"hvcC\x01"
_WITH_PROPERTIES_BYTES, _FIRST_BYTES = 1 << 20, 256
_OWN_KIND, _MANIFESTS = b"uuid", bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_JUMBF, _COMPRESSED, _MANIFEST = b"jumb", b"brob", b"c2pa"
_BRANDS = b"ftyp"
_ITEMS, _MOTION_PHOTO, _TRACKS, _TONE_MAPPED, _JXL_GAIN_MAP = b"meta", b"mpvd", b"moov", b"tmap", b"jhgm"


def boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Walk the top-level boxes of a file; give the kind of each, and where its body begins and ends.

    The end may lie behind that of the data; one before the beginning tells of damage. The walk ends there.
    """
    position = 0
    for _ in range(MOST_PARTS):
        if position + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, position)
        body = position + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, body)
            body += 8
        end = position + length if length else len(data)  # none: to the end of the file
        yield kind, body, end
        if end < body:
            return
        position = end


def dissect_boxes(data: bytes) -> Parts:
    """Take an AVIF or HEIF apart; of several, as from a pipe, the first."""
    first, count = first_of(data, _BRANDS)
    return replace(_dissect_one(first), frames=count)


def first_of(data: bytes, begin: bytes) -> tuple[bytes, int]:
    """Return the first of files one behind the other, and how many there are.

    Args:
        data: The files.
        begin: The kind of the box that each begins with.
    """
    starts = [start - 8 for kind, start, end in boxes(data) if kind == begin and start <= end]
    return (data[: starts[1]] if len(starts) > 1 else data), max(1, len(starts))


def _dissect_one(data: bytes) -> Parts:
    position, damage = 0, None
    further: frozenset[str] = frozenset()
    is_avif = format_of_bytes(data[:_WITH_PROPERTIES_BYTES]) == "AVIF"
    for kind, start, end in boxes(data):
        position = end
        if end < start:
            damage = DAMAGED
        if kind == _TRACKS and is_avif:
            continue  # an animation, whose images are counted
        further |= _parts_of(kind, data[start : min(end, start + _WITH_PROPERTIES_BYTES)])
    if damage is None and position != len(data):
        damage = TRUNCATED
    color = color_of_boxes(data[:_WITH_PROPERTIES_BYTES])
    return Parts(
        core=data,
        damage=damage,
        bits=_bits_of_coding(data),
        icc_profile=color.icc_profile,
        further=further,
        warnings=() if color.warning is None else (color.warning,),
    )


def parts_beside(data: bytes) -> frozenset[str]:
    """Return what the boxes of a JPEG XL hold beside its image."""
    found: frozenset[str] = frozenset()
    for kind, start, end in boxes(data):
        body = data[start : min(end, start + _FIRST_BYTES)]
        if kind == _JXL_GAIN_MAP:
            found |= {GAIN_MAP}
        if (kind == _JUMBF and _MANIFEST in body) or (kind == _COMPRESSED and body.startswith(_JUMBF)):
            found |= {CREDENTIALS}
    return found


def _parts_of(kind: bytes, body: bytes) -> frozenset[str]:
    if kind in (_MOTION_PHOTO, _TRACKS):
        return frozenset({VIDEO})
    if kind == _OWN_KIND and body.startswith(_MANIFESTS):
        return frozenset({CREDENTIALS})
    if kind != _ITEMS:
        return frozenset()
    return further_parts(body) | ({GAIN_MAP} if _TONE_MAPPED in body else frozenset())


def _bits_of_coding(data: bytes) -> int:
    """Return the bits a channel of the first AV1 or HEVC image, 8 where none is found."""
    place = data.find(_AV1_CONFIGURATION, 0, _WITH_PROPERTIES_BYTES)
    if 0 <= place < len(data) - 7:
        flags = data[place + 6]
        return 8 if not flags & 0x40 else 12 if flags & 0x20 else 10
    place = data.find(_HEVC_CONFIGURATION, 0, _WITH_PROPERTIES_BYTES)
    return 8 + (data[place + 21] & 7) if 0 <= place < len(data) - 22 else 8

"""WebP, BMP and netpbm files taken apart: only their outline is read, since their decoders take them whole.

Stage 3, READ. The other formats have modules of their own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from restore_cli.imaging.containers.further_parts import CREDENTIALS
from restore_cli.imaging.containers.netpbm import count_netpbm, is_netpbm_short, read_netpbm_header
from restore_cli.imaging.containers.parts import (
    DAMAGED,
    MOST_PARTS,
    MOST_PROFILE_BYTES,
    TRUNCATED,
    Parts,
    UnreadableError,
    chunk_named,
    data_behind,
    texts_of_comments,
)

_LOSSLESS_WEBP = b"VP8L"
_WEBP_CODINGS = (_LOSSLESS_WEBP, b"VP8 ")
_WEBP_CHUNKS = {*_WEBP_CODINGS, b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP "}
_WEBP_BESIDE = {b"C2PA": CREDENTIALS}
_BMP_RUNS = (1, 2)
_BMP_FILE_HEADER_BYTES, _BMP_HEADER_WITH_PROFILE_BYTES, _BMP_COLORS, _BMP_EMBEDDED = 14, 124, 14 + 56, b"DEBM"
# Pillow decodes runs in Python, less than half a million a second.
_MOST_RUN_BYTES = 1_000_000


def dissect_webp(data: bytes) -> Parts:
    """Take a WebP apart; raises as `decode.dissect` does."""
    (length,) = struct.unpack_from("<I", data, 4)
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[place : place + 3], "little") for place in (24, 27))
    elif kind == b"VP8L":
        (packed,) = struct.unpack_from("<I", data, 21)
        width, height = 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        msg = f"{DAMAGED}: it does not begin with an image"
        raise UnreadableError(msg)
    damage = None if 8 + length <= len(data) else TRUNCATED
    frames = _count_by_lengths(data, b"RIFF", 8)
    core = data[: 8 + length]
    kinds = list(_webp_kinds(core))
    coding = next((kind for kind in kinds if kind in _WEBP_CODINGS), None)
    beside = frozenset(_WEBP_BESIDE.get(kind) or chunk_named(kind) for kind in {*kinds} - _WEBP_CHUNKS)
    return Parts(
        core=core,
        size=(height, width),
        gray=False,
        frames=frames,
        lossless=coding == _LOSSLESS_WEBP,
        damage=damage,
        further=beside if frames > 1 else beside | data_behind(data[len(core) :]),
    )


def _webp_kinds(core: bytes) -> Iterator[bytes]:
    """Give the kinds of chunks, and what frames of an animation are made of among them."""
    position = 12
    for _ in range(MOST_PARTS):
        if position + 8 > len(core):
            return
        kind, length = struct.unpack_from("<4sI", core, position)
        yield kind
        position += 24 if kind == b"ANMF" else 8 + length + length % 2


def dissect_bmp(data: bytes) -> Parts:
    """Take a BMP apart; raises as `decode.dissect` does."""
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    if header_bytes == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        packing = 0
    else:
        width, height, _, bits, packing = struct.unpack_from("<iiHHI", data, 18)
    (start,) = struct.unpack_from("<I", data, 10)
    icc_profile = _profile_of_bmp(data) if header_bytes >= _BMP_HEADER_WITH_PROFILE_BYTES else None
    if min(width, abs(height)) < 1:
        msg = f"{DAMAGED}: it does not say how large it is"
        raise UnreadableError(msg)
    row_bytes = (width * bits + 31) // 32 * 4
    damage = None
    if packing in _BMP_RUNS and len(data) > _MOST_RUN_BYTES:
        raise UnreadableError("its run-length coding is too long to be read")
    if packing not in _BMP_RUNS and start + row_bytes * abs(height) > len(data):
        damage = TRUNCATED
    return Parts(
        core=data,
        size=(abs(height), width),
        frames=_count_by_lengths(data, b"BM", 0),
        damage=damage,
        icc_profile=icc_profile,
    )


def _profile_of_bmp(data: bytes) -> bytes | None:
    """Return the profile that a header of version 5 tells of, or None."""
    place, length = struct.unpack_from("<II", data, _BMP_FILE_HEADER_BYTES + 112)
    if data[_BMP_COLORS : _BMP_COLORS + 4] != _BMP_EMBEDDED or length > MOST_PROFILE_BYTES:
        return None
    start = _BMP_FILE_HEADER_BYTES + place
    return data[start : start + length] or b"broken"


def _count_by_lengths(data: bytes, magic: bytes, beside_bytes: int) -> int:
    """Return how many files follow each other, as from a pipe, that tell their length behind their first bytes.

    Args:
        data: The files.
        magic: What each begins with.
        beside_bytes: What the length does not count.
    """
    count, end = 0, 0
    while data.startswith(magic, end) and end + 8 <= len(data) and count < MOST_PARTS:
        (length,) = struct.unpack_from("<I", data, end + (4 if beside_bytes else len(magic)))
        count, end = count + 1, end + max(length + beside_bytes, 8)
    return count


def dissect_netpbm(data: bytes) -> Parts:
    """Take a netpbm file apart; raises as `decode.dissect` does."""
    header = read_netpbm_header(data)
    damage = TRUNCATED if is_netpbm_short(data, header) else None
    return Parts(
        core=data,
        size=(header.height, header.width),
        gray=header.channels == 1,
        frames=count_netpbm(data, header),
        damage=damage,
        text=texts_of_comments([header.comment]),
    )

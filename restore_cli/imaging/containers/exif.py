"""EXIF blocks taken apart and laid out anew, each value as its camera stored it.

Stages 3 and 7, READ and WRITE. A block is a small TIFF without pixels. Pillow would write text in ASCII, so that names
and copyright signs came out as question marks, and numbers in the type it thinks best; here bytes are carried over.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace

from PIL import ExifTags

from restore_cli.imaging.containers.parts import UnreadableError
from restore_cli.imaging.containers.tiff import Directory, Value, longs, read_directory

SIGNATURE = b"Exif\0\0"

_Tag = ExifTags.Base
_MAGIC = (b"II*\0", b"MM\0*")
_FIRST = 0
_INTEROPERABILITY = 0xA005
# What each directory is pointed at by, and where from.
_HOMES = {int(_Tag.ExifOffset): _FIRST, int(_Tag.GPSInfo): _FIRST, _INTEROPERABILITY: int(_Tag.ExifOffset)}
_INLINE_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Exif:
    """Hold a block taken apart; the thumbnail's directory is passed over.

    Attributes:
        first: Directory of what is said about the image.
        inner: Further directories by the tag that points at them: details, place, interoperability.
    """

    first: Directory
    inner: Mapping[int, Directory]


def read_exif(data: bytes) -> Exif:
    """Take an EXIF block apart, with or without its signature.

    Raises:
        UnreadableError: If it is none, or its values overlap, so that they take far more memory than the block.
    """
    while data.startswith(SIGNATURE):
        data = data[len(SIGNATURE) :]
    if data[:4] not in _MAGIC:
        msg = "it is no EXIF block"
        raise UnreadableError(msg)
    file = io.BytesIO(data)
    found = {_FIRST: read_directory(file)}
    for pointer, home in _HOMES.items():
        place = found[home].integer(pointer, 0) if home in found else 0
        if place:
            found[pointer] = read_directory(file, place)
    if any(directory.overfull for directory in found.values()):
        msg = "its EXIF values overlap"
        raise UnreadableError(msg)
    return Exif(first=found.pop(_FIRST), inner=found)


def write_exif(first: Directory, inner: Mapping[int, Directory]) -> bytes:
    """Lay out a block, with its signature; directories without values are left out.

    Args:
        first: As in `Exif`, and so is the rest.
        inner: As there, in the byte order of `first`.
    """
    kept = {pointer: dict(directory.values) for pointer, directory in inner.items() if directory.values}
    held = {_FIRST: dict(first.values), **kept}
    for pointer, home in _HOMES.items():
        if home in held:
            held[home].pop(pointer, None)
            if pointer in held:
                held[home][pointer] = longs(first, [0])
    places, place = {}, 8
    for pointer, values in held.items():
        places[pointer] = place
        place += _size_of(values)
    for pointer, home in _HOMES.items():
        if pointer in held and home in held:
            held[home][pointer] = longs(first, [places[pointer]])
    head = (b"II" if first.order == "<" else b"MM") + struct.pack(f"{first.order}HI", 42, 8)
    return b"".join([SIGNATURE, head, *(_laid_out(first.order, places[key], held[key]) for key in held)])


def without_orientation(data: bytes) -> bytes:
    """Return a block that leaves open which way is up."""
    block = read_exif(data)
    values = {tag: value for tag, value in block.first.values.items() if tag != _Tag.Orientation}
    return write_exif(replace(block.first, values=values), block.inner)


def _size_of(values: Mapping[int, Value]) -> int:
    apart = (len(value.data) for value in values.values() if len(value.data) > _INLINE_BYTES)
    return 6 + 12 * len(values) + sum(length + length % 2 for length in apart)


def _laid_out(order: str, start: int, values: Mapping[int, Value]) -> bytes:
    """Return a directory that lies at `start`, its longer values behind it."""
    table = struct.pack(f"{order}H", len(values))
    behind = bytearray()
    place = start + 6 + 12 * len(values)
    for tag, value in sorted(values.items()):
        field = value.data
        if len(field) > _INLINE_BYTES:
            field = struct.pack(f"{order}I", place + len(behind))
            behind += value.data + bytes(len(value.data) % 2)
        table += struct.pack(f"{order}HHI4s", tag, value.type, value.count, field)
    return table + bytes(4) + bytes(behind)

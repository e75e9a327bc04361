"""EXIF blocks taken apart and laid out anew, each value as its camera stored it, and where.

Stages 3 and 7, READ and WRITE. A block is a small TIFF without pixels. Pillow would write text in ASCII, so that names
and copyright signs came out as question marks, and numbers in the type it thinks best; here bytes are carried over.
Makers' notes hold addresses within the block, of things in the note and beside it, in ways that only their makers know:
so what is kept stays at its place, and what goes leaves room for the new tables.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import BinaryIO

from PIL import ExifTags

from restore_cli.imaging.containers.parts import UnreadableError
from restore_cli.imaging.containers.tiff import STRIPS, Directory, Value, longs, plain_values, read_directory

SIGNATURE = b"Exif\0\0"
BROKEN_PART_OF_EXIF = "a broken part of its EXIF data was left out"

_Tag = ExifTags.Base
_MAGIC = (b"II*\0", b"MM\0*")
_FIRST = 0
_DETAILS, _INTEROPERABILITY = int(_Tag.ExifOffset), 0xA005
# What each directory is pointed at by, and where from.
_HOMES = {_DETAILS: _FIRST, int(_Tag.GPSInfo): _FIRST, _INTEROPERABILITY: _DETAILS}
_INLINE_BYTES = 4
_HEADER_BYTES = 8
# Larger blocks are no camera's; nor does a JPEG take a note from beyond this.
_MOST_BYTES_IN_PLACE = 1 << 20
_LAST_PLACE = 65_000


@dataclass(frozen=True, kw_only=True)
class Exif:
    """Hold a block taken apart; the thumbnail's directory is passed over.

    Attributes:
        first: Directory of what is said about the image.
        inner: Further directories by the tag that points at them: details, place, interoperability.
        data: The block.
        known: Where in it tables, values and the thumbnail lie; the rest may be what a maker's note points at.
        is_broken: Whether a directory could not be read, and is left out.
    """

    first: Directory
    inner: Mapping[int, Directory]
    data: bytes
    known: tuple[tuple[int, int], ...]
    is_broken: bool = False


def read_exif(data: bytes) -> Exif:
    """Take an EXIF block apart, with or without its signature.

    Raises:
        UnreadableError: If it is none, or the values of its first directory overlap, so that they would take far more
            memory than the block.
    """
    while data.startswith(SIGNATURE):
        data = data[len(SIGNATURE) :]
    if data[:4] not in _MAGIC:
        msg = "it is no EXIF block"
        raise UnreadableError(msg)
    file = io.BytesIO(data)
    first = read_directory(file)
    if first.overfull:
        msg = "its EXIF values overlap"
        raise UnreadableError(msg)
    block = read_inner(file, first)
    known = [span for directory in (first, *block.inner.values()) for span in _spans(directory)]
    if first.next_place:
        with suppress(UnreadableError):
            known += _spans_of_thumbnail(read_directory(file, first.next_place))
    return replace(block, data=data, known=tuple(known))


def read_inner(file: BinaryIO, first: Directory) -> Exif:
    """Return what a first directory of an open TIFF or BigTIFF holds and points at, as a block without a place."""
    found, is_broken = {_FIRST: first}, False
    for pointer, home in _HOMES.items():
        place = found[home].integer(pointer, 0) if home in found else 0
        if not place:
            continue
        try:
            directory = read_directory(file, place)
        except UnreadableError:
            is_broken = True
            continue
        is_broken |= directory.overfull
        if not directory.overfull:
            found[pointer] = directory
    del found[_FIRST]
    return Exif(first=first, inner=found, data=b"", known=(), is_broken=is_broken)


def _spans(directory: Directory) -> Iterator[tuple[int, int]]:
    yield directory.span
    for value in directory.values.values():
        if value.place is not None:
            yield value.place, value.place + len(value.data)


def _spans_of_thumbnail(directory: Directory) -> Iterator[tuple[int, int]]:
    yield from _spans(directory)
    for places, lengths in (STRIPS, (_Tag.JpegIFOffset, _Tag.JpegIFByteCount)):
        for place, length in zip(directory.integers(places), directory.integers(lengths), strict=False):
            yield int(place), int(place) + int(length)


def write_exif(block: Exif, *, in_place: bool = True) -> bytes:
    """Lay out a block, with its signature; directories without values are left out.

    Args:
        block: As it was read, without some of its values.
        in_place: Where there is a maker's note, leave values, and what nobody knows of, where they are; else only the
            note, if it lies where a JPEG has room.
    """
    order = block.first.order
    kept = {pointer: plain_values(directory) for pointer, directory in block.inner.items() if directory.values}
    held = {_FIRST: plain_values(block.first), **kept}
    for pointer, home in _HOMES.items():
        if home in held:
            held[home].pop(pointer, None)
            if pointer in held:
                held[home][pointer] = longs(block.first, [0])
    room = _room_for(held, block, in_place=in_place)
    places = {pointer: room.take(6 + 12 * len(values)) for pointer, values in held.items()}
    for pointer, home in _HOMES.items():
        if pointer in held and home in held:
            held[home][pointer] = longs(block.first, [places[pointer]])
    for pointer, values in held.items():
        table = struct.pack(f"{order}H", len(values))
        for tag, value in sorted(values.items()):
            field = value.data
            if len(field) > _INLINE_BYTES:
                field = struct.pack(f"{order}I", value.place if value.place in room.taken else room.put(field))
            table += struct.pack(f"{order}HHI4s", tag, value.type, value.count, field)
        room.write(places[pointer], table + bytes(4))
    room.write(0, (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, places[_FIRST]))
    return SIGNATURE + bytes(room.data)


def _room_for(held: Mapping[int, Mapping[int, Value]], block: Exif, *, in_place: bool) -> _Room:
    """Return room for directories around what is to stay."""
    # Some programs put all of EXIF into a TIFF's first directory.
    note = held.get(_DETAILS, {}).get(_Tag.MakerNote) or held[_FIRST].get(_Tag.MakerNote)
    if note is not None and in_place and len(block.data) <= _MOST_BYTES_IN_PLACE:
        return _Room([value for values in held.values() for value in values.values()], block.data, block.known)
    if note is not None and (note.place or 0) + len(note.data) <= _LAST_PLACE:
        return _Room([note])
    return _Room()


def without_orientation(data: bytes) -> bytes:
    """Return a block that leaves open which way is up."""
    return without_tag(data, _Tag.Orientation)


def without_tag(data: bytes, removed: int) -> bytes:
    """Return a block without one value of its first directory."""
    block = read_exif(data)
    values = {tag: value for tag, value in block.first.values.items() if tag != removed}
    return write_exif(replace(block, first=replace(block.first, values=values)))


class _Room:
    """Find room in a block for tables and values.

    Args:
        stays: Values that are not moved, those within their tables apart.
        data: The block; none to begin a new one around these values.
        known: What in it may be given away where nothing stays; elsewhere it is left as it is.
    """

    def __init__(self, stays: Iterable[Value] = (), data: bytes = b"", known: Iterable[tuple[int, int]] = ()) -> None:
        kept = {value.place: value.data for value in stays if value.place is not None}
        end = max((place + len(value) for place, value in kept.items()), default=_HEADER_BYTES)
        self.data = bytearray(data or bytes(end))
        self.taken = frozenset(kept)
        used = bytearray(b"\1" if data else b"\0") * len(self.data)
        for start, stop in known:
            used[start:stop] = bytes(len(used[start:stop]))
        for place, value in ((0, bytes(_HEADER_BYTES)), *kept.items()):
            self.write(place, value)
            used[place : place + len(value)] = b"\1" * len(value)
        self._free = [match.span() for match in re.finditer(rb"\0+", used)]
        for start, stop in self._free:
            self.data[start:stop] = bytes(stop - start)
        if self._free and self._free[-1][1] == len(self.data):
            del self.data[self._free.pop()[0] :]

    def take(self, size: int) -> int:
        """Return a place, even as all places in a TIFF are, for so many bytes."""
        for number, (start, end) in enumerate(self._free):
            place = start + start % 2
            if end - place >= size:
                self._free[number] = (place + size, end)
                return place
        place = len(self.data) + len(self.data) % 2
        self.data += bytes(place + size - len(self.data))
        return place

    def put(self, value: bytes) -> int:
        """Lay a value down and return its place."""
        place = self.take(len(value))
        self.write(place, value)
        return place

    def write(self, place: int, value: bytes) -> None:
        """Overwrite what lies at a place."""
        self.data[place : place + len(value)] = value

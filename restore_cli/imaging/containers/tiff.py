"""The directories of a TIFF: read with every length checked, and written anew with what a decoder needs.

Stage 3, READ. A directory is a table of tags that point anywhere, at each other and at themselves. Each is read
here, once; decoders get the same file with a directory of a dozen tags whose values are known to lie within it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags

from restore_cli.imaging.containers.parts import DAMAGED, TRUNCATED, UnreadableError

_Tag = ExifTags.Base

# Bytes of a value by its type; unknown types are passed over, as the specification asks.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS = {1: "u1", 3: "u2", 4: "u4", 6: "i1", 8: "i2", 9: "i4", 13: "u4", 16: "u8", 17: "i8", 18: "u8"}
_SHORT, _LONG, _RATIONAL = 3, 4, 5
_WIDE_INTEGERS = (16, 17, 18)
_INLINE_BYTES = 4  # of a value that needs no place of its own
_MOST_ENTRIES = 4096

RAW, PACK_BITS = 1, 32773
STRIPS = (_Tag.StripOffsets, _Tag.StripByteCounts)
TILES = (_Tag.TileOffsets, _Tag.TileByteCounts)
# What tells a decoder how samples are stored.
STORAGE_TAGS = frozenset(
    {
        *(_Tag.ImageWidth, _Tag.ImageLength, _Tag.BitsPerSample, _Tag.Compression, _Tag.PhotometricInterpretation),
        *(_Tag.FillOrder, *STRIPS, _Tag.SamplesPerPixel, _Tag.RowsPerStrip, _Tag.PlanarConfiguration, 292, 293),
        *(_Tag.Predictor, _Tag.ColorMap, _Tag.TileWidth, _Tag.TileLength, *TILES, _Tag.ExtraSamples, _Tag.SampleFormat),
        *(_Tag.JPEGTables, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532),
    }
)


@dataclass(frozen=True, kw_only=True)
class Value:
    """One tag's value as it is stored: its type, how many, the bytes, and where they lay if not in the directory."""

    type: int
    count: int
    data: bytes
    place: int | None = None


@dataclass(frozen=True, kw_only=True)
class Directory:
    """One directory of a TIFF.

    Attributes:
        order: "<" or ">".
        big: Whether it is a BigTIFF, with 64-bit places.
        values: Tags whose values lie within the file.
        span: Where its table begins and ends.
        next_place: Where the next directory lies; 0 for none.
        truncated: Whether some that matter did not.
        overfull: Whether the values together are longer than the file, so that they overlap.
    """

    order: str
    big: bool
    values: Mapping[int, Value]
    span: tuple[int, int] = (0, 0)
    next_place: int = 0
    truncated: bool = False
    overfull: bool = False

    def integers(self, tag: int) -> npt.NDArray[np.integer]:
        """Return the whole numbers of a tag, none if it is absent or holds no such."""
        value = self.values.get(tag)
        if value is None or value.type not in _INTEGERS:
            return np.zeros(0, np.int64)
        return np.frombuffer(value.data, self.order + _INTEGERS[value.type], value.count)

    def integer(self, tag: int, default: int) -> int:
        """Return the first whole number of a tag."""
        numbers = self.integers(tag)
        return int(numbers[0]) if numbers.size else default

    def rational(self, tag: int) -> float | None:
        """Return the first fraction of a tag."""
        value = next(iter(self.rationals(tag)), math.nan)
        return None if math.isnan(value) else value

    def rationals(self, tag: int) -> tuple[float, ...]:
        """Return the fractions of a tag, none if it is absent or holds no such; NaN for those that are no number."""
        value = self.values.get(tag)
        if value is None or value.type != _RATIONAL:
            return ()
        fractions = struct.iter_unpack(f"{self.order}II", value.data)
        return tuple(over / under if under else math.nan for over, under in fractions)

    def bytes_of(self, tag: int) -> bytes | None:
        """Return the bytes of a tag."""
        value = self.values.get(tag)
        return value.data or None if value is not None else None

    @property
    def size(self) -> tuple[int, int]:
        """Return (height, width) as stored."""
        return self.integer(_Tag.ImageLength, 0), self.integer(_Tag.ImageWidth, 0)

    @property
    def samples(self) -> int:
        """Return how many samples a pixel has."""
        return self.integer(_Tag.SamplesPerPixel, 1)

    @property
    def bits(self) -> int:
        """Return the bits of the first sample."""
        return self.integer(_Tag.BitsPerSample, 1)


def read_directory(file: BinaryIO, place: int | None = None) -> Directory:
    """Read a directory of an open TIFF.

    Args:
        file: Anything laid out as a TIFF, as EXIF blocks are.
        place: Where it lies; None for the first.

    Raises:
        UnreadableError: If there is none.
    """
    file.seek(0, 2)
    size = file.tell()
    file.seek(0)
    head = file.read(16)
    order, big = ("<" if head[:2] == b"II" else ">"), head[2:4] in (b"\x2b\x00", b"\x00\x2b")
    count_format, entry_format, inline = (f"{order}Q", f"{order}HHQ8s", 8) if big else (f"{order}H", f"{order}HHI4s", 4)
    try:
        if place is None:
            (place,) = struct.unpack_from(f"{order}Q" if big else f"{order}I", head, 8 if big else 4)
        file.seek(min(place, size))
        (count,) = struct.unpack(count_format, file.read(struct.calcsize(count_format)))
        if count > _MOST_ENTRIES:
            msg = f"{DAMAGED}: its directory has {count} entries"
            raise UnreadableError(msg)
        table = file.read(count * struct.calcsize(entry_format))
        end = file.read(inline)
        rows = [struct.unpack_from(entry_format, table, i * struct.calcsize(entry_format)) for i in range(count)]
    except struct.error as error:
        raise UnreadableError(TRUNCATED) from error
    values: dict[int, Value] = {}
    truncated, room = False, size
    for tag, kind, number, field in rows:
        length = number * _SIZES.get(kind, 0)
        data, start = field[:length], None
        if length > inline:
            (start,) = struct.unpack(f"{order}Q" if big else f"{order}I", field)
            room -= length
            if start + length > size or room < 0:
                truncated = truncated or tag in STORAGE_TAGS
                continue
            file.seek(start)
            data = file.read(length)
        if kind in _SIZES:
            values.setdefault(tag, Value(type=kind, count=number, data=data, place=start))
    return Directory(
        order=order,
        big=big,
        values=values,
        span=(place, place + struct.calcsize(count_format) + len(table) + len(end)),
        next_place=int.from_bytes(end, "little" if order == "<" else "big"),
        truncated=truncated,
        overfull=room < 0,
    )


def with_directory(
    data: bytes, directory: Directory, values: Mapping[int, Value], *following: Mapping[int, Value]
) -> bytes:
    """Return a file with a directory of these values appended, others behind it, and its header pointing there.

    It is a plain TIFF even if the file was a BigTIFF, which not every decoder reads; no file beyond 4 GiB comes here.
    """
    order = directory.order
    start = (len(data) + 15) // 16 * 16
    body, places = bytearray(), []
    for page in (values, *following):
        entries = bytearray()
        for tag, value in sorted(plain_values(replace(directory, values=page)).items()):
            field = value.data
            if len(field) > _INLINE_BYTES:
                field = struct.pack(f"{order}I", start + len(body))
                body += value.data + bytes(-len(value.data) % 8)
            entries += struct.pack(f"{order}HHI4s", tag, value.type, value.count, field)
        places.append(len(body))
        body += struct.pack(f"{order}H", len(page)) + entries + bytes(4 + (-len(entries) - 6) % 8)
    for place, count, following_place in zip(places, (len(values), *map(len, following)), places[1:], strict=False):
        struct.pack_into(f"{order}I", body, place + 2 + 12 * count, start + following_place)
    head = data[:2] + struct.pack(f"{order}HI", 42, start + places[0])
    return b"".join([head, memoryview(data)[8:], bytes(start - len(data)), body])


def plain_values(directory: Directory) -> dict[int, Value]:
    """Return the values of a directory, 64-bit numbers, which only a BigTIFF has, as such of 32 bits."""
    return {
        tag: longs(directory, directory.integers(tag)) if value.type in _WIDE_INTEGERS else value
        for tag, value in directory.values.items()
    }


def longs(directory: Directory, numbers: Sequence[int] | npt.NDArray[np.integer]) -> Value:
    """Return a value that holds 32-bit numbers."""
    data = np.asarray(numbers).astype(f"{directory.order}u4").tobytes()
    return Value(type=_LONG, count=len(numbers), data=data)


def shorts(directory: Directory, *numbers: int) -> Value:
    """Return a value that holds 16-bit numbers."""
    return Value(type=_SHORT, count=len(numbers), data=struct.pack(f"{directory.order}{len(numbers)}H", *numbers))


def storage_of(directory: Directory) -> tuple[tuple[int, int], int, int]:
    """Return the tags of places and lengths, and the (height, width) of a strip or tile."""
    height, width = directory.size
    if _Tag.TileWidth in directory.values:
        return TILES, directory.integer(_Tag.TileLength, 0), directory.integer(_Tag.TileWidth, 0)
    return STRIPS, min(height, directory.integer(_Tag.RowsPerStrip, height)), width

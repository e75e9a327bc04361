"""Which of a TIFF's directories is the image: never a thumbnail, and none where the file is a camera's raw.

Stage 3, READ. Cameras and scanners put a small preview first and the image behind it, or below it (SubIFDs). TIFF 6.0
marks what is a reduced version of another image (NewSubfileType, bit 0); raw files, which are laid out as TIFFs too,
tell themselves by what only they have: DNG 1.7 and TIFF/EP (ISO 12234-2) name the tags.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import BinaryIO

from PIL import ExifTags

from restore_cli.errors import DecodeError
from restore_cli.imaging.containers.tiff import STRIPS, TILES, Directory, read_directory

_Tag = ExifTags.Base
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_REDUCED_BY_OLD_NAME = 2  # a value of SubfileType, its forerunner
_MOST_PAGES = 65536
# Of so many pages the kind is read, from so many entries of each: they are sorted, and what tells it comes first.
MOST_PAGES, _MOST_ENTRIES_READ = 1024, 32
_MOST_INNER_PAGES = 16
_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}

_DNG_VERSION = 50706
# Patterns of colour filters, and the private data of Leaf and Sony.
_RAW_TAGS = frozenset({33421, 33422, 34310, 50740})
_COLOR_FILTERS, _LINEAR_RAW = 32803, 34892
_RAW_COMPRESSIONS = frozenset({32767, 32769, 34713, 65000, 65535})
# What stands behind the header of Canon's and Phase One's.
_RAW_MARKS = ((b"CR", "CR2"), (b"IIII", "IIQ"), (b"MMMM", "IIQ"))
_RAW_HINT = "develop it first, with a raw converter, and restore the TIFF or PNG that it writes"


@dataclass(frozen=True, kw_only=True)
class Pages:
    """Hold what a TIFF's directories are.

    Attributes:
        main: The image's.
        first: The file's first, which may describe the image too.
        images: How many are images, not reduced versions of one.
        has_mask: Whether one is a mask of an image's transparency.
    """

    main: Directory
    first: Directory
    images: int
    has_mask: bool = False


@dataclass(frozen=True, kw_only=True)
class _Page:
    """What a directory's first entries tell."""

    place: int
    numbers: Mapping[int, int]

    @property
    def is_whole(self) -> bool:
        kind = self.numbers.get(_Tag.NewSubfileType, 0)
        return not kind & (_REDUCED | _MASK) and self.numbers.get(_Tag.SubfileType) != _REDUCED_BY_OLD_NAME

    @property
    def is_mask(self) -> bool:
        return bool(self.numbers.get(_Tag.NewSubfileType, 0) & _MASK)

    @property
    def size(self) -> tuple[int, int]:
        return self.numbers.get(_Tag.ImageLength, 0), self.numbers.get(_Tag.ImageWidth, 0)

    @property
    def is_raw(self) -> bool:
        meaning = self.numbers.get(_Tag.PhotometricInterpretation)
        return meaning in (_COLOR_FILTERS, _LINEAR_RAW) or self.numbers.get(_Tag.Compression) in _RAW_COMPRESSIONS


def read_pages(file: BinaryIO, number: int = 0) -> Pages:
    """Find the image of an open TIFF: the first that is no reduced one, or a larger whole one below the first.

    Args:
        file: The TIFF.
        number: Which of several whole pages is meant, from 0; of those only that are read.

    Raises:
        DecodeError: If it is a camera's raw, or holds nothing but a preview.
        UnreadableError: If its directory makes no sense.
    """
    first = read_directory(file)
    chain, count = _chain(file, first)
    inner = [
        page
        for place in first.integers(_Tag.SubIFDs)[:_MOST_INNER_PAGES].tolist()
        if (page := _read_page(file, first, place)[0]) is not None
    ]
    kind = _kind_of_raw(file, first, [*chain, *inner])
    if kind is not None:
        raise DecodeError(f"it is a camera raw ({kind})", hint=_RAW_HINT)
    whole = [page for page in chain if page.is_whole]
    larger = [page for page in inner if page.is_whole and (not whole or _is_larger(page, whole[0]))]
    chosen = max(larger, key=lambda page: page.size) if larger else next(iter(whole[number:]), None)
    if chosen is None:
        hint = "export the image itself as TIFF or PNG"
        raise DecodeError("it holds nothing but a reduced preview of its image", hint=hint)
    main = first if chosen is chain[0] else read_directory(file, chosen.place)
    images = 1 if larger else len(whole) + count - len(chain)
    has_mask = any(page.is_mask for page in (*chain, *inner))
    return Pages(main=_with_tiles_named(main), first=first, images=images, has_mask=has_mask)


def _is_larger(page: _Page, other: _Page) -> bool:
    return page.size[0] > other.size[0] and page.size[1] > other.size[1]


def _with_tiles_named(directory: Directory) -> Directory:
    """Return a directory whose tiles are called so: some writers name their places as those of strips."""
    values = dict(directory.values)
    if _Tag.TileWidth in values:
        for strips, tiles in zip(STRIPS, TILES, strict=True):
            if strips in values and tiles not in values:
                values[tiles] = values.pop(strips)
    return replace(directory, values=values)


def _kind_of_raw(file: BinaryIO, first: Directory, pages: list[_Page]) -> str | None:
    file.seek(8)
    mark = file.read(4)
    for start, name in _RAW_MARKS:
        if mark.startswith(start):
            return name
    if _DNG_VERSION in first.values:
        return "DNG"
    if _RAW_TAGS & first.values.keys() or any(page.is_raw for page in pages):
        return "laid out as a TIFF"
    return None


def _chain(file: BinaryIO, first: Directory) -> tuple[list[_Page], int]:
    """Return what the pages of the first few directories in the chain are, and how many there are, each once."""
    pages: list[_Page] = []
    seen: set[int] = set()
    form = f"{first.order}Q" if first.big else f"{first.order}I"
    file.seek(8 if first.big else 4)
    (place,) = struct.unpack(form, file.read(struct.calcsize(form)))
    while place and place not in seen and len(seen) < _MOST_PAGES:
        is_read = len(seen) < MOST_PAGES
        page, behind = _read_page(file, first, place, entries=_MOST_ENTRIES_READ if is_read else 0)
        if page is None:
            break
        pages += [page] if is_read else []
        seen.add(place)
        place = behind
    pages = pages or [_Page(place=0, numbers={tag: first.integer(tag, 0) for tag in first.values})]
    return pages, max(1, len(seen))


def _read_page(
    file: BinaryIO, first: Directory, place: int, *, entries: int = _MOST_ENTRIES_READ
) -> tuple[_Page | None, int]:
    """Return what a directory's first entries tell and the place of the next; None and 0 where it leaves the file."""
    order = first.order
    count_form, form, place_form = (f"{order}H", f"{order}HHI4s", f"{order}I")
    if first.big:
        count_form, form, place_form = (f"{order}Q", f"{order}HHQ8s", f"{order}Q")
    size = struct.calcsize(form)
    numbers: dict[int, int] = {}
    try:
        file.seek(place)
        (count,) = struct.unpack(count_form, file.read(struct.calcsize(count_form)))
        table = file.tell()
        rows = file.read(min(count, entries) * size)
        for tag, kind, number, field in struct.iter_unpack(form, rows[: len(rows) // size * size]):
            if number == 1 and kind in _NUMBERS and struct.calcsize(_NUMBERS[kind]) <= len(field):
                numbers.setdefault(tag, struct.unpack_from(order + _NUMBERS[kind], field)[0])
        file.seek(table + min(count, _MOST_PAGES) * size)
        (behind,) = struct.unpack(place_form, file.read(struct.calcsize(place_form)))
    except (struct.error, OSError, OverflowError):
        return None, 0
    return _Page(place=place, numbers=numbers), behind

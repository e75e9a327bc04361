"""TIFF files taken apart: the image's directory on one side, what it says beside pixels on the other.

Stage 3, READ. What libtiff and Pillow would make up, cut or call by a number is refused or named here: missing strips,
compressions that are not read, planes that are neither colour nor transparency.
"""

from __future__ import annotations

import io
from dataclasses import replace
from typing import BinaryIO

import numpy as np
from PIL import ExifTags

from restore_cli.imaging.containers.exif import BROKEN_PART_OF_EXIF, Exif, read_inner, write_exif
from restore_cli.imaging.containers.further_parts import MASK
from restore_cli.imaging.containers.parts import DAMAGED, TRUNCATED, Parts, UnreadableError
from restore_cli.imaging.containers.tiff import RAW, STORAGE_TAGS, Directory, storage_of, with_directory
from restore_cli.imaging.containers.tiff_pages import read_pages
from restore_cli.imaging.containers.tiff_tags import DESCRIPTIVE_TAGS, parts_of_tags, unfollowed_colors

_Tag = ExifTags.Base

_GRAY_PHOTOMETRICS = (0, 1)
_COLORS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3}
_RGB = 2
_ALPHAS = (1, 2)  # multiplied in, or not
_MOST_PADDING = 16
_IPTC, _RECORD = 33723, b"\x1c"
_PER_INCH, _PER_CENTIMETRE = 2, 3
_MOST_SAMPLES = 6  # CMYK and two more
_SIGNED = 2  # integers
_MOST_TILE_BYTES = 128 << 20

_OLD_JPEG = 6
_READ_COMPRESSIONS = frozenset({RAW, 2, 3, 4, 5, _OLD_JPEG, 7, 8, 32773, 32809, 32946, 34925, 50000})
_COMPRESSIONS = {
    9: "JBIG", 10: "JBIG", 32766: "NeXT", 32771: "words", 32908: "PixarFilm", 32909: "PixarLog", 34661: "JBIG",
    34676: "SGI LogLuv", 34677: "SGI LogLuv", 34712: "JPEG 2000", 33003: "JPEG 2000", 33004: "JPEG 2000",
    33005: "JPEG 2000", 34887: "LERC", 34933: "PNG", 34934: "JPEG XR", 22610: "JPEG XR", 50001: "WebP",
    50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip


def dissect_tiff(data: bytes, page: int = 0) -> Parts:
    """Take a TIFF apart.

    Args:
        data: The whole file.
        page: Which of several images is meant, from 0.

    Raises:
        DecodeError: If it is a camera's raw or holds nothing but a preview.
        UnreadableError: If its directory makes no sense.
    """
    pages = read_pages(io.BytesIO(data), page)
    directory = pages.main
    first = directory if page else pages.first  # which describes no further image
    height, width = directory.size
    if min(height, width) < 1:
        raise UnreadableError(TRUNCATED if directory.truncated else f"{DAMAGED}: it does not say how large it is")
    _require_readable(directory)
    damage = TRUNCATED if directory.truncated else _missing_storage(directory, len(data))
    tags = {**first.values, **directory.values}
    described = replace(directory, values={tag: tags[tag] for tag in tags.keys() & DESCRIPTIVE_TAGS})
    block = read_inner(io.BytesIO(data), described)
    return Parts(
        core=with_directory(data, directory, {t: v for t, v in directory.values.items() if t in STORAGE_TAGS}),
        size=(height, width),
        gray=_is_gray(directory),
        frames=max(pages.images, 1 + _files_behind(data, directory)),  # some writers leave headers between pages
        bits=directory.bits,
        damage=damage,
        orientation=_orientation(directory, first),
        exif=_exif_of(block) if described.values else None,
        xmp=directory.bytes_of(_Tag.XMLPacket) or first.bytes_of(_Tag.XMLPacket),
        icc_profile=directory.bytes_of(_Tag.InterColorProfile),
        iptc=_in_order(directory.bytes_of(_IPTC) or first.bytes_of(_IPTC)),
        dpi=_dpi_of(directory),
        further=parts_of_tags(tags) | ({MASK} if pages.has_mask else frozenset()),
        warnings=(
            *([BROKEN_PART_OF_EXIF] if block.is_broken else []),
            *_left_planes(directory),
            *unfollowed_colors(directory),
        ),
    )


def _files_behind(data: bytes, directory: Directory) -> int:
    """Return how many files lie behind a TIFF, as from a pipe.

    Where it ends is told by nothing but the last of what it points at; a header must follow there at once.
    """
    (places_tag, counts_tag), _, _ = storage_of(directory)
    spans = [directory.span[1], *((value.place or 0) + len(value.data) for value in directory.values.values())]
    places, counts = directory.integers(places_tag), directory.integers(counts_tag)
    spans += [int(place) + int(count) for place, count in zip(places, counts, strict=False)]
    end = max(spans)
    start = next((place for place in range(end, end + _MOST_PADDING) if data[place : place + 4] == data[:4]), None)
    return 0 if start is None else data.count(data[:4], start)


def _in_order(iptc: bytes | None) -> bytes | None:
    """Return IPTC records in their order; some programs store them as numbers of four bytes, and swap those."""
    if iptc is None or iptc[:1] == _RECORD or iptc[3:4] != _RECORD:
        return iptc
    return b"".join(iptc[start : start + 4][::-1] for start in range(0, len(iptc), 4))


def _exif_of(block: Exif) -> bytes:
    """Return what a file says of its image as a block without pixels."""
    try:
        return write_exif(block, in_place=False)
    except Exception:  # noqa: BLE001 - who reads it anew says that it is broken
        return b"broken"


def is_gray_tiff(file: BinaryIO) -> bool:
    """Return whether an open TIFF is gray."""
    return _is_gray(read_pages(file).main)


def _orientation(*directories: Directory) -> int | None:
    """Return what the first of some directories says that says anything; None leaves it to other metadata."""
    for directory in directories:
        if _Tag.Orientation in directory.values:
            return directory.integer(_Tag.Orientation, 1)
    return None


def _left_planes(directory: Directory) -> tuple[str, ...]:
    """Name planes that are neither colour nor transparency, such as the infrared one of a film scanner."""
    photometric = directory.integer(_Tag.PhotometricInterpretation, 0)
    extra = directory.samples - _COLORS.get(photometric, directory.samples)
    kinds = directory.integers(_Tag.ExtraSamples)[:1].tolist()
    has_alpha = bool(kinds and kinds[0] in _ALPHAS) or (not kinds and photometric == _RGB)
    left = extra - has_alpha
    if left < 1:
        return ()
    planes = "a plane" if left == 1 else f"{left} planes"
    return (f"it has {planes} beside its colours, such as infrared: left out",)


def _is_gray(directory: Directory) -> bool:
    return directory.integer(_Tag.PhotometricInterpretation, 0) in _GRAY_PHOTOMETRICS


def _require_readable(directory: Directory) -> None:
    """Refuse samples that decoders would misread or are no colour."""
    if directory.samples > _MOST_SAMPLES:
        raise UnreadableError(f"its {directory.samples} samples a pixel are not read")
    compression = directory.integer(_Tag.Compression, RAW)
    if compression not in _READ_COMPRESSIONS:
        name = _COMPRESSIONS.get(compression, f"method {compression}")
        raise UnreadableError(f"its pixels are compressed by {name}, which is not read in a TIFF")
    if directory.integer(_Tag.SampleFormat, 1) == _SIGNED and directory.bits <= 8:
        raise UnreadableError("its signed 8-bit samples are not read")


def _missing_storage(directory: Directory, size_bytes: int) -> str | None:
    """Return what is missing of the strips or tiles, or None."""
    height, width = directory.size
    (places_tag, counts_tag), rows, columns = storage_of(directory)
    if min(rows, columns) < 1:
        return f"{DAMAGED}: its strips or tiles have no size"
    samples = directory.samples
    if rows * columns * samples * directory.bits // 8 > max(_MOST_TILE_BYTES, 2 * height * width * samples * 8):
        raise UnreadableError(f"{DAMAGED}: its tiles are far larger than the image")
    planes = samples if directory.integer(_Tag.PlanarConfiguration, 1) == 2 else 1
    needed = -(-height // rows) * -(-width // columns) * planes
    compression = directory.integer(_Tag.Compression, RAW)
    places, counts = directory.integers(places_tag), directory.integers(counts_tag)
    if not places.size:
        return None if compression == _OLD_JPEG else f"{DAMAGED}: it holds no pixels"  # old JPEG keeps them elsewhere
    if places.size < needed:
        return TRUNCATED
    if counts.size >= needed:
        ends = places[:needed].astype(np.uint64) + counts[:needed].astype(np.uint64)
        if ends.max() > size_bytes:
            return TRUNCATED
        stored = int(counts[:needed].astype(np.uint64).sum())
    else:
        stored = size_bytes
    row_bytes = (width * directory.bits * (samples if planes == 1 else 1) + 7) // 8
    if compression == RAW and stored < row_bytes * height * planes and not _is_subsampled(directory):
        return TRUNCATED
    return None


def _is_subsampled(directory: Directory) -> bool:
    return directory.integer(_Tag.PhotometricInterpretation, 0) == 6


def _dpi_of(directory: Directory) -> tuple[float, float] | None:
    across, down = directory.rational(_Tag.XResolution), directory.rational(_Tag.YResolution)
    unit = directory.integer(_Tag.ResolutionUnit, _PER_INCH)
    if across is None or down is None or unit not in (_PER_INCH, _PER_CENTIMETRE):
        return None
    inches = 1.0 if unit == _PER_INCH else 2.54
    return across * inches, down * inches

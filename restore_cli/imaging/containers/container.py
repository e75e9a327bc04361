"""Take a file apart by its format, before a decoder makes up what is missing or is led astray; or read its header.

Stage 3, READ, and 2, PLAN: a run takes one network, so whether all its images are gray must be known before the first
is decoded (`is_gray`).

Pillow is lenient where it can be: a PNG without its end, a damaged checksum or a GIF that stops early pass without a
word. A restored image must not rest on pixels nobody stored. The larger formats have modules of their own; here are
those of which only the outline is read, since their decoders take them whole.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from restore_cli.imaging.containers.boxes import dissect_boxes
from restore_cli.imaging.containers.further_parts import CREDENTIALS
from restore_cli.imaging.containers.gif import dissect_gif
from restore_cli.imaging.containers.jpeg import dissect_jpeg, is_gray_jpeg
from restore_cli.imaging.containers.jxl import dissect_jxl
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
)
from restore_cli.imaging.containers.png import dissect_png, is_gray_png, read_png_size
from restore_cli.imaging.containers.tiff_image import dissect_tiff, is_gray_tiff
from restore_cli.imaging.containers.tiff_pages import read_pages
from restore_cli.imaging.formats import format_of_bytes
from restore_cli.imaging.pillow import decoding, open_as
from restore_cli.storage.files import open_regular_file

_HEAD_BYTES = 1 << 20
_LOSSLESS_WEBP = b"VP8L"
_WEBP_CODINGS = (_LOSSLESS_WEBP, b"VP8 ")
_WEBP_CHUNKS = {*_WEBP_CODINGS, b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP "}
_WEBP_BESIDE = {b"C2PA": CREDENTIALS}
_BMP_RUNS = (1, 2)
_BMP_FILE_HEADER_BYTES, _BMP_HEADER_WITH_PROFILE_BYTES, _BMP_COLORS, _BMP_EMBEDDED = 14, 124, 14 + 56, b"DEBM"
# Pillow decodes runs in Python, less than half a million a second.
_MOST_RUN_BYTES = 1_000_000

_COLOR_MODES = {"P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}
_FIRST_BYTES = 4096
# Larger files of the formats that only a decoder understands are taken for colour without being read.
_MOST_BYTES = 64 << 20


def dissect(format_name: str, data: bytes) -> Parts:
    """Take a file apart.

    Args:
        format_name: Pillow's name of the format the bytes begin as.
        data: The whole file.

    Raises:
        UnreadableError: If nothing can be made of it.
    """
    try:
        return _DISSECTORS.get(format_name, _dissect_whole)(data)
    except (IndexError, struct.error) as error:
        raise UnreadableError(TRUNCATED) from error


def is_gray(path: Path) -> bool | None:
    """Return whether a file decodes to gray; None where its header cannot be read, for reasons that `decode` gives.

    Palettes count as colour. A pipe or device is not waited for.
    """
    try:
        with open_regular_file(path) as file:
            return _is_gray(file)
    except Exception:  # noqa: BLE001 - Pillow's readers raise nearly every built-in exception on damaged files
        return None


def is_gray_data(data: bytes) -> bool | None:
    """Tell of the bytes of a file what `is_gray` tells of the file."""
    try:
        return _is_gray(io.BytesIO(data))
    except Exception:  # noqa: BLE001 - as in `is_gray`
        return None


def _is_gray(file: BinaryIO) -> bool | None:
    format_name = format_of_bytes(file.read(_FIRST_BYTES))
    if format_name is None:
        return None
    gray = _is_gray_by_header(format_name, file)
    if gray is not None:
        return gray
    file.seek(0)
    core = dissect(format_name, file.read(_MOST_BYTES)).core
    with decoding(), open_as(format_name, core) as image:
        return image.mode not in _COLOR_MODES


def _is_gray_by_header(format_name: str, file: BinaryIO) -> bool | None:
    """Tell from an open file's header whether the image is gray; None where only a decoder can tell.

    Raises:
        UnreadableError: If its header makes no sense.
    """
    if format_name == "TIFF":
        return is_gray_tiff(file)
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    if format_name == "PNG":
        return is_gray_png(head)
    if format_name in ("JPEG", "MPO"):
        return is_gray_jpeg(head)
    if format_name == "PPM":
        return read_netpbm_header(head).channels == 1
    return False if format_name in ("GIF", "WEBP") else None


def declared_pixels(format_name: str, file: BinaryIO) -> int | None:
    """Return how many pixels an open file of large samples declares, before all of it is read; None for other formats.

    Raises:
        UnreadableError: If its header makes no sense.
    """
    if format_name == "TIFF":
        size: tuple[int, int] | None = read_pages(file).main.size
    elif format_name in ("PNG", "BMP", "PPM"):
        file.seek(0)
        head = file.read(_HEAD_BYTES)
        size = read_png_size(head) if format_name == "PNG" else dissect(format_name, head).size
    else:
        return None
    return None if size is None else size[0] * size[1]


def _dissect_whole(data: bytes) -> Parts:
    return Parts(core=data)


def _dissect_webp(data: bytes) -> Parts:
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


def _dissect_bmp(data: bytes) -> Parts:
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


def _dissect_netpbm(data: bytes) -> Parts:
    header = read_netpbm_header(data)
    damage = TRUNCATED if is_netpbm_short(data, header) else None
    return Parts(
        core=data,
        size=(header.height, header.width),
        gray=header.channels == 1,
        frames=count_netpbm(data, header),
        damage=damage,
    )


_DISSECTORS: dict[str, Callable[[bytes], Parts]] = {
    "PNG": dissect_png,
    "JPEG": dissect_jpeg,
    "GIF": dissect_gif,
    "TIFF": dissect_tiff,
    "WEBP": _dissect_webp,
    "BMP": _dissect_bmp,
    "PPM": _dissect_netpbm,
    "AVIF": dissect_boxes,
    "HEIF": dissect_boxes,
    "JXL": dissect_jxl,
}

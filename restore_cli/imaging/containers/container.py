"""Take a file apart by its format, before a decoder makes up what is missing or is led astray.

Stage 3, READ. Pillow is lenient where it can be: a PNG without its end, a damaged checksum or a GIF that stops early
pass without a word. A restored image must not rest on pixels nobody stored. The larger formats have modules of their
own; here are those of which only the outline is read, since their decoders take them whole.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import BinaryIO

from restore_cli.imaging.color.coded_color import color_of_boxes
from restore_cli.imaging.containers.gif import dissect_gif
from restore_cli.imaging.containers.jpeg import dissect_jpeg, is_gray_jpeg
from restore_cli.imaging.containers.jxl import dissect_jxl
from restore_cli.imaging.containers.netpbm import is_netpbm_short, read_netpbm_header
from restore_cli.imaging.containers.parts import DAMAGED, TRUNCATED, Parts, UnreadableError
from restore_cli.imaging.containers.png import dissect_png, is_gray_png, read_png_size
from restore_cli.imaging.containers.tiff_image import dissect_tiff, is_gray_tiff
from restore_cli.imaging.containers.tiff_pages import read_pages

_HEAD_BYTES = 1 << 20
_BMP_RUNS = (1, 2)
# Pillow decodes runs in Python, less than half a million a second.
_MOST_RUN_BYTES = 1_000_000
_AV1_CONFIGURATION, _HEVC_CONFIGURATION = b"av1C\x81", b"hvcC\x01"
_BOXES_WITH_PROPERTIES_BYTES = 1 << 20


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


def is_gray_by_header(format_name: str, file: BinaryIO) -> bool | None:
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
    return Parts(core=data[: 8 + length], size=(height, width), gray=False, damage=damage)


def _dissect_boxes(data: bytes) -> Parts:
    """Walk the top-level boxes of an ISO base media file (AVIF, HEIF)."""
    position, damage = 0, None
    while position < len(data) and damage is None:
        (length,) = struct.unpack_from(">I", data, position)
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, position + 8)
        if length == 0:
            position = len(data)  # this box reaches to the end of the file
        elif length < 8:
            damage = DAMAGED
        position += length
    if damage is None and position != len(data):
        damage = TRUNCATED
    color = color_of_boxes(data[:_BOXES_WITH_PROPERTIES_BYTES])
    return Parts(
        core=data,
        damage=damage,
        bits=_bits_of_coding(data),
        icc_profile=color.icc_profile,
        warnings=() if color.warning is None else (color.warning,),
    )


def _bits_of_coding(data: bytes) -> int:
    """Return the bits a channel of the first AV1 or HEVC image, 8 where none is found."""
    place = data.find(_AV1_CONFIGURATION, 0, _BOXES_WITH_PROPERTIES_BYTES)
    if 0 <= place < len(data) - 7:
        flags = data[place + 6]
        return 8 if not flags & 0x40 else 12 if flags & 0x20 else 10
    place = data.find(_HEVC_CONFIGURATION, 0, _BOXES_WITH_PROPERTIES_BYTES)
    return 8 + (data[place + 21] & 7) if 0 <= place < len(data) - 22 else 8


def _dissect_bmp(data: bytes) -> Parts:
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    if header_bytes == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        packing = 0
    else:
        width, height, _, bits, packing = struct.unpack_from("<iiHHI", data, 18)
    (start,) = struct.unpack_from("<I", data, 10)
    if min(width, abs(height)) < 1:
        msg = f"{DAMAGED}: it does not say how large it is"
        raise UnreadableError(msg)
    row_bytes = (width * bits + 31) // 32 * 4
    damage = None
    if packing in _BMP_RUNS and len(data) > _MOST_RUN_BYTES:
        raise UnreadableError("its run-length coding is too long to be read")
    if packing not in _BMP_RUNS and start + row_bytes * abs(height) > len(data):
        damage = TRUNCATED
    return Parts(core=data, size=(abs(height), width), damage=damage)


def _dissect_netpbm(data: bytes) -> Parts:
    header = read_netpbm_header(data)
    damage = TRUNCATED if is_netpbm_short(data, header) else None
    return Parts(core=data, size=(header.height, header.width), gray=header.channels == 1, damage=damage)


_DISSECTORS: dict[str, Callable[[bytes], Parts]] = {
    "PNG": dissect_png,
    "JPEG": dissect_jpeg,
    "GIF": dissect_gif,
    "TIFF": dissect_tiff,
    "WEBP": _dissect_webp,
    "BMP": _dissect_bmp,
    "PPM": _dissect_netpbm,
    "AVIF": _dissect_boxes,
    "HEIF": _dissect_boxes,
    "JXL": dissect_jxl,
}

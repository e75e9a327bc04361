"""Whether an image is gray, told from its file's header; decoded in full only where nothing else tells.

Stage 2, PLAN: the network of the first image is loaded before that image is decoded, and gray ones have their own.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

from restore_cli.imaging.containers.jpeg import is_gray_jpeg
from restore_cli.imaging.containers.netpbm import read_netpbm_header
from restore_cli.imaging.containers.png import is_gray_png
from restore_cli.imaging.containers.tiff_image import is_gray_tiff
from restore_cli.imaging.decode import HEAD_BYTES, dissect
from restore_cli.imaging.formats import format_of_bytes
from restore_cli.imaging.pillow import decoding, open_as
from restore_cli.storage.files import open_regular_file

_COLOR_MODES = {"P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}
_FIRST_BYTES = 4096
# Larger files of the formats that only a decoder understands are taken for colour without being read.
_MOST_BYTES = 64 << 20


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
    head = file.read(HEAD_BYTES)
    if format_name == "PNG":
        return is_gray_png(head)
    if format_name in ("JPEG", "MPO"):
        return is_gray_jpeg(head)
    if format_name == "PPM":
        return read_netpbm_header(head).channels == 1
    return False if format_name in ("GIF", "WEBP") else None

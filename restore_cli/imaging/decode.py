"""The one gate through which picture files come in: bytes to a `Picture`, or one line that says why not.

Stage 3, READ. Whatever lies under a picture's name is met here: folders, pipes, scripts, bombs, half a download. So
the file is opened without waiting, read once, recognised by its bytes (never by trying every decoder Pillow has: one
of them starts Ghostscript), measured before memory is spent on it, and checked for completeness before it is decoded.
"""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from restore_cli.errors import DecodeError
from restore_cli.imaging import container
from restore_cli.imaging.alpha import bleed_color
from restore_cli.imaging.color import to_srgb
from restore_cli.imaging.formats import READABLE_FORMATS, SUFFIXES, foreign_kind, format_of_bytes, promised_format
from restore_cli.imaging.layout import read_layout
from restore_cli.imaging.metadata import read_metadata
from restore_cli.imaging.modes import floats_from, separate
from restore_cli.imaging.picture import Picture
from restore_cli.imaging.regular_file import open_regular_file

__all__ = ["SUFFIXES", "decode", "decode_bytes", "read_file"]

MAX_PIXELS = 89_500_000
# The largest sample layout we read is 16-bit RGBA; the rest is room for metadata and further frames.
_MAX_BYTES_PER_PIXEL = 8
_ROOM_FOR_METADATA_BYTES = 256 * 1024 * 1024

MOST_BYTES = MAX_PIXELS * _MAX_BYTES_PER_PIXEL + _ROOM_FOR_METADATA_BYTES
"""No file of a picture within the usual limit is longer."""

_PILLOW_LOCK = threading.Lock()


def decode(path: Path, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read one picture file.

    Args:
        path: The file.
        max_pixels: Refuse pictures with more pixels than this, before memory is spent on them.

    Returns:
        Upright, sRGB-encoded pixels, with all that its file says and an output should keep.

    Raises:
        DecodeError: If it is no regular file, cannot be read, is no whole picture of a format we read, or too large.
    """
    return decode_bytes(read_file(path, max_pixels), str(path), max_pixels=max_pixels)


def decode_bytes(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read one picture from the bytes of its file.

    Args:
        data: The whole file.
        name: What messages call it; its suffix is compared with the content.
        max_pixels: Refuse pictures with more pixels than this, before memory is spent on them.

    Raises:
        DecodeError: If the bytes are no whole picture of a format we read, or it is too large.
    """
    format_name = format_of_bytes(data)
    if format_name is None:
        hint = f"pictures are read from {', '.join(READABLE_FORMATS)}"
        raise DecodeError(f"{name}: it is {foreign_kind(data)}", hint=hint)
    incomplete = container.reason_incomplete(format_name, data)
    if incomplete is not None:
        raise DecodeError(f"{name}: {incomplete}")
    try:
        with _pillow_as_we_need_it(max_pixels):
            return _decode_known(data, name, format_name, max_pixels)
    except DecodeError:
        raise
    except Image.DecompressionBombError as error:
        raise DecodeError(f"{name}: it has more than the {max_pixels} pixels allowed") from error
    except MemoryError as error:
        raise DecodeError(f"{name}: there is not enough memory to decode it") from error
    except Exception as error:
        # Pillow's decoders raise nearly every built-in exception on damaged files.
        raise DecodeError(f"{name}: it cannot be decoded as {format_name}: {_one_line(error)}") from error


def read_file(path: Path, max_pixels: int = MAX_PIXELS) -> bytes:
    """Return the bytes of what may be a picture file, for `decode_bytes`.

    Args:
        path: The file.
        max_pixels: What `decode_bytes` will be told; no picture of so many is longer than what is read.

    Raises:
        DecodeError: If it is no regular file, cannot be read, is empty, or longer than any such picture.
    """
    most_bytes = max_pixels * _MAX_BYTES_PER_PIXEL + _ROOM_FOR_METADATA_BYTES
    with open_regular_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most_bytes:
            raise DecodeError(f"{path}: it is larger ({size} bytes) than any picture that is read")
        data = file.read(most_bytes)
    if not data:
        raise DecodeError(f"{path}: it is empty")
    return data


@contextmanager
def _pillow_as_we_need_it(max_pixels: int) -> Iterator[None]:
    """Lift Pillow's own limit to ours, forbid it to guess missing pixels, and keep its warnings off the terminal.

    These are settings of the process, so they are put back, and decoders run one at a time.
    """
    with _PILLOW_LOCK, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        limit, lenient = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = max_pixels, False
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = limit, lenient


def _decode_known(data: bytes, name: str, format_name: str, max_pixels: int) -> Picture:
    Image.init()
    # Image.open would try one decoder after the other and hide why the right one refused.
    read, _ = Image.OPEN[format_name]
    with read(io.BytesIO(data), "") as image:
        if image.width * image.height > max_pixels:
            size = f"{image.width}x{image.height}"
            raise DecodeError(f"{name}: its {size} pixels are more than the {max_pixels} allowed")
        layout = read_layout(image, data)
        frames = _count_frames(image, data)
        image.load()
        source_format = image.format or format_name
        metadata = read_metadata(image)
        profile = image.info.get("icc_profile")
        separated = separate(image if metadata.turn is None else image.transpose(metadata.turn), layout)
    srgb = to_srgb(separated.color, profile if isinstance(profile, bytes) and profile else None)
    samples = np.asarray(srgb.image)
    pixels = floats_from(samples if samples.ndim == 3 else samples[..., np.newaxis])
    notes = []
    if promised_format(name) not in (None, format_name, source_format):
        notes.append(f"its name promises {promised_format(name)}, its bytes are {format_name}: read as {format_name}")
    if frames > 1:
        notes.append(f"it holds {frames} pictures: only the first is used")
    if layout.cut_to_8_bit:
        notes.append("it has 16 bits a channel: only the upper 8 are used")
    return Picture(
        pixels=pixels if separated.alpha is None else bleed_color(pixels, separated.alpha),
        alpha=separated.alpha,
        bit_depth=samples.dtype.itemsize * 8,
        format=source_format,
        icc_profile=srgb.icc_profile,
        exif=metadata.exif,
        xmp=metadata.xmp,
        dpi=metadata.dpi,
        warnings=(*notes, *metadata.warnings, *srgb.warnings),
    )


def _count_frames(image: ImageFile.ImageFile, data: bytes) -> int:
    # Pillow would decode or parse its way through every frame to count those of a GIF or a TIFF.
    if image.format == "GIF":
        return container.gif_frame_count(data)
    if image.format == "TIFF":
        return container.tiff_page_count(data)
    return int(getattr(image, "n_frames", 1))


def _one_line(error: Exception) -> str:
    words = " ".join(str(error).split())
    return words if " " in words else f"{type(error).__name__} {words}".strip()

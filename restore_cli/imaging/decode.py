"""The one gate through which image files come in: bytes to a `DecodedImage`, or one line that says why not.

Stage 3, READ. Whatever lies under an image's name is met here: folders, pipes, scripts, bombs, half a download. So
the file is opened without waiting, recognised by its bytes (never by trying every decoder Pillow has: one of them
starts Ghostscript), taken apart and measured before memory is spent on it, and only then decoded.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from restore_cli.errors import DecodeError
from restore_cli.imaging.alpha import bleed_color
from restore_cli.imaging.containers.boxes import dissect_boxes
from restore_cli.imaging.containers.deep_tiff import is_deep_tiff, read_deep_tiff
from restore_cli.imaging.containers.gif import dissect_gif
from restore_cli.imaging.containers.jpeg import dissect_jpeg, fault_of_scans, jpeg_facts
from restore_cli.imaging.containers.jxl import dissect_jxl
from restore_cli.imaging.containers.metadata import TURNS_THAT_SWAP_SIDES, read_metadata, turned
from restore_cli.imaging.containers.netpbm import read_netpbm, read_netpbm_header
from restore_cli.imaging.containers.outlines import dissect_bmp, dissect_netpbm, dissect_webp
from restore_cli.imaging.containers.parts import TRUNCATED, Parts, UnreadableError
from restore_cli.imaging.containers.png import (
    dissect_png,
    is_deep_color_png,
    is_png_short,
    read_deep_png,
    read_png_size,
)
from restore_cli.imaging.containers.tiff_image import dissect_tiff
from restore_cli.imaging.containers.tiff_pages import MOST_PAGES, read_pages
from restore_cli.imaging.decoded_image import DecodedImage, JpegFacts, floats_from
from restore_cli.imaging.formats import READABLE_FORMATS, SUFFIXES, foreign_kind, format_of_bytes, promised_format
from restore_cli.imaging.pillow import (
    Separated,
    decoding,
    in_srgb,
    load,
    open_as,
    read_sample_layout,
    reason_of,
    require_plugin,
    separate,
    with_decoder_info,
)
from restore_cli.settings import MAX_PIXELS, ReadSettings
from restore_cli.storage.files import open_regular_file

__all__ = ["MAX_PIXELS", "MOST_BYTES", "SUFFIXES", "decode", "decode_bytes", "read_file"]

# Floating-point RGBA takes 16 bytes; the rest is room for metadata, further frames and compressed formats.
_MAX_BYTES_PER_PIXEL = 16
_ROOM_FOR_METADATA_BYTES = 256 * 1024 * 1024
_FIRST_BYTES = 4096
HEAD_BYTES = 1 << 20
"""So much of a file says what its header says."""
_MOST_TOLD = 8
# No coding holds more of an image; below so many pixels, memory for them is no matter.
_MOST_DAMAGED_PIXELS_PER_BYTE, _FEW_PIXELS = 2048, 4_000_000

MOST_BYTES = MAX_PIXELS * _MAX_BYTES_PER_PIXEL + _ROOM_FOR_METADATA_BYTES
"""No file of an image within the usual limit is longer."""

_USUAL = ReadSettings()

_DISSECTORS: dict[str, Callable[[bytes], Parts]] = {
    "PNG": dissect_png,
    "JPEG": dissect_jpeg,
    "GIF": dissect_gif,
    "TIFF": dissect_tiff,
    "WEBP": dissect_webp,
    "BMP": dissect_bmp,
    "PPM": dissect_netpbm,
    "AVIF": dissect_boxes,
    "HEIF": dissect_boxes,
    "JXL": dissect_jxl,
}
# Formats whose decoders give 8 bits of colour, however many there are.
_CUT_BY_DECODERS = ("AVIF", "HEIF", "JXL")
# Formats without a box that says which way is up.
_TURNED_BY_XMP = ("JPEG", "PNG", "WEBP", "TIFF")


def decode(path: Path, settings: ReadSettings = _USUAL) -> DecodedImage:
    """Read one image file.

    Args:
        path: The file.
        settings: How it is read.

    Returns:
        Upright, sRGB-encoded pixels, with all that its file says and an output should keep.

    Raises:
        DecodeError: If it is no regular file, cannot be read, is no whole image of a format we read, or too large.
    """
    return decode_bytes(read_file(path, settings.max_pixels), str(path), settings)


def decode_bytes(data: bytes, name: str, settings: ReadSettings = _USUAL) -> DecodedImage:
    """Read one image from the bytes of its file.

    Args:
        data: The whole file.
        name: What messages call it; its suffix is compared with the content.
        settings: How it is read; of several pages, the others lie in `more`.

    Raises:
        DecodeError: If the bytes are no whole image of a format we read, or it is too large.
    """
    with _known(data, name) as format_name:
        count = _count_pages(data, format_name, settings)
        image, *more = (_decode_known(data, name, format_name, settings, page) for page in range(count))
        if more:
            warnings = [f"page {number}: {line}" for number, page in enumerate(more, 2) for line in page.warnings]
            image = replace(image, more=tuple(more), warnings=(*image.warnings, *warnings))
    if settings.strict and image.warnings:
        raise DecodeError(f"{name}: {image.warnings[0]}", hint="leave --strict out to take it as it is")
    return image


@dataclass(frozen=True, kw_only=True)
class Header:
    """What is known of an image before its pixels are decoded.

    Attributes:
        height: In pixels, once it is upright.
        width: The same.
        format: As Pillow names it.
        pages: How many images are read.
    """

    height: int
    width: int
    format: str
    pages: int


def inspect(data: bytes, name: str, settings: ReadSettings) -> Header:
    """Refuse what `decode_bytes` refuses before it decodes, and tell what is known by then.

    Args:
        data: The whole file.
        name: What messages call it.
        settings: How it would be read.

    Raises:
        DecodeError: If the bytes are surely no whole image of a format we read, or it is too large.
    """
    with _known(data, name) as format_name:
        pages = _count_pages(data, format_name, settings)
        parts = _dissected(data, format_name, settings)
        size = parts.size
        if size is None:
            with decoding(), open_as(format_name, parts.core) as image:
                size, parts = (image.height, image.width), with_decoder_info(image, parts)
            _check_size(size, settings.max_pixels)
        orientation = read_metadata(parts, turned_by_xmp=format_name in _TURNED_BY_XMP).orientation
    height, width = size[::-1] if orientation in TURNS_THAT_SWAP_SIDES else size
    return Header(height=height, width=width, format=format_name, pages=pages)


def read_file(path: Path, max_pixels: int = MAX_PIXELS) -> bytes:
    """Return the bytes of what may be an image file, for `decode_bytes`; the first few if it is surely none.

    Args:
        path: The file.
        max_pixels: What `decode_bytes` will be told; no image of so many is longer than what is read.

    Raises:
        DecodeError: If it is no regular file, cannot be read, is empty, or longer than any such image.
    """
    with open_regular_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(_FIRST_BYTES)
        if not data:
            raise DecodeError(f"{path}: it is empty")
        format_name = format_of_bytes(data)
        if format_name is None:
            return data  # enough to say what it is
        with _one_line(str(path), format_name):
            pixels = _declared_pixels(format_name, file)
        most_bytes = min(max_pixels, pixels or 0) * _MAX_BYTES_PER_PIXEL + _ROOM_FOR_METADATA_BYTES
        if size > most_bytes:
            raise DecodeError(f"{path}: it is larger ({size} bytes) than any image of its kind that is read")
        file.seek(0)
        return file.read(min(most_bytes, size + 1))  # the whole buffer is allocated, however little comes


def _declared_pixels(format_name: str, file: BinaryIO) -> int | None:
    """Return how many pixels an open file of large samples declares, before all of it is read; None for other formats.

    Raises:
        UnreadableError: If its header makes no sense.
    """
    if format_name == "TIFF":
        size: tuple[int, int] | None = read_pages(file).main.size
    elif format_name in ("PNG", "BMP", "PPM"):
        file.seek(0)
        head = file.read(HEAD_BYTES)
        size = read_png_size(head) if format_name == "PNG" else dissect(format_name, head).size
    else:
        return None
    return None if size is None else size[0] * size[1]


def dissect(format_name: str, data: bytes) -> Parts:
    """Take a file apart.

    Args:
        format_name: Pillow's name of the format the bytes begin as.
        data: The whole file.

    Raises:
        UnreadableError: If nothing can be made of it.
    """
    try:
        return _DISSECTORS[format_name](data) if format_name in _DISSECTORS else Parts(core=data)
    except (IndexError, struct.error) as error:
        raise UnreadableError(TRUNCATED) from error


@contextmanager
def _known(data: bytes, name: str) -> Iterator[str]:
    """Give the format of an image file, and turn whatever is raised into one line."""
    format_name = format_of_bytes(data)
    if format_name is None:
        kind = foreign_kind(data)
        hint = None if ": " in kind else f"images are read from {', '.join(READABLE_FORMATS)}"  # it says what to do
        raise DecodeError(f"{name}: it is {kind}", hint=hint)
    with _one_line(name, format_name):
        require_plugin(format_name)
        yield format_name


@contextmanager
def _one_line(name: str, format_name: str) -> Iterator[None]:
    """Turn whatever a decoder raises into one line; Pillow's raise nearly every built-in exception on damaged files."""
    try:
        yield
    except DecodeError as error:
        if error.message.startswith(name):
            raise
        raise DecodeError(f"{name}: {error.message}", hint=error.hint) from error
    except UnreadableError as error:
        raise DecodeError(f"{name}: {error}") from error
    except MemoryError as error:
        raise DecodeError(f"{name}: it needs more memory to decode than there is") from error
    except Exception as error:
        raise DecodeError(f"{name}: it cannot be decoded as {format_name}: {reason_of(error)}") from error


@dataclass(frozen=True, kw_only=True)
class _Decoded:
    """Hold what a decoder made of a file taken apart.

    Attributes:
        planes: Colour and alpha, not turned yet.
        parts: With what only the decoder could tell.
        format: As Pillow names it.
        damage: Why only a part could be decoded, or None.
        jpeg: How strongly it was compressed, None where it is no JPEG.
    """

    planes: Separated
    parts: Parts
    format: str
    damage: str | None = None
    jpeg: JpegFacts | None = None


def _count_pages(data: bytes, format_name: str, settings: ReadSettings) -> int:
    """Return how many images are to be read, and refuse them if they are together too large."""
    if format_name != "TIFF" or not settings.all_pages:
        return 1
    file = io.BytesIO(data)
    count = read_pages(file).images
    if count > MOST_PAGES:
        msg = f"its {count} pages are more than the {MOST_PAGES} that are read"
        raise DecodeError(msg, hint="take it apart first")
    sizes = [read_pages(file, page).main.size for page in range(count)]
    pixels = sum(height * width for height, width in sizes)
    if count > 1 and pixels > settings.max_pixels:
        msg = f"the {pixels} pixels of its {count} pages are more than the {settings.max_pixels} allowed"
        raise DecodeError(msg, hint="allow more with --max-pixels")
    return count


def _dissected(data: bytes, format_name: str, settings: ReadSettings, page: int = 0) -> Parts:
    """Take a file apart, and refuse it if it is too large or damaged."""
    parts = dissect_tiff(data, page) if page else dissect(format_name, data)
    if format_name == "TIFF" and settings.all_pages:
        parts = replace(parts, frames=1)  # the others are read too
    _check_size(parts.size, settings.max_pixels)
    if format_name == "PNG" and parts.damage is None and is_png_short(parts.core):
        parts = replace(parts, damage=TRUNCATED)
    if parts.damage is not None and _is_hollow(parts):
        raise UnreadableError(parts.damage)
    if parts.damage is not None and not settings.allow_damaged:
        raise DecodeError(parts.damage, hint="add --allow-damaged to use what there is of it")
    return parts


def _is_hollow(parts: Parts) -> bool:
    """Return whether a damaged file has bytes for next to none of the many pixels it declares."""
    pixels = 0 if parts.size is None else parts.size[0] * parts.size[1]
    return pixels > max(_FEW_PIXELS, len(parts.core) * _MOST_DAMAGED_PIXELS_PER_BYTE)


def _decode_known(data: bytes, name: str, format_name: str, settings: ReadSettings, page: int) -> DecodedImage:
    parts = _dissected(data, format_name, settings, page)
    decoded = _decode_parts(parts, format_name, settings)
    with decoding():
        parts, alpha = decoded.parts, decoded.planes.alpha
        metadata = read_metadata(parts, turned_by_xmp=format_name in _TURNED_BY_XMP)
        srgb = in_srgb(decoded.planes.color, parts.icc_profile or None)
    notes = _notes(name, format_name, decoded)
    format_read, jpeg = decoded.format, decoded.jpeg
    del decoded  # a third of the memory that floats take, not to be held beside them
    pixels = floats_from(turned(srgb.samples, metadata.orientation))
    alpha = None if alpha is None else turned(alpha, metadata.orientation)
    return DecodedImage(
        pixels=pixels if alpha is None else bleed_color(pixels, alpha),
        alpha=alpha,
        bit_depth=srgb.samples.dtype.itemsize * 8,
        format=format_read,
        lossless=parts.lossless,
        icc_profile=srgb.icc_profile,
        exif=metadata.exif,
        xmp=metadata.xmp,
        iptc=parts.iptc,
        text=parts.text,
        dpi=metadata.dpi,
        jpeg=jpeg,
        warnings=(*notes, *parts.warnings, *_left_out(parts.further), *metadata.warnings, *srgb.warnings),
    )


def _decode_parts(parts: Parts, format_name: str, settings: ReadSettings) -> _Decoded:
    """Decode in full; where that fails and damage is allowed, decode what there is and say why."""
    damage = parts.damage
    if damage is None:
        try:
            with decoding():
                return _decode_with(parts, format_name, settings, lenient=False)
        except Exception as error:
            if not settings.allow_damaged or isinstance(error, DecodeError):
                raise
            damage = str(error) if isinstance(error, UnreadableError) else reason_of(error)
    # The first attempt's pixels are gone by now, and lenient decoders pass over faults without a word.
    with decoding(lenient=True):
        decoded = _decode_with(parts, format_name, settings, lenient=True)
    return replace(decoded, damage=decoded.damage or damage)


def _decode_with(parts: Parts, format_name: str, settings: ReadSettings, *, lenient: bool) -> _Decoded:
    """Decode with the reader made for the kind of samples, or else with Pillow."""
    if format_name == "PPM":
        samples, damage = read_netpbm(parts.core, read_netpbm_header(parts.core))
        if damage is not None and not lenient:
            raise UnreadableError(damage)
        return _Decoded(planes=Separated(color=samples, alpha=None), parts=parts, format="PPM", damage=damage)
    if format_name == "PNG" and is_deep_color_png(parts.core):
        color, alpha = read_deep_png(parts.core)
        return _Decoded(planes=Separated(color=color, alpha=alpha), parts=parts, format="PNG", damage=parts.damage)
    if format_name == "TIFF" and is_deep_tiff(parts.core):
        color, alpha = read_deep_tiff(parts.core, lenient=lenient)
        return _Decoded(planes=Separated(color=color, alpha=alpha), parts=parts, format="TIFF", damage=parts.damage)
    with open_as(format_name, parts.core) as image:
        _check_size((image.height, image.width), settings.max_pixels)
        layout = read_sample_layout(image, parts.core)
        frames = max(parts.frames, int(getattr(image, "n_frames", 1)))
        damage = load(image, lenient=lenient)
        known = with_decoder_info(image, parts)
        if format_name == "JPEG" and parts.damage is None and damage is None:
            fault = fault_of_scans(parts.core, len(image.getbands()))
            known = replace(known, warnings=(*known.warnings, *([fault] if fault else [])))
        format_name = "MPO" if format_name == "JPEG" and frames > 1 else format_name
        return _Decoded(
            planes=separate(image, layout),
            parts=replace(known, frames=frames),
            format=format_name,
            damage=parts.damage or damage,
            jpeg=jpeg_facts(image) if format_name in ("JPEG", "MPO") else None,
        )


def _check_size(size: tuple[int, int] | None, max_pixels: int) -> None:
    if size is not None and size[0] * size[1] > max_pixels:
        msg = f"its {size[1]}x{size[0]} pixels are more than the {max_pixels} allowed"
        raise DecodeError(msg, hint="allow more with --max-pixels")


def _notes(name: str, format_name: str, decoded: _Decoded) -> list[str]:
    """Say what was decided about the file as a whole."""
    notes = []
    promised = promised_format(name)
    if promised not in (None, format_name, decoded.format):
        notes.append(f"its name promises {promised}, its bytes are {format_name}: read as {format_name}")
    if decoded.parts.frames > 1:
        notes.append(f"it holds {decoded.parts.frames} images: only the first is used")
    if decoded.damage is not None:
        notes.append(f"only what could be decoded is used: {decoded.damage}")
    if format_name in _CUT_BY_DECODERS and decoded.parts.bits > 8 and not _is_deep(decoded.planes):
        notes.append(f"it has {decoded.parts.bits} bits a channel: only the upper 8 are used")
    return notes


def _left_out(names: frozenset[str]) -> tuple[str, ...]:
    """Say in one warning what is not kept; nothing for nothing."""
    told = sorted(names)
    if len(told) > _MOST_TOLD:
        told[_MOST_TOLD:] = [f"{len(told) - _MOST_TOLD} more"]
    return (f"it also holds {' and '.join(told)}: left out",) if told else ()


def _is_deep(planes: Separated) -> bool:
    return isinstance(planes.color, Image.Image) and planes.color.mode == "I;16"

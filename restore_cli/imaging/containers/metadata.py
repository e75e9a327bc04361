"""What a file says about its image besides pixels: which way is up, EXIF, XMP, IPTC, texts and resolution.

Stage 3, READ. What no longer holds once pixels were turned and enlarged goes (orientation, thumbnail, sizes, the layout
of strips); the rest is kept. Broken metadata costs itself and a warning, never the image.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import ExifTags

from restore_cli.imaging.containers.exif import BROKEN_PART_OF_EXIF, Exif, read_exif, write_exif
from restore_cli.imaging.containers.further_parts import without_claims
from restore_cli.imaging.containers.parts import Parts
from restore_cli.imaging.containers.tiff import Directory, shorts

Scalar = TypeVar("Scalar", bound=np.generic)

_UPRIGHT, _RESOLUTION_UNITS = 1, (1, 2, 3)
TURNS_THAT_SWAP_SIDES = (5, 6, 7, 8)
"""Orientations of images that lie on their side."""

_Tag = ExifTags.Base
# Tags of an EXIF block's first directory that describe how samples were stored, or hold what is kept elsewhere.
_STALE_TAGS = frozenset(
    {
        *range(_Tag.NewSubfileType, _Tag.Thresholding),
        *(_Tag.FillOrder, _Tag.StripOffsets, _Tag.SamplesPerPixel, _Tag.RowsPerStrip, _Tag.StripByteCounts),
        *(_Tag.PlanarConfiguration, _Tag.Predictor, _Tag.ColorMap, _Tag.SubIFDs, _Tag.ExtraSamples, _Tag.SampleFormat),
        *range(_Tag.TileWidth, _Tag.TileByteCounts + 1),
        *(_Tag.JPEGTables, _Tag.JpegIFOffset, _Tag.JpegIFByteCount),
        *range(_Tag.YCbCrCoefficients, _Tag.ReferenceBlackWhite + 1),
        *(_Tag.XMLPacket, _Tag.ImageResources, _Tag.InterColorProfile),
    }
)
_STALE_EXIF_TAGS = frozenset({_Tag.ExifImageWidth, _Tag.ExifImageHeight})

_XMP_ORIENTATION = re.compile(rb'(tiff:Orientation(?:\s*=\s*["\']|>)\s*)([2-8])')
# How tifffile, ImageJ and OME begin descriptions of arrays, and what they tell of them.
_SHAPE = re.compile(rb'\{"shape":\s*\[([\d,\s]*)\]')
_IMAGEJ, _IMAGEJ_IMAGES = re.compile(rb"ImageJ=\d"), re.compile(rb"^images=(\d{1,9})$", re.MULTILINE)
_OME, _OME_ARRAYS = re.compile(rb"<OME[\s>]"), re.compile(rb"<Pixels\b[^>]*>")
_OME_SIDES = re.compile(rb'\bSize([XYZCT])="(\d{1,9})"')
_MOST_DIGITS = 12
_ARRAY = re.compile(b"|".join(pattern.pattern for pattern in (_SHAPE, _IMAGEJ, _OME)))

_BROKEN_XMP = "its XMP is broken and was left out"
_BROKEN_EXIF = "its EXIF data is broken and was left out"
# What the resolution fields of all written formats can hold.
_MAX_DPI = 65535.0


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """Hold what is kept of a file's metadata.

    Attributes:
        orientation: How the pixels are stored, 1 (upright) to 8; see `turned`.
        exif: EXIF block with orientation 1 and without thumbnail and sizes, or None.
        xmp: XMP packet with orientation 1, or None.
        dpi: Horizontal and vertical resolution after turning, or None.
        warnings: What was left out, a line each.
    """

    orientation: int
    exif: bytes | None
    xmp: bytes | None
    dpi: tuple[float, float] | None
    warnings: tuple[str, ...]


def read_metadata(parts: Parts, *, turned_by_xmp: bool = False) -> Metadata:
    """Read the metadata of a file taken apart; never fails.

    Args:
        parts: The file.
        turned_by_xmp: Whether XMP says which way is up where nothing else does.
    """
    warnings: list[str] = []
    parts = replace(parts, xmp=_as_utf8(parts.xmp))
    orientation, exif, dpi = _orientation_of_xmp(parts) if turned_by_xmp else _UPRIGHT, None, _sane_dpi(parts.dpi)
    if parts.exif is not None:
        try:
            block = read_exif(parts.exif)
            orientation = block.first.integer(_Tag.Orientation, orientation)
            dpi = dpi or _dpi_of_exif(block.first)
            exif = _kept_exif(block)
            warnings += [BROKEN_PART_OF_EXIF] if block.is_broken else []
        except Exception:  # noqa: BLE001 - hostile EXIF raises nearly anything, and the image is sound without it
            warnings.append(_BROKEN_EXIF)
    xmp = None if parts.xmp is None else without_claims(_XMP_ORIENTATION.sub(rb"\g<1>1", parts.xmp))
    if parts.xmp is not None and xmp is None:
        warnings.append(_BROKEN_XMP)
    orientation = orientation if parts.orientation is None else parts.orientation
    if orientation not in range(1, 9):
        orientation = _UPRIGHT
    if dpi is not None and orientation in TURNS_THAT_SWAP_SIDES:
        dpi = dpi[::-1]
    return Metadata(
        orientation=orientation,
        exif=exif,
        xmp=xmp,
        dpi=dpi,
        warnings=tuple(warnings),
    )


def stale_description(exif: bytes | None, shape: tuple[int, int, int], pages: int) -> bytes | None:
    """Return what an EXIF block says of an array of pixels, as tifffile, OME and ImageJ do, if it is another array.

    Args:
        exif: The block.
        shape: (height, width, channels) of an image as it is written.
        pages: How many such images are written.
    """
    if exif is None or not _ARRAY.search(exif):
        return None
    description = read_exif(exif).first.bytes_of(_Tag.ImageDescription) or b""
    height, width, channels = shape
    if match := _SHAPE.match(description):
        lengths = [int(length[:_MOST_DIGITS]) for length in match[1].split(b",") if length.strip()]
        is_this = (height, width) in pairwise(lengths) and math.prod(lengths) == height * width * channels * pages
    elif match := _IMAGEJ.match(description):
        images = _IMAGEJ_IMAGES.search(description)
        is_this = int(images[1] if images else 1) == pages
    elif _OME.search(description):
        arrays = [dict(_OME_SIDES.findall(element)) for element in _OME_ARRAYS.findall(description)]
        sides = {(int(array.get(b"Y", 0)), int(array.get(b"X", 0))) for array in arrays}
        planes = sum(math.prod(int(array.get(name, 1)) for name in (b"Z", b"C", b"T")) for array in arrays)
        is_this = sides == {(height, width)} and planes == channels * pages
    else:
        return None
    return None if is_this else description


def _as_utf8(packet: bytes | None) -> bytes | None:
    """Return XMP in the one coding that all formats take; some programs write UTF-16."""
    if packet is None or b"\0" not in packet[:4]:
        return packet
    coding = (
        "utf-16" if packet[:2] in (b"\xfe\xff", b"\xff\xfe") else "utf-16-be" if packet[:1] == b"\0" else "utf-16-le"
    )
    return packet.decode(coding, "replace").encode("utf-8", "replace")


def _orientation_of_xmp(parts: Parts) -> int:
    match = _XMP_ORIENTATION.search(parts.xmp or b"")
    return int(match[2]) if match else _UPRIGHT


def turned(image: npt.NDArray[Scalar], orientation: int) -> npt.NDArray[Scalar]:
    """Return (H, W, ...) pixels stored in one of EXIF's eight orientations as they are to be seen."""
    if orientation in (5, 7):
        image = np.swapaxes(image, 0, 1)
    quarters = {3: 2, 6: -1, 7: 2, 8: 1}.get(orientation, 0)
    image = np.rot90(image, quarters)
    if orientation in (2, 4):
        image = np.flip(image, 1 if orientation == 2 else 0)
    return np.ascontiguousarray(image)


def _dpi_of_exif(first: Directory) -> tuple[float, float] | None:
    unit = {2: 1.0, 3: 2.54}.get(first.integer(_Tag.ResolutionUnit, 2))
    across, down = first.rational(_Tag.XResolution), first.rational(_Tag.YResolution)
    if unit is None or across is None or down is None:
        return None
    return _sane_dpi((across * unit, down * unit))


def _kept_exif(block: Exif) -> bytes | None:
    """Return the block without what no longer holds."""
    first = _without(block.first, _STALE_TAGS)
    inner = {pointer: _without(directory, _STALE_EXIF_TAGS) for pointer, directory in block.inner.items()}
    if not first.values.keys() - {_Tag.Orientation}:
        return None
    sound = {tag: value for tag, value in first.values.items() if _is_sound(tag, first)}
    upright = {**sound, int(_Tag.Orientation): shorts(first, _UPRIGHT)}
    return write_exif(replace(block, first=replace(first, values=upright), inner=inner))


def _is_sound(tag: int, first: Directory) -> bool:
    """Return whether a tag is what programs trust it to be: a TIFF with a text for a resolution opens in none."""
    if tag in (_Tag.XResolution, _Tag.YResolution):
        return len(first.rationals(tag)) == 1
    return tag != _Tag.ResolutionUnit or first.integer(tag, 0) in _RESOLUTION_UNITS


def _without(directory: Directory, tags: frozenset[int]) -> Directory:
    return replace(directory, values={tag: value for tag, value in directory.values.items() if tag not in tags})


def _sane_dpi(value: object) -> tuple[float, float] | None:
    """Return a resolution that every format can write, or None for what is missing or makes no sense."""
    if not isinstance(value, tuple) or len(value) != 2:
        return None
    try:
        across, down = float(value[0]), float(value[1])
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    # Pillow gives 1 for a TIFF that states none.
    return (across, down) if 1.0 < across <= _MAX_DPI and 1.0 < down <= _MAX_DPI else None

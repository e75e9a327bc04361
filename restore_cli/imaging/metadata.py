"""What a file says about its picture besides pixels: which way is up, EXIF, XMP and resolution.

Stage 3, READ. What no longer holds once pixels were turned and enlarged goes (orientation, thumbnail, sizes, the layout
of strips); the rest is kept. Broken metadata costs itself and a warning, never the picture.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from PIL import ExifTags, Image

_UPRIGHT = 1
_TURN_BY_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TURNS_THAT_SWAP_SIDES = tuple(_TURN_BY_ORIENTATION[orientation] for orientation in (5, 6, 7, 8))

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
# Of a TIFF's own directory only what describes the picture is kept: the rest is layout or private to some program.
_DESCRIPTIVE_TAGS = frozenset(
    {
        *(_Tag.ImageDescription, _Tag.Make, _Tag.Model, _Tag.Software, _Tag.DateTime, _Tag.Artist, _Tag.HostComputer),
        *(_Tag.Copyright, _Tag.Rating, _Tag.RatingPercent, _Tag.ExifOffset, _Tag.GPSInfo),
        *range(_Tag.XPTitle, _Tag.XPSubject + 1),
    }
)
_STALE_EXIF_TAGS = (_Tag.ExifImageWidth, _Tag.ExifImageHeight)

_XMP_ORIENTATION = re.compile(rb'(tiff:Orientation(?:\s*=\s*["\']|>)\s*)[2-8]')
_BROKEN_EXIF = "its EXIF data is broken and was left out"
# What the resolution fields of all written formats can hold.
_MAX_DPI = 65535.0


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """Hold what is kept of a file's metadata.

    Attributes:
        turn: How to turn the pixels so that the picture stands upright; None if it does.
        exif: EXIF block with orientation 1 and without thumbnail and sizes, or None.
        xmp: XMP packet with orientation 1, or None.
        dpi: Horizontal and vertical resolution after turning, or None.
        warnings: What was left out, a line each.
    """

    turn: Image.Transpose | None
    exif: bytes | None
    xmp: bytes | None
    dpi: tuple[float, float] | None
    warnings: tuple[str, ...]


def read_metadata(image: Image.Image) -> Metadata:
    """Read the metadata of an image whose pixels were loaded; never fails."""
    warnings: list[str] = []
    turn, exif = None, None
    try:
        block = image.getexif()
        turn = _TURN_BY_ORIENTATION.get(_orientation(block))
        exif = _kept_exif(block, _DESCRIPTIVE_TAGS if image.format == "TIFF" else None)
    except Exception:  # noqa: BLE001 - hostile EXIF raises nearly anything, and the picture is sound without it
        warnings.append(_BROKEN_EXIF)
    xmp = _bytes_of(image.info.get("xmp") or image.info.get("XML:com.adobe.xmp"))
    dpi = None if _dpi_is_invented(image) else _sane_dpi(image.info.get("dpi"))
    if dpi is not None and turn in _TURNS_THAT_SWAP_SIDES:
        dpi = dpi[::-1]
    return Metadata(
        turn=turn,
        exif=exif,
        xmp=None if xmp is None else _XMP_ORIENTATION.sub(rb"\g<1>1", xmp),
        dpi=dpi,
        warnings=tuple(warnings),
    )


def _orientation(block: Image.Exif) -> int:
    value = block.get(_Tag.Orientation, _UPRIGHT)
    return value if isinstance(value, int) else _UPRIGHT


def _kept_exif(block: Image.Exif, wanted: frozenset[int] | None) -> bytes | None:
    """Return the block without what no longer holds; `wanted` narrows its first directory to some tags.

    Writing it anew leaves out the second directory, which holds the thumbnail.
    """
    for tag in list(block):
        if tag in _STALE_TAGS or (wanted is not None and tag not in wanted):
            del block[tag]
    if ExifTags.IFD.Exif in block:
        details = block.get_ifd(ExifTags.IFD.Exif)
        for stale in _STALE_EXIF_TAGS:
            details.pop(stale, None)
    if not any(tag != _Tag.Orientation for tag in block):
        return None
    block[_Tag.Orientation] = _UPRIGHT
    block.bigtiff = False  # a block read from a BigTIFF must fit into other files
    return block.tobytes()


def _bytes_of(packet: object) -> bytes | None:
    if isinstance(packet, str):
        return packet.encode("utf-8", "surrogateescape") or None
    return packet or None if isinstance(packet, bytes) else None


def _dpi_is_invented(image: Image.Image) -> bool:
    """Tell whether Pillow fell back to 72 dpi because a JPEG with EXIF data states no resolution."""
    stated = image.info.get("jfif_unit", 0) != 0 or image.info.get("dpi") != (72, 72)
    return image.format in ("JPEG", "MPO") and not stated and _Tag.XResolution not in image.getexif()


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

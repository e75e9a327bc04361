"""What a file says about its picture besides pixels: which way is up, EXIF, XMP, IPTC, texts and resolution.

Stage 3, READ. What no longer holds once pixels were turned and enlarged goes (orientation, thumbnail, sizes, the layout
of strips); the rest is kept. Broken metadata costs itself and a warning, never the picture.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from restore_cli.imaging.parts import Parts, UnreadableError
from restore_cli.imaging.tiff import read_directory

_UPRIGHT = 1
_TURNS_THAT_SWAP_SIDES = (5, 6, 7, 8)
_EXIF_SIGNATURE = b"Exif\0\0"

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
_STALE_EXIF_TAGS = (_Tag.ExifImageWidth, _Tag.ExifImageHeight)

_XMP_ORIENTATION = re.compile(rb'(tiff:Orientation(?:\s*=\s*["\']|>)\s*)[2-8]')
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


def read_metadata(parts: Parts) -> Metadata:
    """Read the metadata of a file taken apart; never fails."""
    warnings: list[str] = []
    orientation, exif, dpi = _UPRIGHT, None, _sane_dpi(parts.dpi)
    if parts.exif is not None:
        try:
            block = _sound_exif(parts.exif)
            orientation = _orientation(block)
            dpi = dpi or _dpi_of_exif(block)
            exif = _kept_exif(block)
        except Exception:  # noqa: BLE001 - hostile EXIF raises nearly anything, and the picture is sound without it
            warnings.append(_BROKEN_EXIF)
    orientation = orientation if parts.orientation is None else parts.orientation
    if orientation not in range(1, 9):
        orientation = _UPRIGHT
    if dpi is not None and orientation in _TURNS_THAT_SWAP_SIDES:
        dpi = dpi[::-1]
    return Metadata(
        orientation=orientation,
        exif=exif,
        xmp=None if parts.xmp is None else _XMP_ORIENTATION.sub(rb"\g<1>1", parts.xmp),
        dpi=dpi,
        warnings=tuple(warnings),
    )


def turned(image: npt.NDArray[np.float32], orientation: int) -> npt.NDArray[np.float32]:
    """Return (H, W, ...) pixels stored in one of EXIF's eight orientations as they are to be seen."""
    if orientation in (5, 7):
        image = np.swapaxes(image, 0, 1)
    quarters = {3: 2, 6: -1, 7: 2, 8: 1}.get(orientation, 0)
    image = np.rot90(image, quarters)
    if orientation in (2, 4):
        image = np.flip(image, 1 if orientation == 2 else 0)
    return np.ascontiguousarray(image)


def _sound_exif(data: bytes) -> Image.Exif:
    """Parse an EXIF block once it is known that its directories are of sane size.

    Raises:
        UnreadableError: If values overlap so much that reading them would take far more memory than the block has.
    """
    file = io.BytesIO(data.removeprefix(_EXIF_SIGNATURE))
    first = read_directory(file)
    for pointer in (_Tag.ExifOffset, _Tag.GPSInfo):
        place = first.integer(pointer, 0)
        if first.overfull or (place and read_directory(file, place).overfull):
            raise UnreadableError(_BROKEN_EXIF)
    block = Image.Exif()
    block.load(data)
    return block


def _dpi_of_exif(block: Image.Exif) -> tuple[float, float] | None:
    unit = {2: 1.0, 3: 2.54}.get(block.get(_Tag.ResolutionUnit, 2))
    across, down = block.get(_Tag.XResolution), block.get(_Tag.YResolution)
    if unit is None or across is None or down is None:
        return None
    return _sane_dpi((float(across) * unit, float(down) * unit))


def _orientation(block: Image.Exif) -> int:
    value = block.get(_Tag.Orientation, _UPRIGHT)
    return value if isinstance(value, int) else _UPRIGHT


def _kept_exif(block: Image.Exif) -> bytes | None:
    """Return the block without what no longer holds.

    Writing it anew leaves out the second directory, which holds the thumbnail.
    """
    for tag in list(block):
        if tag in _STALE_TAGS:
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

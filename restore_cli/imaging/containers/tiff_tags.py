"""The tags of a TIFF beside its samples: what describes the image and is kept, what goes, and what is named as it goes.

Stage 3, READ. Anybody may register tags of his own, and many hold addresses, or tell of the array of samples as it was:
so none is kept that is not known to hold for the result. Tags are those of TIFF 6.0, of its supplements and technical
notes, of TIFF/EP (ISO 12234-2), TIFF/IT (ISO 12639) and TIFF/FX (RFC 2301), of Exif 3.0 and of GeoTIFF 1.1.
"""

from __future__ import annotations

from collections.abc import Mapping

from PIL import ExifTags

from restore_cli.imaging.color.profiles import SRGB_PRIMARIES, Primaries
from restore_cli.imaging.containers.further_parts import CREDENTIALS, GEOREFERENCING, LAYERS, PATHS
from restore_cli.imaging.containers.parts import data_of
from restore_cli.imaging.containers.photoshop import has_layers, parts_of_resources
from restore_cli.imaging.containers.tiff import STORAGE_TAGS, Directory, Value

_Tag = ExifTags.Base

_X_POSITION, _Y_POSITION, _LENS_INFO = 286, 287, 50736
# All of Exif's, which some programs put into the first directory, without what tells of the samples and points at more.
_EXIF_TAGS = frozenset(
    int(tag) for tag in _Tag if tag in {33434, 33437} or 34850 <= tag < 34908 or 36864 <= tag < 42241
)
_EXIF_POINTERS_AND_SIZES = frozenset({0xA002, 0xA003, 0xA005})
DESCRIPTIVE_TAGS = (_EXIF_TAGS - _EXIF_POINTERS_AND_SIZES - STORAGE_TAGS) | frozenset(
    {
        *(_Tag.DocumentName, _Tag.PageName, _Tag.ImageDescription, _Tag.Make, _Tag.Model, _Tag.Software),
        *(_Tag.DateTime, _Tag.Artist, _Tag.HostComputer, _Tag.Copyright, _Tag.Rating, _Tag.RatingPercent),
        *(_Tag.ExifOffset, _Tag.GPSInfo, *range(_Tag.XPTitle, _Tag.XPSubject + 1)),
        *(_X_POSITION, _Y_POSITION, _Tag.TargetPrinter, _Tag.PrintImageMatching),
        *(_Tag.UniqueCameraModel, _Tag.LocalizedCameraModel, _Tag.CameraSerialNumber, _LENS_INFO),
    }
)
"""What describes the image, whatever was done to its samples."""

# What the rest of the program reads, or what tells of the old samples, their printing and faxing: nothing is missed.
_PASSED_OVER = STORAGE_TAGS | frozenset(
    {
        *range(_Tag.NewSubfileType, _Tag.Thresholding + 3),  # kinds, sizes, compression, halftoning
        *(_Tag.Orientation, _Tag.MinSampleValue, _Tag.MaxSampleValue, _Tag.XResolution, _Tag.YResolution),
        *range(_Tag.FreeOffsets, 294),  # free space, gray curves, fax options
        *(_Tag.ResolutionUnit, _Tag.PageNumber, 300, _Tag.TransferFunction, _Tag.WhitePoint),
        *(_Tag.PrimaryChromaticities, _Tag.HalftoneHints, *range(326, 332), *range(332, 337)),
        *(_Tag.SMinSampleValue, _Tag.SMaxSampleValue, _Tag.TransferRange, 346, 347, 351),
        *range(400, 436),  # of TIFF/FX
        *range(512, 533),  # of the older way to hold JPEG
        *(559, 700, 32781, *range(32995, 32999), 33723, *range(34016, 34033), 34232, 34377, 34675),
        *range(34908, 34912),  # of received faxes
        *(34929, 37724, 52545, *_EXIF_POINTERS_AND_SIZES),
        *(0xEA1C, 0xEA1D),  # Microsoft's padding, and how far it moved a maker's note
    }
)
_PROGRAMS = {
    33445: "Molecular Dynamics", 33628: "MetaMorph", 33629: "MetaMorph", 33630: "MetaMorph", 33631: "MetaMorph",
    34118: "Zeiss", 34122: "Stonehenge", 34361: "Fluoview", 34362: "Fluoview", 34412: "Zeiss LSM", 34680: "FEI",
    34682: "FEI", 37706: "Tietz", 42112: "GDAL", 42113: "GDAL", 50838: "ImageJ", 50839: "ImageJ",
    32931: "Wang", 32932: "Wang", 32933: "Wang", 32934: "Wang", 50215: "Oce", 50216: "Oce", 50217: "Oce", 50218: "Oce",
    51022: "VRMeta", 51023: "Fiji", 65420: "Hamamatsu", 65426: "Hamamatsu", 65449: "Hamamatsu",
}  # fmt: skip
_GEOREFERENCES = frozenset({33550, 33920, 33922, 34264, 34735, 34736, 34737})
_MANIFEST, _PHOTOSHOP_DOCUMENT, _CLIP_PATH = 52545, 37724, frozenset({343, 344, 345})
_COORDINATES = 8  # of a white and three primaries


def parts_of_tags(tags: Mapping[int, Value]) -> frozenset[str]:
    """Name what a file's tags hold beside its image and is not kept, in a few words each."""
    resources, document = (tags[tag].data if tag in tags else b"" for tag in (_Tag.ImageResources, _PHOTOSHOP_DOCUMENT))
    found = {
        CREDENTIALS: _MANIFEST in tags,
        LAYERS: has_layers(document),
        PATHS: bool(_CLIP_PATH & tags.keys()),
        GEOREFERENCING: bool(_GEOREFERENCES & tags.keys()),
    }
    unknown = tags.keys() - DESCRIPTIVE_TAGS - _PASSED_OVER - _GEOREFERENCES - _CLIP_PATH - {int(_Tag.SubIFDs)}
    others = {data_of(_PROGRAMS[tag].encode()) if tag in _PROGRAMS else f"TIFF tag {tag}" for tag in unknown}
    return frozenset(name for name, is_there in found.items() if is_there) | parts_of_resources(resources) | others


def unfollowed_colors(directory: Directory) -> tuple[str, ...]:
    """Say where a TIFF without a profile gives primaries of colours other than sRGB's.

    They are not followed, as in other programs: some writers give wrong ones.
    """
    numbers = (*directory.rationals(_Tag.WhitePoint), *directory.rationals(_Tag.PrimaryChromaticities))
    if len(numbers) != _COORDINATES or _Tag.InterColorProfile in directory.values:
        return ()
    white, red, green, blue = zip(numbers[::2], numbers[1::2], strict=True)
    if Primaries(white=white, red=red, green=green, blue=blue).is_close_to(SRGB_PRIMARIES):
        return ()
    return ("it gives primaries of its colours without a profile: not followed, taken for sRGB",)

"""A `Picture` to the bytes of a file, with all that its source said, or a clear word on what the format cannot hold.

Stage 7, WRITE. Pillow drops profiles and metadata unless they are handed over by name, and drops alpha and depth
without a word: both are decided here. Bytes go to memory first; `publish` puts them on the disk.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin

from restore_cli.errors import EncodeError
from restore_cli.imaging.formats import WRITABLE_FORMATS, output_format, suffix_of
from restore_cli.imaging.modes import image_from
from restore_cli.imaging.picture import Picture
from restore_cli.imaging.profiles import srgb_profile

__all__ = ["check_size", "encode", "losses", "output_format", "suffix_of"]

_WHITE = 1.0
_PNG_LEVEL = 6
# A JPEG's metadata segments count their bytes in 16 bits, the length field and a signature included.
_JPEG_SEGMENT_BYTES = 65535
_JPEG_EXIF_ROOM_BYTES = _JPEG_SEGMENT_BYTES - 2
_JPEG_XMP_ROOM_BYTES = _JPEG_SEGMENT_BYTES - 2 - len(b"http://ns.adobe.com/xap/1.0/\0")


@dataclass(frozen=True, kw_only=True)
class _Format:
    """What a file format can hold.

    Attributes:
        modes: Pillow's modes that it is written in; gray of a missing mode is written as RGB or RGBA.
        longest_side: Most pixels of a side that its encoder takes; None where files end before it does.
        metadata: Whether it carries a colour profile, EXIF, XMP and resolution.
    """

    modes: frozenset[str]
    longest_side: int | None = None
    metadata: bool = True


_FORMATS = {
    "PNG": _Format(modes=frozenset({"L", "I;16", "LA", "RGB", "RGBA"})),
    "JPEG": _Format(modes=frozenset({"L", "RGB"}), longest_side=65500),
    "WEBP": _Format(modes=frozenset({"RGB", "RGBA"}), longest_side=16383),
    "TIFF": _Format(modes=frozenset({"L", "I;16", "LA", "RGB", "RGBA"})),
    "AVIF": _Format(modes=frozenset({"L", "RGB", "RGBA"}), longest_side=65535),
    "PPM": _Format(modes=frozenset({"L", "I;16", "RGB"}), metadata=False),
}


def encode(picture: Picture, *, format: str, quality: int = 95, strip: bool = False) -> bytes:  # noqa: A002 - Pillow's word for it
    """Write a picture to the bytes of a file.

    Values are clipped to [0, 1] and rounded half to even. Gray stays gray where the format knows it, 16-bit gray stays
    so in PNG, TIFF and PPM, and alpha is laid on white in formats without it; `losses` says what is left behind.

    Args:
        picture: Pixels, finite, and what to embed.
        format: One of PNG, JPEG (4:4:4), WEBP, TIFF, AVIF (4:4:4), PPM.
        quality: 1..100, of JPEG, WebP and AVIF.
        strip: Leave EXIF, XMP and resolution out (the colour profile stays).

    Raises:
        EncodeError: If the picture is larger than the format allows, holds values that are no numbers, or the encoder
            fails.
        ValueError: If the format is not written or the quality is out of range.
    """
    limits = _limits_of(format)
    if not 1 <= quality <= 100:
        msg = f"quality must be within 1 and 100, not {quality}"
        raise ValueError(msg)
    check_size(picture.height, picture.width, format=format)
    if not np.isfinite(picture.pixels).all() or not (picture.alpha is None or np.isfinite(picture.alpha).all()):
        msg = "the result holds values that are not finite"
        raise EncodeError(msg)
    image = _drawn(picture, limits)
    kept = replace(picture, exif=None, xmp=None, dpi=None) if strip else picture
    buffer = io.BytesIO()
    try:
        _save(image, buffer, format, quality, replace(kept, icc_profile=_profile_for(image, picture)))
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise EncodeError(f"the {format} encoder failed: {reason}") from error
    return buffer.getvalue()


def check_size(height: int, width: int, *, format: str) -> None:  # noqa: A002 - as in `encode`
    """Refuse a size that a format cannot hold, before a picture of that size is made.

    Raises:
        EncodeError: If a side is longer than the format allows.
        ValueError: If the format is not written.
    """
    side, most = max(height, width), _limits_of(format).longest_side
    if most is not None and side > most:
        able = [name for name, limits in _FORMATS.items() if limits.longest_side is None or limits.longest_side >= side]
        msg = f"{width}x{height} pixels are more than {format} holds ({most} a side)"
        raise EncodeError(msg, hint=f"write {' or '.join(able)} instead")


def losses(picture: Picture, *, format: str, strip: bool = False) -> tuple[str, ...]:  # noqa: A002 - as in `encode`
    """Say what of a picture a format cannot hold, a line each, for a warning beside the written file.

    Raises:
        ValueError: If the format is not written.
    """
    limits = _limits_of(format)
    lost = []
    if picture.alpha is not None and "RGBA" not in limits.modes:
        lost.append(f"{format} knows no transparency: laid on white")
    if picture.bit_depth == 16 and not _is_written_deep(picture, limits):
        lost.append(f"16 bits a channel are written as 8 in this {format}")
    if strip:
        return tuple(lost)
    if not limits.metadata and any((picture.icc_profile, picture.exif, picture.xmp, picture.dpi)):
        lost.append(f"{format} carries no colour profile and no metadata: left out")
    if format == "JPEG":
        lost += [f"{name} data is too long for a JPEG: left out" for name in _too_long_for_jpeg(picture)]
    return tuple(lost)


def _limits_of(format_name: str) -> _Format:
    if format_name not in _FORMATS:
        msg = f"unknown output format {format_name!r}; known: {', '.join(WRITABLE_FORMATS)}"
        raise ValueError(msg)
    return _FORMATS[format_name]


def _is_written_deep(picture: Picture, limits: _Format) -> bool:
    transparent = picture.alpha is not None and "RGBA" in limits.modes
    return picture.bit_depth == 16 and picture.channels == 1 and "I;16" in limits.modes and not transparent


def _drawn(picture: Picture, limits: _Format) -> Image.Image:
    """Return the image to be saved: alpha and depth brought down to what the format holds."""
    pixels, alpha = picture.pixels, picture.alpha
    if alpha is not None and "RGBA" not in limits.modes:
        cover = np.clip(alpha, 0.0, 1.0)[..., np.newaxis]
        pixels, alpha = pixels * cover + np.float32(_WHITE) * (1 - cover), None
    image = image_from(pixels, alpha, 16 if _is_written_deep(picture, limits) else 8)
    if image.mode not in limits.modes:
        image = image.convert("RGB" if alpha is None else "RGBA")
    return image


def _profile_for(image: Image.Image, picture: Picture) -> bytes | None:
    """Return the profile for the image as drawn: gray that had to become RGB needs an RGB one."""
    if picture.icc_profile is not None and picture.channels == 1 and image.mode in ("RGB", "RGBA"):
        return srgb_profile()
    return picture.icc_profile


def _save(image: Image.Image, buffer: io.BytesIO, format_name: str, quality: int, kept: Picture) -> None:
    if format_name == "PNG":
        _save_png(image, buffer, kept)
    elif format_name == "TIFF":
        _save_tiff(image, buffer, kept)
    elif format_name == "PPM":
        image.save(buffer, "PPM")
    elif format_name == "JPEG":
        _save_jpeg(image, buffer, quality, kept)
    else:
        options = {"subsampling": "4:4:4"} if format_name == "AVIF" and image.mode != "L" else {}
        image.save(
            buffer,
            format_name,
            quality=quality,
            icc_profile=kept.icc_profile or b"",
            exif=kept.exif or b"",
            xmp=kept.xmp or b"",
            **options,
        )


def _save_jpeg(image: Image.Image, buffer: io.BytesIO, quality: int, kept: Picture) -> None:
    too_long = _too_long_for_jpeg(kept)
    image.save(
        buffer,
        "JPEG",
        quality=quality,
        subsampling=0,
        icc_profile=kept.icc_profile,
        exif=b"" if "EXIF" in too_long else kept.exif or b"",
        xmp=b"" if "XMP" in too_long else kept.xmp or b"",
        dpi=kept.dpi or (0, 0),
    )


def _save_png(image: Image.Image, buffer: io.BytesIO, kept: Picture) -> None:
    text = PngImagePlugin.PngInfo()
    if kept.xmp is not None:
        text.add_itxt("XML:com.adobe.xmp", kept.xmp.decode("utf-8", "replace"))
    image.save(
        buffer,
        "PNG",
        compress_level=_PNG_LEVEL,
        icc_profile=kept.icc_profile,
        exif=kept.exif or b"",
        dpi=kept.dpi,
        pnginfo=text,
    )


def _save_tiff(image: Image.Image, buffer: io.BytesIO, kept: Picture) -> None:
    tags = Image.Exif()
    if kept.exif is not None:
        tags.load(kept.exif)
    if kept.xmp is not None:
        tags[ExifTags.Base.XMLPacket] = kept.xmp
    # Pillow's compressing TIFF writer cannot write the directories EXIF and GPS live in.
    plain = ExifTags.IFD.Exif in tags or ExifTags.IFD.GPSInfo in tags
    image.save(
        buffer,
        "TIFF",
        compression="raw" if plain else "tiff_adobe_deflate",
        icc_profile=kept.icc_profile,
        exif=tags,
        dpi=kept.dpi,
    )


def _too_long_for_jpeg(picture: Picture) -> tuple[str, ...]:
    rooms = {"EXIF": (picture.exif, _JPEG_EXIF_ROOM_BYTES), "XMP": (picture.xmp, _JPEG_XMP_ROOM_BYTES)}
    return tuple(name for name, (data, room) in rooms.items() if data is not None and len(data) > room)

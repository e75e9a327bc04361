"""A `Image` to the bytes of a file, with all that its source said, or a clear word on what the format cannot hold.

Stage 7, WRITE. Pillow drops profiles and metadata unless they are handed over by name, and drops alpha and depth
without a word: both are decided here, `writers` does the writing. Bytes go to memory first; `publish` puts them on the
disk.

A result is first brought to the size that was asked for: a network enlarges by a whole factor, people want so many
pixels. The aspect is kept: a width and a height together are a box to fill as far as it goes. Shrinking is antialiased;
beyond the network's result the image is enlarged by plain bicubic, with a word about it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import ExifTags

from restore_cli.errors import EncodeError, ImageError
from restore_cli.imaging.color.profiles import srgb_profile
from restore_cli.imaging.containers.exif import without_tag
from restore_cli.imaging.containers.metadata import stale_description
from restore_cli.imaging.containers.parts import COMMENT
from restore_cli.imaging.containers.writers import WRITERS, too_long_for_jpeg, write_tiff
from restore_cli.imaging.decoded_image import DecodedImage, FloatImage, integers_from
from restore_cli.imaging.formats import EXTRA_BY_FORMAT, WRITABLE_FORMATS, output_format, suffix_of
from restore_cli.imaging.pillow import has_plugin
from restore_cli.imaging.resize import matlab_bicubic
from restore_cli.settings import USUAL_QUALITY, ReadSettings, SizeSettings

__all__ = ["WHITE", "check_format", "check_pages", "check_size", "encode", "losses", "output_format", "suffix_of"]

# A description that tells of nothing else, as tifffile writes it unasked.
_MERE_SHAPE = re.compile(rb'\{"shape":[^{}"]*\}\0*')

Background = tuple[float, float, float]
"""Colour in [0, 1] that transparency is laid on."""

WHITE: Background = (1.0, 1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class _Format:
    """What a file format can hold.

    Attributes:
        channels: Numbers of channels it is written in, alpha counted; gray of a missing kind is written as RGB or RGBA.
        deep: Whether it is written with 16 bits.
        longest_side: Most pixels of a side that its encoder takes; None where files end before it does.
        lossless: Whether it can be written without loss.
        keeps: What it carries beside pixels.
    """

    channels: frozenset[int]
    deep: bool = False
    longest_side: int | None = None
    lossless: bool = True
    keeps: frozenset[str]


_ALL = frozenset({1, 2, 3, 4})
_COMMON = frozenset({"icc_profile", "exif", "xmp"})
_FORMATS = {
    "PNG": _Format(channels=_ALL, deep=True, keeps=_COMMON | {"dpi", "iptc", "text"}),
    "JPEG": _Format(channels=frozenset({1, 3}), longest_side=65500, lossless=False, keeps=_COMMON | {"dpi", "iptc"}),
    "WEBP": _Format(channels=frozenset({3, 4}), longest_side=16383, keeps=_COMMON),
    "TIFF": _Format(channels=_ALL, deep=True, keeps=_COMMON | {"dpi", "iptc"}),
    "AVIF": _Format(channels=frozenset({1, 3, 4}), longest_side=65535, lossless=False, keeps=_COMMON),
    "PPM": _Format(channels=frozenset({1, 3}), deep=True, keeps=frozenset()),
    "HEIF": _Format(channels=frozenset({1, 3, 4}), longest_side=16384, keeps=_COMMON),
    "JXL": _Format(channels=_ALL, keeps=frozenset({"exif", "xmp"})),
}
_WITH_COMMENTS = ("JPEG", "PPM")
_WORDS = {
    "icc_profile": "colour profile",
    "exif": "EXIF",
    "xmp": "XMP",
    "iptc": "IPTC",
    "text": "texts",
    "dpi": "resolution",
}


def encode(
    image: DecodedImage,
    *,
    format: str,  # noqa: A002 - Pillow's word for it
    quality: int = USUAL_QUALITY,
    lossless: bool = False,
    strip: bool = False,
    background: Background = WHITE,
) -> bytes:
    """Write an image to the bytes of a file.

    Values are clipped to [0, 1] and rounded half to even. Gray stays gray where the format knows it, 16 bits stay so in
    PNG, TIFF and PPM, and alpha is laid on the background in formats without it; `losses` says what is left behind.

    Args:
        image: Pixels, finite, and what to embed.
        format: One of PNG, JPEG (4:4:4), WEBP, TIFF, AVIF (4:4:4), PPM, HEIF (4:4:4), JXL.
        quality: 1..100, of JPEG, WebP, AVIF, HEIF and JPEG XL.
        lossless: Keep every 8-bit value; PNG, TIFF and PPM always do, and so does a WebP whose source did, unless a
            quality other than the usual one is asked for.
        strip: Leave EXIF, XMP, IPTC, texts and resolution out (the colour profile stays).
        background: What transparency is laid on, where the format knows none.

    Raises:
        EncodeError: If the image is larger than the format allows, holds values that are no numbers, or the encoder
            fails.
        ValueError: If the format is not written or the quality is out of range.
    """
    limits = _limits_of(format)
    if not 1 <= quality <= 100:
        msg = f"quality must be within 1 and 100, not {quality}"
        raise ValueError(msg)
    check_format(format, lossless=lossless)
    check_size(image.height, image.width, format=format)
    if not np.isfinite(image.pixels).all() or not (image.alpha is None or np.isfinite(image.alpha).all()):
        msg = "the result holds values that are not finite"
        raise EncodeError(msg)
    samples = _drawn(image, limits, background)
    kept = replace(_kept(image, samples.shape[2], strip=strip), icc_profile=_profile_for(samples, image))
    if image.more:
        check_pages(1 + len(image.more), format=format)
        return _encode_pages(image, limits, background, strip=strip)
    as_source = image.lossless and image.format == format == "WEBP" and quality == USUAL_QUALITY
    try:
        return WRITERS[format](samples, kept, quality, lossless or as_source)
    except (EncodeError, MemoryError):
        raise
    except Exception as error:
        raise EncodeError(f"the {format} encoder cannot write it", hint="add --format png") from error


def _encode_pages(image: DecodedImage, limits: _Format, background: Background, *, strip: bool) -> bytes:
    """Write an image and the pages behind it to one TIFF."""
    pages = []
    for page in (image, *image.more):
        samples = _drawn(page, limits, background)
        kept = _kept(page, samples.shape[2], strip=strip)
        pages.append((samples, replace(kept, icc_profile=_profile_for(samples, page))))
    return write_tiff(pages)


def _kept(image: DecodedImage, channels: int, *, strip: bool) -> DecodedImage:
    """Return an image with what is said of it, a description of other pixels apart."""
    if strip:
        return replace(image, exif=None, xmp=None, iptc=None, text=(), dpi=None)
    if image.exif is not None and _stale_description(image, channels) is not None:
        return replace(image, exif=without_tag(image.exif, ExifTags.Base.ImageDescription))
    return image


def _stale_description(image: DecodedImage, channels: int) -> bytes | None:
    return stale_description(image.exif, (image.height, image.width, channels), 1 + len(image.more))


def check_pages(count: int, *, format: str) -> None:  # noqa: A002 - as in `encode`
    """Refuse to write several pages in a format of one.

    Raises:
        EncodeError: If there are several, and it is not TIFF.
    """
    if count > 1 and format != "TIFF":
        raise EncodeError(f"{format} holds one image, not {count} pages", hint="write TIFF, or leave --all-pages out")


def check_format(format: str, *, lossless: bool = False) -> None:  # noqa: A002 - as in `encode`
    """Refuse a format that cannot be written as requested, before an image is made.

    Raises:
        EncodeError: If it cannot be without loss, or its encoder is not installed.
        ValueError: If the format is not written.
    """
    limits = _limits_of(format)
    if lossless and not limits.lossless:
        raise EncodeError(f"{format} is not written without loss", hint="leave --lossless out or add --format png")
    if format in EXTRA_BY_FORMAT and not has_plugin(format):
        msg = f"to write {format}, the extra {EXTRA_BY_FORMAT[format]!r} is needed"
        raise EncodeError(msg, hint=f"pip install 'restore-cli[{EXTRA_BY_FORMAT[format]}]', or add --format png")


def check_size(height: int, width: int, *, format: str) -> None:  # noqa: A002 - as in `encode`
    """Refuse a size that a format cannot hold, before an image of that size is made.

    Raises:
        EncodeError: If a side is longer than the format allows.
        ValueError: If the format is not written.
    """
    side, most = max(height, width), _limits_of(format).longest_side
    if most is not None and side > most:
        able = [name for name, limits in _FORMATS.items() if limits.longest_side is None or limits.longest_side >= side]
        able = [name for name in able if name not in EXTRA_BY_FORMAT]
        msg = f"{width}x{height} pixels are more than {format} holds ({most} a side)"
        raise EncodeError(msg, hint=f"write {' or '.join(able)} instead")


def losses(
    image: DecodedImage,
    *,
    format: str,  # noqa: A002 - as in `encode`
    strip: bool = False,
    background: Background = WHITE,
) -> tuple[str, ...]:
    """Say what of an image a format cannot hold, a line each, for a warning beside the written file.

    Raises:
        ValueError: If the format is not written.
    """
    limits = _limits_of(format)
    lost = []
    if image.alpha is not None and not _knows_alpha(limits):
        color = "white" if background == WHITE else "the background"
        lost.append(f"{format} knows no transparency: laid on {color}")
    if image.bit_depth == 16 and _written_bits(image, limits) == 8:
        lost.append(f"16 bits a channel are written as 8 in this {format}")
    names = ("icc_profile",) if strip else tuple(_WORDS)
    left = [_WORDS[name] for name in names if getattr(image, name) and name not in limits.keeps]
    if format in _WITH_COMMENTS and {keyword for keyword, _ in image.text} <= {COMMENT} and "texts" in left:
        left.remove("texts")
    if limits.keeps and "resolution" in left:
        left.remove("resolution")  # where there is EXIF it stands there
    if format == "JXL" and "colour profile" in left:
        left.remove("colour profile")  # it fits pixels in sRGB's encoding, which is what an untagged JPEG XL means
    if left:
        lost.append(f"{format} carries no {' and no '.join(left)}: left out")
    channels = image.channels + (image.alpha is not None and _knows_alpha(limits))
    stale = None if strip or "EXIF" in left else _stale_description(image, channels)
    if stale is not None and not _MERE_SHAPE.fullmatch(stale):
        lost.append("its description told of other pixels: left out")
    if format == "JPEG" and not strip:
        lost += [f"{name} data is too long for a JPEG: left out" for name in too_long_for_jpeg(image)]
    return tuple(lost)


def _limits_of(format_name: str) -> _Format:
    if format_name not in _FORMATS:
        msg = f"unknown output format {format_name!r}; known: {', '.join(WRITABLE_FORMATS)}"
        raise ValueError(msg)
    return _FORMATS[format_name]


def _knows_alpha(limits: _Format) -> bool:
    return 4 in limits.channels


def _written_bits(image: DecodedImage, limits: _Format) -> int:
    return 16 if image.bit_depth == 16 and limits.deep else 8


def _drawn(image: DecodedImage, limits: _Format, background: Background) -> npt.NDArray[np.unsignedinteger]:
    """Return the samples to be written, uint8 or uint16 (H, W, C): alpha and depth as far as the format holds them."""
    bits = _written_bits(image, limits)
    pixels, alpha = image.pixels, image.alpha
    if alpha is not None and not _knows_alpha(limits):
        pixels, alpha = _laid_on(pixels, alpha, background), None
    samples = integers_from(pixels, bits)
    channels = samples.shape[2] + (alpha is not None)
    if channels not in limits.channels:
        samples = np.repeat(samples, 3, axis=2)  # gray in a format that knows none of this kind
    if alpha is not None:
        samples = np.concatenate([samples, integers_from(alpha, bits)[..., np.newaxis]], axis=2)
    return samples


def _laid_on(pixels: FloatImage, alpha: FloatImage, background: Background) -> FloatImage:
    """Composite; gray stays gray where the background is gray."""
    color = np.array(background, dtype=np.float32)
    if pixels.shape[2] == 1:
        if len(set(background)) == 1:
            color = color[:1]
        else:
            pixels = np.repeat(pixels, 3, axis=2)
    cover = np.clip(alpha, 0.0, 1.0)[..., np.newaxis]
    laid: FloatImage = pixels * cover + color * (1 - cover)
    return laid


def _profile_for(samples: npt.NDArray[np.unsignedinteger], image: DecodedImage) -> bytes | None:
    """Return the profile for the samples as drawn: gray that had to become RGB needs an RGB one."""
    if image.icc_profile is not None and image.channels == 1 and samples.shape[2] >= 3:
        return srgb_profile()
    return image.icc_profile


# Super-resolution by 4 makes 16 pixels of one.
_RESULT_FACTOR = 16


def fitted_size(height: int, width: int, settings: SizeSettings) -> tuple[int, int]:
    """Return the (height, width) that an image of some size is brought to.

    Example:
        >>> fitted_size(300, 400, SizeSettings(long_side=1000))
        (750, 1000)
        >>> fitted_size(300, 400, SizeSettings(width=200, height=200))
        (150, 200)
    """
    factors = [
        requested / side
        for requested, side in (
            (settings.height, height),
            (settings.width, width),
            (settings.long_side, max(height, width)),
        )
        if requested is not None
    ]
    if not factors:
        return height, width
    factor = min(factors)
    return max(1, round(height * factor)), max(1, round(width * factor))


def fitted(image: DecodedImage, settings: SizeSettings) -> DecodedImage:
    """Return an image in the size asked for, itself if it has it."""
    height, width = fitted_size(image.height, image.width, settings)
    if (height, width) == (image.height, image.width):
        return image
    warnings = image.warnings
    if height > image.height or width > image.width:
        grown = f"{image.width}x{image.height} to {width}x{height}"
        warnings += (f"enlarged beyond the network's result, from {grown}, by plain bicubic",)
    alpha = image.alpha
    return replace(
        image,
        pixels=_resized(image.pixels, height, width),
        alpha=None if alpha is None else _resized(alpha[..., np.newaxis], height, width)[..., 0],
        warnings=warnings,
    )


def check_result(height: int, width: int, settings: ReadSettings) -> None:
    """Refuse a result that nobody can have meant, before memory is spent on it.

    Raises:
        ImageError: If it has more than 16 times the pixels that an input may have.
    """
    most = _RESULT_FACTOR * settings.max_pixels
    if height * width > most:
        msg = f"its result of {width}x{height} pixels is larger than the {most} allowed"
        raise ImageError(msg, hint="ask for a smaller size, or allow more with --max-pixels")


def _resized(image: FloatImage, height: int, width: int) -> FloatImage:
    return np.clip(matlab_bicubic(image, height, width), 0.0, 1.0)

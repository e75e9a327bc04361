"""Pillow's decoders, one by one, under settings of ours; and its many pixel modes, reduced to colour and alpha.

Stage 3, READ. Pillow keeps its limits and its leniency in variables of the process, and libtiff writes to the terminal
by itself. Both are put to rest here for as long as any image is being decoded, by however many threads. HEIF and JPEG
XL are not in Pillow; their decoders come with extras, and are registered when the first such file is met.

Palettes, bit masks, colour keys, premultiplied alpha and odd integer modes end here: what leaves `separate` is gray or
colour without transparency, and alpha, if the file knows it, on its own. Pillow has no mode for 2 or 12 bits, and none
for gray whose 0 is white; `read_sample_layout` notices them.
"""

from __future__ import annotations

import ctypes
import importlib
import io
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile, _imaging

from restore_cli.errors import DecodeError
from restore_cli.imaging.containers.parts import TRUNCATED, Parts, UnreadableError
from restore_cli.imaging.decoded_image import TOP_8_BIT, TOP_16_BIT, FloatImage, SrgbImage, floats_from, integers_from
from restore_cli.imaging.formats import EXTRA_BY_FORMAT

if TYPE_CHECKING:
    from restore_cli.imaging.color.srgb import Color

# What a decoder can tell beside pixels, where a container was not taken apart.
_DECODER_INFO = ("exif", "xmp", "icc_profile", "dpi")
_SIGNS_OF_AN_END = ("truncated", "end of", "not enough", "incomplete")
_SIGNS_OF_A_KIND = ("mode", "support", "not implemented", "unrecognized", "cannot handle", "unknown")
_PNG_BIT_DEPTH_OFFSET = 24
_PNG_COLOR_TYPE_OFFSET = 25
_PNG_GRAY_WITH_ALPHA = 4
_TIFF_WHITE_IS_ZERO = 0


class _Settings:
    """Pillow's settings while images are decoded: set by the first thread to enter, put back by the last to leave.

    Strict and lenient decoding exclude each other, since leniency is a setting of the whole process.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._lenient = False
        self._before: tuple[int | None, bool] = (None, False)
        self._warnings: warnings.catch_warnings[None] | None = None

    def enter(self, *, lenient: bool) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._inside == 0 or self._lenient == lenient)
            self._inside += 1
            if self._inside > 1:
                return
            self._lenient = lenient
            self._before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = None, lenient
            self._warnings = warnings.catch_warnings()
            self._warnings.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")

    def leave(self) -> None:
        with self._changed:
            self._inside -= 1
            if self._inside:
                return
            if self._warnings is not None:
                self._warnings.__exit__(None, None, None)
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = self._before
            self._changed.notify_all()


_SETTINGS = _Settings()


@contextmanager
def decoding(*, lenient: bool = False) -> Iterator[None]:
    """Decode under our settings: sizes are checked by ourselves, missing pixels made up only if `lenient`."""
    _silence_loggers()
    _SETTINGS.enter(lenient=lenient)
    try:
        yield
    finally:
        _SETTINGS.leave()


def open_as(format_name: str, core: bytes) -> ImageFile.ImageFile:
    """Open a file with the decoder of one format, header only.

    `Image.open` would try one decoder after the other and hide why the right one refused.
    """
    Image.init()
    read, _ = Image.OPEN[format_name]
    return read(io.BytesIO(core), "")


def load(image: ImageFile.ImageFile, *, lenient: bool = False) -> str | None:
    """Decode the pixels; return the reason if only some could be, which a decoder's error is unless `lenient`."""
    try:
        image.load()
    except (OSError, ValueError, SyntaxError) as error:
        if not lenient or image.tile or image.im is None:  # nothing was decoded
            raise
        return reason_of(error)
    return None


def reason_of(error: Exception) -> str:
    """Say in our words why a decoder gave up; its own are for programmers, or numbers."""
    words = str(error).lower()
    if isinstance(error, EOFError) or any(sign in words for sign in _SIGNS_OF_AN_END):
        return TRUNCATED
    if any(sign in words for sign in _SIGNS_OF_A_KIND):
        return "its kind of samples or compression is not read"
    return "its compressed data is damaged"


def with_decoder_info(image: ImageFile.ImageFile, parts: Parts) -> Parts:
    """Add what the decoder found beside pixels in a container that was not taken apart."""
    known = {key: image.info.get(key) for key in _DECODER_INFO}
    return replace(
        parts,
        exif=parts.exif or _bytes_of(known["exif"]),
        xmp=parts.xmp or _bytes_of(known["xmp"]),
        icc_profile=parts.icc_profile or _bytes_of(known["icc_profile"]),
        dpi=parts.dpi or (known["dpi"] if image.format == "BMP" else None),
    )


def _bytes_of(value: object) -> bytes | None:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape") or None
    return value or None if isinstance(value, bytes) else None


@cache
def _silence_loggers() -> None:
    """Keep Pillow's log, which a program may listen to, off stderr where none does, and libtiff's off it altogether."""
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    _silence_libtiff()


def _silence_libtiff() -> None:
    """Keep libtiff from writing errors, which are raised anyway, to stderr, where the library can be reached."""
    try:
        library = ctypes.CDLL(_imaging.__file__)
        library.TIFFSetErrorHandler.restype = ctypes.c_void_p
        library.TIFFSetErrorHandler(ctypes.c_void_p(None))
    except (AttributeError, OSError, TypeError):
        pass  # linked in statically, or absent: then a line on stderr is all the harm


_NAMES = {"HEIF": "a HEIF image", "JXL": "a JPEG XL image"}


def require_plugin(format_name: str) -> None:
    """Make sure that a format's decoder and encoder are there.

    Raises:
        DecodeError: If the extra that brings them is not installed.
    """
    if format_name in EXTRA_BY_FORMAT and not has_plugin(format_name):
        extra = EXTRA_BY_FORMAT[format_name]
        msg = f"it is {_NAMES[format_name]}, for which the extra {extra!r} is needed"
        raise DecodeError(msg, hint=f"pip install 'restore-cli[{extra}]'")


@cache
def has_plugin(format_name: str) -> bool:
    """Register the plugin of an optional format; return whether it is installed."""
    try:
        if format_name == "HEIF":
            importlib.import_module("pillow_heif").register_heif_opener(thumbnails=False)
        else:
            importlib.import_module("pillow_jxl")
    except ImportError:
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class SampleLayout:
    """Describe stored samples.

    Attributes:
        top: Value of a full gray sample in the file, None where Pillow's mode tells.
        white_is_zero: Gray counts down from white, and Pillow hands it out so.
        widened_gray: Gray with alpha that Pillow hands out as RGBA.
    """

    top: int | None = None
    white_is_zero: bool = False
    widened_gray: bool = False


def read_sample_layout(image: ImageFile.ImageFile, core: bytes) -> SampleLayout:
    """Look at an image that is opened but not loaded, and at the bytes of its file."""
    if image.format == "PNG":
        top = 2 ** core[_PNG_BIT_DEPTH_OFFSET] - 1
        gray = core[_PNG_COLOR_TYPE_OFFSET] == _PNG_GRAY_WITH_ALPHA
        return SampleLayout(top=top if image.mode == "L" else None, widened_gray=gray and image.mode == "RGBA")
    if image.format == "TIFF" and image.mode == "I;16":
        tags = getattr(image, "tag_v2", {})
        bits = tags.get(ExifTags.Base.BitsPerSample, (16,))[0]
        inverted = tags.get(ExifTags.Base.PhotometricInterpretation) == _TIFF_WHITE_IS_ZERO
        return SampleLayout(top=2**bits - 1, white_is_zero=inverted)
    return SampleLayout()


# Modes that a plain conversion turns into one of ours without loss of what is seen.
_EQUAL_MODES = {"1": "L", "La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "YCbCr": "RGB"}
_DEEP_GRAY_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")


@dataclass(frozen=True, kw_only=True)
class Separated:
    """Hold the colour of an image and its alpha apart.

    Attributes:
        color: Gray, RGB or CMYK without transparency.
        alpha: float32 (H, W) in [0, 1], or None where the image knows no transparency.
    """

    color: Color
    alpha: FloatImage | None


def separate(image: Image.Image, layout: SampleLayout) -> Separated:
    """Reduce a loaded image of any mode to gray, RGB, Lab or CMYK, and alpha.

    Args:
        image: Its `info` may name a transparent colour.
        layout: How its file stores samples.

    Raises:
        UnreadableError: If the mode is none an image is stored in, or samples lie outside the range it stands for.
    """
    key = image.info.get("transparency")
    if image.mode in _DEEP_GRAY_MODES:
        return _separate_deep_gray(image, layout, key)
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif layout.widened_gray:
        image = Image.merge("LA", (image.getchannel("R"), image.getchannel("A")))
    elif image.mode in _EQUAL_MODES:
        image = image.convert(_EQUAL_MODES[image.mode])
    if image.mode in ("LA", "RGBA"):
        alpha = floats_from(np.asarray(image.getchannel("A")))
        return Separated(color=image.convert(image.mode[:-1]), alpha=alpha)
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return Separated(color=image, alpha=_alpha_from_key(image, key, layout.top or TOP_8_BIT))
    msg = f"its pixel mode {image.mode} is not read"
    raise UnreadableError(msg)


def in_srgb(color: Color, icc_profile: bytes | None) -> SrgbImage:
    """Return an image in sRGB's encoding: as it is where it carries no profile, unless it is CMYK or Lab.

    Args:
        color: Without transparency.
        icc_profile: The profile embedded in its file, possibly broken.
    """
    is_plain = color.mode not in ("CMYK", "LAB") if isinstance(color, Image.Image) else color.shape[2] != 4
    if icc_profile is None and is_plain:
        samples = np.asarray(color)
        return SrgbImage(samples=samples if samples.ndim == 3 else samples[..., np.newaxis], icc_profile=None)
    from restore_cli.imaging.color.srgb import to_srgb

    return to_srgb(color, icc_profile)


def image_from(pixels: FloatImage, alpha: FloatImage | None, bit_depth: int) -> Image.Image:
    """Build a Pillow image: L, LA, RGB or RGBA, or I;16 for gray at 16 bits.

    Args:
        pixels: float32 (H, W, C), C = 1 or 3, clipped here.
        alpha: float32 (H, W), or None.
        bit_depth: 8, or 16 where there is one channel and no alpha.
    """
    samples = integers_from(pixels, bit_depth)
    if alpha is not None:
        samples = np.concatenate([samples, integers_from(alpha, bit_depth)[..., np.newaxis]], axis=2)
    return image_of(samples)


def image_of(samples: npt.NDArray[Any]) -> Image.Image:
    """Build a Pillow image of samples (H, W, C) as they are."""
    return Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)


def _separate_deep_gray(image: Image.Image, layout: SampleLayout, key: object) -> Separated:
    """Return gray as I;16 whose samples fill 0..65535."""
    samples = np.asarray(image)
    top = 1.0 if image.mode == "F" else layout.top or TOP_16_BIT
    if not np.isfinite(samples).all() or samples.min() < 0 or samples.max() > top:
        msg = f"its samples are not all within 0 and {top:g}"
        raise UnreadableError(msg)
    alpha = (samples != key).astype(np.float32) if isinstance(key, int) else None
    if layout.white_is_zero:
        samples = top - samples
    whole = samples.astype(np.uint16) if top == TOP_16_BIT else integers_from(samples / np.float64(top), 16)
    return Separated(color=Image.fromarray(whole), alpha=alpha)


def _alpha_from_key(image: Image.Image, key: object, top: int) -> FloatImage | None:
    """Return 0 where the pixel has the transparent colour and 1 elsewhere, or None without such a colour."""
    if image.mode == "L" and isinstance(key, int):
        # The key is written in the file's own levels, the samples have been stretched to 8 bits.
        visible = np.asarray(image) != key * TOP_8_BIT // top
    elif image.mode == "RGB" and isinstance(key, tuple) and len(key) == 3:
        visible = (np.asarray(image) != np.array(key)).any(axis=2)
    else:
        return None
    return np.asarray(visible, dtype=np.float32)

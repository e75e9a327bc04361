"""Pillow's decoders, one by one, under settings of ours.

Stage 3, READ. Pillow keeps its limits and its leniency in variables of the process, and libtiff writes to the terminal
by itself. Both are put to rest here for as long as any image is being decoded, by however many threads. HEIF and JPEG
XL are not in Pillow; their decoders come with extras, and are registered when the first such file is met.
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
from dataclasses import replace
from functools import cache

from PIL import Image, ImageFile, _imaging

from restore_cli.errors import DecodeError
from restore_cli.imaging.containers.parts import TRUNCATED, Parts
from restore_cli.imaging.formats import EXTRA_BY_FORMAT

# What a decoder can tell beside pixels, where a container was not taken apart.
_DECODER_INFO = ("exif", "xmp", "icc_profile", "dpi")
_SIGNS_OF_AN_END = ("truncated", "end of", "not enough", "incomplete")
_SIGNS_OF_A_KIND = ("mode", "support", "not implemented", "unrecognized", "cannot handle", "unknown")


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

"""What an image file is made of: the part that holds pixels, and everything said beside it.

Stage 3, READ. Each format has a module that takes its files apart (`png`, `jpeg`, `gif`, `tiff`, ...) by the few rules
of its container, with every length checked. A decoder then gets the core alone: a comment of a hundred megabytes, a
directory that points at itself or a profile that inflates for ever never reaches it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

# Chunks, segments or blocks of one file: far more than any program writes, few enough to be walked within seconds.
MOST_PARTS = 1 << 16
MOST_PROFILE_BYTES = 16 << 20
MOST_TEXT_BYTES = 1 << 20  # of one text, and of all texts together

COMMENT = "Comment"
"""Keyword of the text that a JPEG holds without one, as PNG names it."""

_BEHIND = "data behind the image"
_PADDING = b"\0\xff\t\n\r "

TRUNCATED = "it is truncated"
DAMAGED = "it is damaged"
TOO_MANY_PARTS = "it is damaged: its parts have no end"


class UnreadableError(ValueError):
    """Say in a few words ("it is ...") why nothing can be made of a file."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Hold a file taken apart.

    Attributes:
        core: A file of the same format with the first image's pixels and what their decoder needs.
        size: (height, width) its header declares, before turning; None where only a decoder can tell.
        gray: Whether it is gray; None where only a decoder can tell.
        frames: How many images the file holds.
        bits: Bits a channel, where its header tells; more than 8 means that a plain decoder would cut them.
        lossless: Whether it is stored without loss, in a format that has a choice.
        damage: Why this cannot be the whole image, or None if the container gives no such sign.
        orientation: How the image is to be turned where the container says so itself; None leaves it to EXIF.
        exif: EXIF block.
        xmp: XMP packet.
        icc_profile: Colour profile, possibly broken, or one that says what the file says in numbers (`profiles`).
        iptc: IPTC-IIM records.
        dpi: Horizontal and vertical resolution before turning.
        text: Keywords and their texts.
        further: Names of what else it holds, and is not kept.
        warnings: What was decided or lost, a line each.
    """

    core: bytes
    size: tuple[int, int] | None = None
    gray: bool | None = None
    frames: int = 1
    bits: int = 8
    lossless: bool = False
    damage: str | None = None
    orientation: int | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    icc_profile: bytes | None = None
    iptc: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: tuple[tuple[str, str], ...] = ()
    further: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()


def texts_of_comments(comments: Iterable[bytes]) -> tuple[tuple[str, str], ...]:
    """Return comments as PNG names them, in the coding that most programs write, or else byte for sign."""
    texts = []
    room = MOST_TEXT_BYTES
    for comment in comments:
        room -= len(comment)
        if comment and room >= 0:
            try:
                texts.append((COMMENT, comment.decode("utf-8")))
            except UnicodeDecodeError:
                texts.append((COMMENT, comment.decode("latin-1")))
    return tuple(texts)


def data_behind(rest: bytes) -> frozenset[str]:
    """Name what lies behind an image's end, where nothing better is known of it; padding is nothing."""
    return frozenset({_BEHIND} if rest.strip(_PADDING) else ())


def not_square(across: int, down: int) -> tuple[str, ...]:
    """Say that an image is meant to be seen in other proportions than its pixels have, which no result tells."""
    if across == down or 0 in (across, down):
        return ()
    return (f"its pixels are not square ({across} across as long as {down} down): its result takes them for square",)


def chunk_named(kind: bytes) -> str:
    """Name a chunk that nothing better is known of."""
    return f"a chunk {_word(kind) or 'without a name'}"


def data_of(program: bytes) -> str:
    """Name what a program laid beside the image, by the program's name for it."""
    return f"data of {_word(program) or 'a program without a name'}"


def _word(name: bytes) -> str:
    word = name.decode("ascii", "replace").strip(" \0")
    return word if word.isascii() and word.isprintable() else ""


def inflated(data: bytes, most_bytes: int) -> bytes:
    """Return what a zlib stream holds.

    Raises:
        ValueError: If it is damaged, truncated, or holds more than `most_bytes`.
    """
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(data, most_bytes + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(plain) > most_bytes or not stream.eof:
        msg = f"it does not end within {most_bytes} bytes"
        raise ValueError(msg)
    return plain

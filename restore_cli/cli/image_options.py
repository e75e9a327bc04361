"""The options of how images are read and written.

Stage 1, ASK. They are fields of a frozen dataclass that `FileOptions` builds upon; `options` has the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from restore_cli.cli.registration import option
from restore_cli.errors import UsageError
from restore_cli.imaging.background import color_named
from restore_cli.settings import MAX_PIXELS, ReadSettings, SizeSettings

COMMON = "Options"
FILES = "Reading and writing"


@dataclass(frozen=True, kw_only=True)
class Background:
    """A colour as --background takes it, RGB in [0, 1]."""

    color: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @classmethod
    def parse(cls, text: str) -> Background:
        """Read a name or a hexadecimal colour."""
        try:
            return cls(color=color_named(text))
        except ValueError as error:
            msg = f"{text!r} is neither the name of a colour nor one such as '#336699'."
            raise typer.BadParameter(msg) from error


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """Options of how images are read and written."""

    max_pixels: Annotated[int, option(FILES, "--max-pixels", "Refuse images with more pixels.", metavar="N", min=1)] = (
        MAX_PIXELS
    )
    allow_damaged: Annotated[bool, option(FILES, "--allow-damaged", "Read what there is of damaged images.")] = False
    all_pages: Annotated[bool, option(FILES, "--all-pages", "Restore every page of a TIFF, into one TIFF.")] = False
    strict: Annotated[bool, option(FILES, "--strict", "Treat warnings as errors.")] = False
    format: Annotated[
        str | None,
        option(COMMON, "--format", "Write png, jpeg, webp, tiff, ... [default: as the input]", metavar="NAME"),
    ] = None
    quality: Annotated[
        int, option(COMMON, "--quality", "Quality of lossy formats, 1 to 100.", metavar="N", min=1, max=100)
    ] = 95
    lossless: Annotated[bool, option(FILES, "--lossless", "Write WebP, HEIF and JPEG XL without loss.")] = False
    strip: Annotated[bool, option(FILES, "--strip", "Leave EXIF, XMP, IPTC, texts and DPI out of results.")] = False
    background: Annotated[
        Background | None,
        option(
            FILES,
            "--background",
            "Colour behind transparency, such as white or '#336699'.",
            metavar="COLOR",
            parser=Background.parse,
        ),
    ] = None
    width: Annotated[int | None, option(FILES, "--width", "Resize results to this width.", metavar="N", min=1)] = None
    height: Annotated[
        int | None,
        option(FILES, "--height", "Resize results to this height; with --width, into both.", metavar="N", min=1),
    ] = None
    long_side: Annotated[
        int | None,
        option(FILES, "--long-side", "Resize results so that their longer side has this size.", metavar="N", min=1),
    ] = None

    def read_settings(self) -> ReadSettings:
        """Return how images are to be read."""
        return ReadSettings(
            max_pixels=self.max_pixels, strict=self.strict, allow_damaged=self.allow_damaged, all_pages=self.all_pages
        )

    def size_settings(self) -> SizeSettings:
        """Return how large results are to be.

        Raises:
            UsageError: If the options contradict each other.
        """
        if self.long_side is not None and (self.width is not None or self.height is not None):
            other = "--width" if self.width is not None else "--height"
            raise UsageError(f"--long-side and {other} contradict each other", hint="choose one of them")
        return SizeSettings(width=self.width, height=self.height, long_side=self.long_side)

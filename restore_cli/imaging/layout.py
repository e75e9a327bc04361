"""How a file stores its samples, where Pillow's pixel mode does not tell.

Stage 3, READ. Pillow has no mode for 2 or 12 bits, and none for gray whose 0 is white; it widens or passes on what it
finds. Here that is noticed, so that nothing is read wrongly. Samples of 16 bits have readers of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import ExifTags, ImageFile

_PNG_BIT_DEPTH_OFFSET = 24
_PNG_COLOR_TYPE_OFFSET = 25
_PNG_GRAY_WITH_ALPHA = 4
_TIFF_WHITE_IS_ZERO = 0


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Describe stored samples.

    Attributes:
        top: Value of a full gray sample in the file, None where Pillow's mode tells.
        white_is_zero: Gray counts down from white, and Pillow hands it out so.
        widened_gray: Gray with alpha that Pillow hands out as RGBA.
    """

    top: int | None = None
    white_is_zero: bool = False
    widened_gray: bool = False


def read_layout(image: ImageFile.ImageFile, core: bytes) -> Layout:
    """Look at an image that is opened but not loaded, and at the bytes of its file."""
    if image.format == "PNG":
        top = 2 ** core[_PNG_BIT_DEPTH_OFFSET] - 1
        gray = core[_PNG_COLOR_TYPE_OFFSET] == _PNG_GRAY_WITH_ALPHA
        return Layout(top=top if image.mode == "L" else None, widened_gray=gray and image.mode == "RGBA")
    if image.format == "TIFF" and image.mode == "I;16":
        tags = getattr(image, "tag_v2", {})
        bits = tags.get(ExifTags.Base.BitsPerSample, (16,))[0]
        inverted = tags.get(ExifTags.Base.PhotometricInterpretation) == _TIFF_WHITE_IS_ZERO
        return Layout(top=2**bits - 1, white_is_zero=inverted)
    return Layout()

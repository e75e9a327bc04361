"""How a file stores its samples, where Pillow's pixel mode does not tell.

Stage 3, READ. Pillow has no mode for 16-bit colour, none for 2 or 12 bits, and none for gray whose 0 is white; it
widens, cuts or passes on what it finds. Here that is noticed, so that nothing is read wrongly or cut in silence.
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
        cut_to_8_bit: The file has 16 bits a channel, of which Pillow hands out the upper 8.
    """

    top: int | None = None
    white_is_zero: bool = False
    widened_gray: bool = False
    cut_to_8_bit: bool = False


def read_layout(image: ImageFile.ImageFile, data: bytes) -> Layout:
    """Look at an image that is opened but not loaded, and at the bytes of its file."""
    cut = _is_cut(image)
    if image.format == "PNG":
        top = 2 ** data[_PNG_BIT_DEPTH_OFFSET] - 1
        gray = data[_PNG_COLOR_TYPE_OFFSET] == _PNG_GRAY_WITH_ALPHA
        return Layout(
            top=top if image.mode == "L" else None, widened_gray=gray and image.mode == "RGBA", cut_to_8_bit=cut
        )
    if image.format == "TIFF" and image.mode in ("I;16", "I;16B", "F"):
        tags = getattr(image, "tag_v2", {})
        bits = tags.get(ExifTags.Base.BitsPerSample, (16,))[0]
        inverted = tags.get(ExifTags.Base.PhotometricInterpretation) == _TIFF_WHITE_IS_ZERO
        return Layout(top=None if image.mode == "F" else 2**bits - 1, white_is_zero=inverted)
    return Layout(cut_to_8_bit=cut)


def _is_cut(image: ImageFile.ImageFile) -> bool:
    if image.mode.startswith("I"):
        return False
    for tile in image.tile:
        words = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        if any(isinstance(word, str) and ";16" in word for word in words):
            return True
        if tile.codec_name.startswith("ppm") and isinstance(words[-1], int) and words[-1] > 255:
            return True
    return False

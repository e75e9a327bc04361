"""Pillow's many pixel modes, reduced to colour planes and one of alpha, and to float32 and back.

Stages 3 and 7, READ and WRITE. Palettes, bit masks, colour keys, premultiplied alpha and odd integer modes end here:
what leaves `separate` is gray or colour without transparency, and alpha, if the file knows it, on its own. Pillow has
no mode for 2 or 12 bits, and none for gray whose 0 is white; `read_sample_layout` notices them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile

from restore_cli.imaging.color.srgb import Color
from restore_cli.imaging.containers.parts import UnreadableError
from restore_cli.imaging.decoded_image import FloatImage

_PNG_BIT_DEPTH_OFFSET = 24
_PNG_COLOR_TYPE_OFFSET = 25
_PNG_GRAY_WITH_ALPHA = 4
_TIFF_WHITE_IS_ZERO = 0


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


_TOP_8_BIT = 255
_TOP_16_BIT = 65535

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
        return Separated(color=image, alpha=_alpha_from_key(image, key, layout.top or _TOP_8_BIT))
    msg = f"its pixel mode {image.mode} is not read"
    raise UnreadableError(msg)


def floats_from(samples: npt.NDArray[Any]) -> FloatImage:
    """Turn 8-bit or 16-bit samples of any shape into float32 in [0, 1]; the inverse of `integers_from`."""
    top = np.float32(np.iinfo(samples.dtype).max)
    floats: FloatImage = np.divide(samples, top, dtype=np.float32)
    return floats


def integers_from(values: npt.NDArray[np.floating], bit_depth: int) -> npt.NDArray[Any]:
    """Clip to [0, 1], scale and round half to even.

    Args:
        values: Any shape, finite.
        bit_depth: 8 or 16.

    Returns:
        uint8 or uint16 of the same shape.
    """
    top, dtype = (_TOP_16_BIT, np.uint16) if bit_depth == 16 else (_TOP_8_BIT, np.uint8)
    scaled = np.clip(values, 0.0, 1.0)
    scaled *= top
    rounded: npt.NDArray[Any] = np.rint(scaled, out=scaled).astype(dtype)
    return rounded


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
    return Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)


def _separate_deep_gray(image: Image.Image, layout: SampleLayout, key: object) -> Separated:
    """Return gray as I;16 whose samples fill 0..65535."""
    samples = np.asarray(image)
    top = 1.0 if image.mode == "F" else layout.top or _TOP_16_BIT
    if not np.isfinite(samples).all() or samples.min() < 0 or samples.max() > top:
        msg = f"its samples are not all within 0 and {top:g}"
        raise UnreadableError(msg)
    alpha = (samples != key).astype(np.float32) if isinstance(key, int) else None
    if layout.white_is_zero:
        samples = top - samples
    whole = samples.astype(np.uint16) if top == _TOP_16_BIT else integers_from(samples / np.float64(top), 16)
    return Separated(color=Image.fromarray(whole), alpha=alpha)


def _alpha_from_key(image: Image.Image, key: object, top: int) -> FloatImage | None:
    """Return 0 where the pixel has the transparent colour and 1 elsewhere, or None without such a colour."""
    if image.mode == "L" and isinstance(key, int):
        # The key is written in the file's own levels, the samples have been stretched to 8 bits.
        visible = np.asarray(image) != key * _TOP_8_BIT // top
    elif image.mode == "RGB" and isinstance(key, tuple) and len(key) == 3:
        visible = (np.asarray(image) != np.array(key)).any(axis=2)
    else:
        return None
    return np.asarray(visible, dtype=np.float32)

"""Bring colour to sRGB, the encoding the networks were trained on, and say which profile the output carries.

Stage 3, READ. One rule, for gray and colour alike:

    no profile                   pixels as they are, no profile out
    a profile that is sRGB       pixels as they are, the same profile out (within 2 of 255 everywhere counts as sRGB)
    any other that fits          pixels converted to sRGB, our own sRGB or gray profile out
    broken, or for other pixels  a warning, pixels as they are, no profile out
    CMYK                         to sRGB through its profile; without a usable one by a plain formula, with a warning

Conversions are relative colorimetric with black point compensation; colours sRGB cannot show are clipped.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from restore_cli.imaging.profiles import gray_profile, srgb_profile

_SRGB_TOLERANCE_LEVELS = 2
_GRID_STEPS = 9
_SPACE_BY_MODE = {"L": "GRAY", "I;16": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
_PLAIN_CMYK = "CMYK was turned into RGB by the plain formula (1 - C)(1 - K)"


@dataclass(frozen=True, kw_only=True)
class SrgbImage:
    """Hold an image in sRGB's encoding.

    Attributes:
        image: Mode L, I;16 or RGB.
        icc_profile: Profile that fits the pixels as they are now; None if untagged.
        warnings: What was lost, a line each.
    """

    image: Image.Image
    icc_profile: bytes | None
    warnings: tuple[str, ...] = ()


def to_srgb(image: Image.Image, icc_profile: bytes | None) -> SrgbImage:
    """Convert an image to sRGB's encoding by the rule of this module.

    Args:
        image: Mode L, I;16, RGB or CMYK, without alpha.
        icc_profile: The profile embedded in its file, possibly broken.

    Returns:
        Gray stays gray, RGB stays RGB, CMYK becomes RGB.
    """
    if icc_profile is None:
        warnings = (f"it has no colour profile: {_PLAIN_CMYK}",) if image.mode == "CMYK" else ()
        return SrgbImage(image=_plain(image), icc_profile=None, warnings=warnings)
    try:
        return _through_profile(image, icc_profile)
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        reason = error if isinstance(error, _UnfitProfileError) else "its colour profile is broken"
        rest = _PLAIN_CMYK if image.mode == "CMYK" else "it was left out"
        return SrgbImage(image=_plain(image), icc_profile=None, warnings=(f"{reason}: {rest}",))


class _UnfitProfileError(ValueError):
    """Report a sound profile that describes other pixels than these."""


def _plain(image: Image.Image) -> Image.Image:
    return image.convert("RGB") if image.mode == "CMYK" else image


def _through_profile(image: Image.Image, icc_profile: bytes) -> SrgbImage:
    space = _space_of(icc_profile)
    gray = image.mode != "RGB" and image.mode != "CMYK"
    ours = gray_profile() if gray else srgb_profile()
    if gray and space == "RGB":
        # Editors often leave an RGB profile on gray pictures: it means the gray axis of that space.
        if _is_srgb(icc_profile, "RGB"):
            return SrgbImage(image=image, icc_profile=ours)
        return SrgbImage(image=_along_gray_axis(image, icc_profile), icc_profile=ours)
    if space != _SPACE_BY_MODE[image.mode]:
        msg = f"its colour profile is for {space} pixels, not {_SPACE_BY_MODE[image.mode]}"
        raise _UnfitProfileError(msg)
    if image.mode != "CMYK" and _is_srgb(icc_profile, "L" if gray else "RGB"):
        return SrgbImage(image=image, icc_profile=icc_profile)
    mode = "RGB" if image.mode == "CMYK" else image.mode
    return SrgbImage(image=_convert(image, icc_profile, ours, mode), icc_profile=ours)


def _space_of(icc_profile: bytes) -> str:
    """Return the colour space a profile is for: "RGB", "GRAY", "CMYK" or another of ICC's names."""
    return str(ImageCms.ImageCmsProfile(io.BytesIO(icc_profile)).profile.xcolor_space).strip()


@lru_cache(maxsize=16)
def _is_srgb(icc_profile: bytes, mode: str) -> bool:
    """Tell whether a profile's colours are sRGB's, tried on a grid; remembered for the batch."""
    if mode == "L":
        grid = np.arange(256, dtype=np.uint8)[np.newaxis]
    else:
        steps = np.linspace(0, 255, _GRID_STEPS).astype(np.uint8)
        grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    converted = _convert(Image.fromarray(grid), icc_profile, gray_profile() if mode == "L" else srgb_profile(), mode)
    distance = np.abs(np.asarray(converted).astype(np.int16) - grid)
    return int(distance.max()) <= _SRGB_TOLERANCE_LEVELS


def _along_gray_axis(image: Image.Image, rgb_profile: bytes) -> Image.Image:
    """Convert gray that is meant as equal R, G and B of an RGB space."""
    levels = np.arange(256, dtype=np.uint8)
    axis = Image.fromarray(np.repeat(levels[np.newaxis, :, np.newaxis], 3, axis=2))
    curve = np.asarray(_convert(axis, rgb_profile, gray_profile(), "L"))[0]
    if image.mode == "L":
        return Image.fromarray(curve[np.asarray(image)])
    samples = np.interp(np.asarray(image), levels * np.uint16(257), curve * 257.0)
    return Image.fromarray(np.rint(samples).astype(np.uint16))


def _convert(image: Image.Image, source: bytes, target: bytes, mode: str) -> Image.Image:
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(source)),
        ImageCms.ImageCmsProfile(io.BytesIO(target)),
        image.mode,
        mode,
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    converted = ImageCms.applyTransform(image, transform)
    if converted is None:
        msg = "the transform gave no image"
        raise ValueError(msg)
    return converted

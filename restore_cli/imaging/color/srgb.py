"""Bring colour to sRGB, the encoding the networks were trained on, and say which profile the output carries.

Stage 3, READ. One rule, for gray and colour alike:

    no profile                   pixels as they are, no profile out
    a profile that is sRGB       pixels as they are, the same profile out (within 2 of 255 everywhere counts as sRGB)
    any other that fits          pixels converted to sRGB, our own sRGB or gray profile out
    broken, or for other pixels  a warning, pixels as they are, no profile out
    Lab                          to sRGB from its own definition (D50)
    CMYK                         to sRGB through its profile; without a usable one by a plain formula, with a warning

A profile may also stand for what a file says in numbers (`profiles`): PNG's cICP, cHRM and gAMA, AVIF's colour box.

Conversions are relative colorimetric with black point compensation; colours sRGB cannot show are clipped. Gray keeps
its 16 bits through any profile, RGB through one of primaries and curves; through a table it comes down to 8, and CMYK
always does, with a warning.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from restore_cli.imaging.color.matrix_profile import read_matrix_profile
from restore_cli.imaging.color.profiles import gray_profile, srgb_profile
from restore_cli.imaging.decoded_image import SrgbImage

_SRGB_TOLERANCE_LEVELS = 2
_GRID_STEPS = 9
_DEEP_LEVELS = 65536
_DEEP_PER_8_BIT = 257
_SPACE_BY_MODE = {"L": "GRAY", "I;16": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
_CUT_BY_PROFILE = "its colour profile is a table, applied at 8 bits a channel"
_CUT_CMYK = "CMYK of 16 bits is converted at 8 bits a channel"
_PLAIN_CMYK = "CMYK was turned into RGB by the plain formula (1 - C)(1 - K)"


Color = Image.Image | npt.NDArray[np.unsignedinteger]
"""Mode L, I;16, RGB, LAB or CMYK without alpha; or (H, W, C), C = 1, 3 or 4 (CMYK), uint16, or uint8 if untagged."""


def to_srgb(color: Color, icc_profile: bytes | None) -> SrgbImage:
    """Convert an image to sRGB's encoding by the rule of this module.

    Args:
        color: The image.
        icc_profile: The profile embedded in its file, possibly broken; None only with CMYK and Lab.

    Returns:
        Gray stays gray, RGB stays RGB, CMYK becomes RGB.
    """
    if isinstance(color, np.ndarray) and color.shape[2] == 3 and icc_profile is not None:
        return _deep_to_srgb(color, icc_profile)
    notes: tuple[str, ...] = ()
    if isinstance(color, np.ndarray):
        is_cmyk = color.shape[2] == 4
        notes = (_CUT_CMYK,) if is_cmyk else ()
        color = Image.fromarray(_cut(color), "CMYK") if is_cmyk else Image.fromarray(color[..., 0])
    converted = _image_to_srgb(color, icc_profile)
    samples = np.asarray(converted.image)
    return SrgbImage(
        samples=samples if samples.ndim == 3 else samples[..., np.newaxis],
        icc_profile=converted.icc_profile,
        warnings=(*notes, *converted.warnings),
    )


@dataclass(frozen=True, kw_only=True)
class _Converted:
    """An image of Pillow's on its way: mode L, I;16 or RGB."""

    image: Image.Image
    icc_profile: bytes | None
    warnings: tuple[str, ...] = ()


def _image_to_srgb(image: Image.Image, icc_profile: bytes | None) -> _Converted:
    if image.mode == "LAB":
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
        return _Converted(image=_convert(image, lab, srgb_profile(), "RGB"), icc_profile=srgb_profile())
    if icc_profile is None:
        return _Converted(image=_plain(image), icc_profile=None, warnings=(f"it has no colour profile: {_PLAIN_CMYK}",))
    try:
        return _through_profile(image, icc_profile)
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        rest = _PLAIN_CMYK if image.mode == "CMYK" else "it was left out"
        return _Converted(image=_plain(image), icc_profile=None, warnings=(f"{_fault(error)}: {rest}",))


def _deep_to_srgb(samples: npt.NDArray[np.unsignedinteger], icc_profile: bytes) -> SrgbImage:
    """Convert uint16 RGB, which Pillow's colour engine does not take."""
    try:
        _require_space(icc_profile, "RGB")
        if _is_srgb(icc_profile):
            return SrgbImage(samples=samples, icc_profile=icc_profile)
        matrix = read_matrix_profile(icc_profile)
        if matrix is not None:
            return SrgbImage(samples=matrix.to_srgb(samples), icc_profile=srgb_profile())
        cut = np.asarray(_convert(Image.fromarray(_cut(samples)), icc_profile, srgb_profile(), "RGB"))
        return SrgbImage(samples=cut, icc_profile=srgb_profile(), warnings=(_CUT_BY_PROFILE,))
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        return SrgbImage(samples=samples, icc_profile=None, warnings=(f"{_fault(error)}: it was left out",))


def _cut(samples: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.uint8]:
    """Round 16 bits to 8."""
    return ((samples.astype(np.uint32) + _DEEP_PER_8_BIT // 2) // _DEEP_PER_8_BIT).astype(np.uint8)


def _fault(error: Exception) -> object:
    return error if isinstance(error, _UnfitProfileError) else "its colour profile is broken"


class _UnfitProfileError(ValueError):
    """Report a sound profile that describes other pixels than these."""


def _plain(image: Image.Image) -> Image.Image:
    return image.convert("RGB") if image.mode == "CMYK" else image


def _through_profile(image: Image.Image, icc_profile: bytes) -> _Converted:
    space = _space_of(icc_profile)
    if image.mode in ("L", "I;16") and space in ("GRAY", "RGB"):
        return _gray_through_profile(image, icc_profile, space)
    _require_space(icc_profile, _SPACE_BY_MODE[image.mode])
    if image.mode == "RGB" and _is_srgb(icc_profile):
        return _Converted(image=image, icc_profile=icc_profile)
    converted = _convert(image, icc_profile, srgb_profile(), "RGB")
    return _Converted(image=converted, icc_profile=srgb_profile())


def _require_space(icc_profile: bytes, wanted: str) -> None:
    space = _space_of(icc_profile)
    if space != wanted:
        msg = f"its colour profile is for {space} pixels, not {wanted}"
        raise _UnfitProfileError(msg)


def _gray_through_profile(image: Image.Image, icc_profile: bytes, space: str) -> _Converted:
    """Convert gray by a curve; an RGB profile, which editors often leave on gray, stands for its gray axis."""
    curve = _gray_curve(icc_profile, space)
    distance = np.abs(curve - np.arange(_DEEP_LEVELS))
    if distance.max() <= _SRGB_TOLERANCE_LEVELS * _DEEP_PER_8_BIT:
        return _Converted(image=image, icc_profile=icc_profile if space == "GRAY" else gray_profile())
    samples = np.asarray(image)
    if image.mode == "I;16":
        converted = curve[samples].astype(np.uint16)
    else:
        converted = np.rint(curve[::_DEEP_PER_8_BIT] / _DEEP_PER_8_BIT).astype(np.uint8)[samples]
    return _Converted(image=Image.fromarray(converted), icc_profile=gray_profile())


def _space_of(icc_profile: bytes) -> str:
    """Return the colour space a profile is for: "RGB", "GRAY", "CMYK" or another of ICC's names."""
    return str(ImageCms.ImageCmsProfile(io.BytesIO(icc_profile)).profile.xcolor_space).strip()


# A batch mostly carries one profile: what was found out about it is remembered.
@lru_cache(maxsize=16)
def _is_srgb(icc_profile: bytes) -> bool:
    """Return whether an RGB profile's colours are sRGB's, tried on a grid."""
    steps = np.linspace(0, 255, _GRID_STEPS).astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    converted = _convert(Image.fromarray(grid), icc_profile, srgb_profile(), "RGB")
    distance = np.abs(np.asarray(converted).astype(np.int16) - grid)
    return int(distance.max()) <= _SRGB_TOLERANCE_LEVELS


@lru_cache(maxsize=16)
def _gray_curve(icc_profile: bytes, space: str) -> npt.NDArray[np.int64]:
    """Return the sRGB-encoded gray, 0..65535, of each 16-bit level of a profile's gray."""
    if space == "GRAY":
        ramp = Image.fromarray(np.arange(_DEEP_LEVELS, dtype=np.uint16)[np.newaxis])
        curve = np.asarray(_convert(ramp, icc_profile, gray_profile(), "I;16"))[0]
    else:
        axis = np.repeat(np.arange(256, dtype=np.uint8)[np.newaxis, :, np.newaxis], 3, axis=2)
        known = np.asarray(_convert(Image.fromarray(axis), icc_profile, gray_profile(), "I;16"))[0]
        curve = np.rint(np.interp(np.arange(_DEEP_LEVELS), np.arange(256) * _DEEP_PER_8_BIT, known))
    return np.asarray(curve, dtype=np.int64)


def _convert(image: Image.Image, source: bytes, target: bytes, mode: str) -> Image.Image:
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    if mode == "I;16":
        # LCMS samples gray at 33 points unless told not to, which is wrong by up to 10 levels in dark linear gray.
        flags |= ImageCms.Flags.NOOPTIMIZE
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(source)),
        ImageCms.ImageCmsProfile(io.BytesIO(target)),
        image.mode,
        mode,
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags,
    )
    converted = ImageCms.applyTransform(image, transform)
    if converted is None:
        msg = "the transform gave no image"
        raise ValueError(msg)
    return converted

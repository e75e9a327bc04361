"""Images in a program's memory to a `DecodedImage`, and results back in the kind they came in: the Python API's door.

Stages 3 and 7, READ and WRITE, without files. A caller who hands in a PIL image or an array gets one back, of the same
mode or dtype and number of dimensions, so that a restoration can be put into any chain of work.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from restore_cli.imaging.alpha import bleed_color
from restore_cli.imaging.color.srgb import to_srgb
from restore_cli.imaging.decoded_image import DecodedImage, FloatImage
from restore_cli.imaging.layout import Layout
from restore_cli.imaging.modes import floats_from, image_from, integers_from, separate

PilImage = Image.Image
KeptImage = TypeVar("KeptImage", Image.Image, npt.NDArray[Any])

_INTEGER_DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16))
_FLOAT_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
# What an image's `info` says of a result as well; a transparent colour, for one, has become alpha.
_LASTING_INFO = ("exif", "xmp", "XML:com.adobe.xmp", "dpi")


def decoded_from(image: Image.Image | npt.NDArray[Any]) -> DecodedImage:
    """Decode an image that is in memory.

    Args:
        image: A PIL image of any mode that images are stored in, its pixels taken as they lie (no turning by EXIF);
            or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), gray, RGB or RGBA, uint8, uint16, or float32 or
            float64 in [0, 1].

    Raises:
        TypeError: If it is neither.
        ValueError: If an array's shape or dtype is another, a mode is not read, or values are not finite or not in
            the range above.
    """
    if isinstance(image, Image.Image):
        return _from_image(image)
    if isinstance(image, np.ndarray):
        return _from_array(image)
    msg = f"expected a PIL image or a numpy array, got {type(image).__name__}"
    raise TypeError(msg)


def as_kind_of(image: DecodedImage, original: KeptImage) -> KeptImage:
    """Return an image in the kind of the image it was made of.

    Args:
        image: Usually another size than `original`; alpha must be there exactly where the original has it.
        original: What `decoded_from` was given.

    Returns:
        An array of the same dtype and number of dimensions, floats clipped to [0, 1]; or a PIL image of the same mode,
        where 1-bit becomes L, and palettes, colour keys and all that is neither gray nor RGB become RGB or RGBA.
    """
    if isinstance(original, Image.Image):
        return _to_image(image, original)
    return _to_array(image, original)


def pil_image_of(image: DecodedImage) -> PilImage:
    """Return an image that came from a file as a PIL image; what its file said lies in `info`.

    Gray and RGB, with alpha where the image has one; 16-bit gray stays so, all else is 8-bit.
    """
    pixels = _drawn(image)
    said = {"icc_profile": image.icc_profile, "exif": image.exif, "xmp": image.xmp, "dpi": image.dpi}
    pixels.info = {key: value for key, value in said.items() if value is not None}
    return pixels


def _drawn(image: DecodedImage) -> PilImage:
    deep = image.bit_depth == 16 and image.channels == 1 and image.alpha is None
    return image_from(image.pixels, image.alpha, 16 if deep else 8)


def _from_image(image: Image.Image) -> DecodedImage:
    if image.mode == "F":
        return _from_array(np.asarray(image))
    separated = separate(image, Layout())
    srgb = to_srgb(separated.color, image.info.get("icc_profile") or None)
    return DecodedImage(
        pixels=_bled(floats_from(srgb.samples), separated.alpha),
        alpha=separated.alpha,
        bit_depth=srgb.samples.dtype.itemsize * 8,
        icc_profile=srgb.icc_profile,
        warnings=srgb.warnings,
    )


def _from_array(array: npt.NDArray[Any]) -> DecodedImage:
    planes = array[..., np.newaxis] if array.ndim == 2 else array
    if planes.ndim != 3 or planes.shape[2] not in (1, 3, 4) or 0 in planes.shape:
        msg = f"expected an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got {array.shape}"
        raise ValueError(msg)
    if array.dtype in _INTEGER_DTYPES:
        values = floats_from(planes)
    elif array.dtype in _FLOAT_DTYPES:
        if not (np.isfinite(planes).all() and planes.min() >= 0.0 and planes.max() <= 1.0):
            msg = "expected finite values within 0 and 1 in a floating-point array"
            raise ValueError(msg)
        values = planes.astype(np.float32)
    else:
        msg = f"expected uint8, uint16, float32 or float64, got {array.dtype}"
        raise ValueError(msg)
    alpha = np.ascontiguousarray(values[..., 3]) if planes.shape[2] == 4 else None
    return DecodedImage(
        pixels=_bled(np.ascontiguousarray(values[..., :3]), alpha),
        alpha=alpha,
        bit_depth=8 if array.dtype == np.uint8 else 16,
    )


def _bled(pixels: FloatImage, alpha: FloatImage | None) -> FloatImage:
    return pixels if alpha is None else bleed_color(pixels, alpha)


def _to_image(image: DecodedImage, original: Image.Image) -> Image.Image:
    if original.mode == "F":
        pixels = Image.fromarray(np.clip(image.pixels[..., 0], 0.0, 1.0))
    else:
        pixels = _drawn(image)
        if original.mode == "I":
            pixels = Image.fromarray(np.asarray(pixels).astype(np.int32))
    pixels.info = {key: original.info[key] for key in _LASTING_INFO if key in original.info}
    if image.icc_profile is not None:
        pixels.info["icc_profile"] = image.icc_profile
    return pixels


def _to_array(image: DecodedImage, original: npt.NDArray[Any]) -> npt.NDArray[Any]:
    planes = image.pixels
    if image.alpha is not None:
        planes = np.concatenate([planes, image.alpha[..., np.newaxis]], axis=2)
    if original.ndim == 2:
        planes = planes[..., 0]
    if original.dtype in _FLOAT_DTYPES:
        return np.clip(planes, 0.0, 1.0).astype(original.dtype)
    return integers_from(planes, original.dtype.itemsize * 8)

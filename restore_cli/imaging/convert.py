"""Images in a program's memory to a `DecodedImage`, and results back in the kind they came in: the Python API's door.

Stages 3 and 7, READ and WRITE, without files of our own. A caller who hands in a PIL image, an array or a tensor gets
one back, of the same mode or dtype and number of dimensions, so that a restoration can be put into any chain of work.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from restore_cli.imaging.alpha import bleed_color
from restore_cli.imaging.decode import decode, decode_bytes
from restore_cli.imaging.decoded_image import DecodedImage, FloatImage, floats_from, integers_from
from restore_cli.imaging.pillow import SampleLayout, image_from, in_srgb, separate

if TYPE_CHECKING:
    import torch

PilImage = Image.Image
KeptImage = TypeVar("KeptImage", Image.Image, npt.NDArray[Any], "torch.Tensor")
ImageFile = str | os.PathLike[str] | bytes | IO[bytes]
"""A path, the bytes of a file, or an open one."""

_INTEGER_DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16))
_FLOAT_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
# What an image's `info` says of a result as well; a transparent colour, for one, has become alpha.
_LASTING_INFO = ("exif", "xmp", "XML:com.adobe.xmp", "dpi")


def converted(image: Any, restore: Callable[[DecodedImage], DecodedImage]) -> Any:
    """Decode one image or several, restore each, and return them in the kind they came in.

    Args:
        image: What `decoded_from` takes; a tensor (N, C, H, W) of several; or a list or tuple of any of these.
        restore: Restores one; all results of a tensor must have one size.

    Returns:
        What `as_kind_of` returns; a tensor (N, C, H, W); or a list of any of these.

    Raises:
        DecodeError: As in `decoded_from`.
        TypeError: As in `decoded_from`.
        ValueError: As in `decoded_from`.
    """
    if isinstance(image, list | tuple):
        return [converted(one, restore) for one in image]
    if _is_tensor(image) and image.ndim == 4:
        return sys.modules["torch"].stack([converted(one, restore) for one in image])
    return as_kind_of(restore(decoded_from(image)), image)


def decoded_from(image: Any) -> DecodedImage:
    """Decode an image that a program holds.

    Args:
        image: The path of a file, the bytes of one, or one that is open for reading bytes; a PIL image of any mode that
            images are stored in, its pixels taken as they lie (no turning by EXIF); an array (H, W), (H, W, 1),
            (H, W, 3) or (H, W, 4), gray, RGB or RGBA, uint8, uint16, or floats in [0, 1]; or a tensor (H, W),
            (1, H, W), (3, H, W) or (4, H, W) of the same dtypes.

    Raises:
        DecodeError: If a file is no image that we read.
        TypeError: If it is none of these.
        ValueError: If a shape or dtype is another, a mode is not read, or values are not finite or not in the range
            above.
    """
    if isinstance(image, str | os.PathLike):
        return decode(Path(image))
    if isinstance(image, bytes | bytearray | memoryview):
        return decode_bytes(bytes(image), "the bytes")
    if isinstance(image, Image.Image):
        return _from_image(image)
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if _is_tensor(image):
        return _from_array(_array_of(image))
    if hasattr(image, "read"):
        return decode_bytes(image.read(), str(getattr(image, "name", "the open file")))
    msg = f"expected a path, bytes, an open file, a PIL image, a numpy array or a tensor, got {type(image).__name__}"
    raise TypeError(msg)


def as_kind_of(image: DecodedImage, original: Any) -> Any:
    """Return an image in the kind of the image it was made of.

    Args:
        image: Usually another size than `original`; alpha must be there exactly where the original has it.
        original: What `decoded_from` was given.

    Returns:
        An array or tensor of the same dtype and number of dimensions, floats clipped to [0, 1]; a PIL image of the same
        mode, where 1-bit becomes L, and palettes, colour keys and all that is neither gray nor RGB become RGB or RGBA;
        a PIL image too where the original was a file.
    """
    if isinstance(original, Image.Image):
        return _to_image(image, original)
    if isinstance(original, np.ndarray):
        return _to_array(image, original)
    if _is_tensor(original):
        array = _to_array(image, _array_of(original))
        planes = np.ascontiguousarray(array if array.ndim == 2 else array.transpose(2, 0, 1))
        return sys.modules["torch"].from_numpy(planes).to(original.device, original.dtype)
    return pil_image_of(image)


def _is_tensor(image: Any) -> bool:
    torch = sys.modules.get("torch")  # who holds a tensor has loaded it
    return torch is not None and isinstance(image, torch.Tensor)


def _array_of(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """Return a tensor's values as an array (H, W) or (H, W, C), half precision as float32."""
    if tensor.ndim not in (2, 3) or (tensor.ndim == 3 and tensor.shape[0] not in (1, 3, 4)):
        msg = f"expected a tensor (H, W), (C, H, W) or (N, C, H, W) of 1, 3 or 4 channels, got {tuple(tensor.shape)}"
        raise ValueError(msg)
    values = tensor.detach().cpu()
    if values.is_floating_point() and values.element_size() < 4:
        values = values.float()
    array: npt.NDArray[Any] = values.numpy()
    return array if array.ndim == 2 else array.transpose(1, 2, 0)


def pil_image_of(image: DecodedImage) -> PilImage:
    """Return an image that came from a file as a PIL image; what its file said lies in `info`.

    Gray and RGB, with alpha where the image has one; 16-bit gray stays so, all else is 8-bit.
    """
    pixels = _drawn(image)
    info_of_file = {"icc_profile": image.icc_profile, "exif": image.exif, "xmp": image.xmp, "dpi": image.dpi}
    pixels.info = {key: value for key, value in info_of_file.items() if value is not None}
    return pixels


def _drawn(image: DecodedImage) -> PilImage:
    deep = image.bit_depth == 16 and image.channels == 1 and image.alpha is None
    return image_from(image.pixels, image.alpha, 16 if deep else 8)


def _from_image(image: Image.Image) -> DecodedImage:
    if image.mode == "F":
        return _from_array(np.asarray(image))
    separated = separate(image, SampleLayout())
    srgb = in_srgb(separated.color, image.info.get("icc_profile") or None)
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

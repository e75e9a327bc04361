"""Make one pair of pixels from one pair of files, under a protocol.

Stage 3 of scoring, READ. The degraded pixels stay float32: under the paper's protocol for noise they are neither
clipped nor rounded on their way to the network, under all others they hold exact multiples of 1/255. The clean pixels
are 8 bit, for that is what scores are taken on.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from restore_cli.errors import ImageError
from restore_cli.imaging.containers.jpeg import through_jpeg
from restore_cli.imaging.decode import decode
from restore_cli.imaging.decoded_image import FloatImage, JpegFacts
from restore_cli.imaging.resize import downscale_matlab
from restore_cli.scoring.pairs import Pair
from restore_cli.scoring.protocol import Protocol
from restore_cli.tasks import DegradeOptions, get_task

Uint8Image = npt.NDArray[np.uint8]

_GRAY_WEIGHTS = (0.299, 0.587, 0.114)
_NOISE_SEED = 0
_BEST_QUALITY = 100
# SSIM's window takes 11 pixels, the reflection of the widest synthetic blur 16.
_SMALLEST_SIDE_PIXELS = 16


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image, ready to be restored and scored.

    Attributes:
        name: The pair's name.
        degraded: float32 (h, w, C); beyond [0, 1] where the protocol does not clip.
        clean: uint8 (scale * h, scale * w, C).
        jpeg: How strongly the input was compressed, as its file's header says; None for other files.
        warnings: What was decided on the way, a line each.
    """

    name: str
    degraded: FloatImage
    clean: Uint8Image
    jpeg: JpegFacts | None = None
    warnings: tuple[str, ...] = ()


def as_8bit(pixels: FloatImage) -> Uint8Image:
    """Clip to [0, 1] and round half to even to 0..255: what scores and files see of float pixels."""
    levels: npt.NDArray[np.float32] = np.rint(np.clip(pixels, 0.0, 1.0) * np.float32(255.0))
    return levels.astype(np.uint8)


def as_float(image: Uint8Image) -> FloatImage:
    """Return 0..255 as float32 in [0, 1]."""
    return image.astype(np.float32) / np.float32(255.0)


def make_sample(pair: Pair, protocol: Protocol) -> Sample:
    """Read a pair, or read the clean image and make its input.

    Raises:
        ImageError: If a file cannot be read, is too small to score, or the two sizes do not belong together.
    """
    clean, warnings, _ = _read(pair.clean, protocol.channels)
    if pair.degraded is None:
        height, width = (side - side % protocol.scale for side in clean.shape[:2])
        clean = _cut(clean, height, width, protocol, pair.clean)
        degraded, jpeg = _degrade(clean, protocol, pair.name)
    else:
        given, more, jpeg = _read(pair.degraded, protocol.channels)
        _refuse_odd_sizes(given, clean, protocol.scale, pair.degraded, pair.clean)
        height, width = (side * protocol.scale for side in given.shape[:2])
        clean = _cut(clean, height, width, protocol, pair.clean)
        degraded, warnings = as_float(given), (*warnings, *more)
    return Sample(name=pair.name, degraded=degraded, clean=clean, jpeg=jpeg, warnings=warnings)


def _read(path: Path, channels: int) -> tuple[Uint8Image, tuple[str, ...], JpegFacts | None]:
    """Decode a file to 8 bit with the channels that are scored; its warnings, and what a JPEG's header says."""
    image = decode(path)
    warnings = [f"{path}: {warning}" for warning in image.warnings]
    if image.alpha is not None and float(image.alpha.min()) < 1.0:
        warnings.append(f"{path}: transparency is not scored")
    if image.bit_depth != 8:
        warnings.append(f"{path}: scored as 8 bit")
    pixels = as_8bit(image.pixels)
    if channels == 3 and image.channels == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    elif channels == 1 and image.channels == 3:
        pixels = _gray(pixels)
    return pixels, tuple(warnings), image.jpeg


def _gray(image: Uint8Image) -> Uint8Image:
    """Return rounded full-range luma (H, W, 1), as OpenCV makes gray images of coloured ones."""
    luma: npt.NDArray[np.float64] = image.astype(np.float64) @ np.array(_GRAY_WEIGHTS)
    return np.rint(luma).astype(np.uint8)[..., np.newaxis]


def _refuse_odd_sizes(given: Uint8Image, clean: Uint8Image, scale: int, degraded_path: Path, clean_path: Path) -> None:
    """Let the truth be larger than `scale` times its input by less than one input pixel, and no more."""
    spare = [side - scale * small for side, small in zip(clean.shape[:2], given.shape[:2], strict=True)]
    if min(spare) < 0 or max(spare) >= scale:
        factor = "of the same size" if scale == 1 else f"{scale} times as large"
        raise ImageError(
            f"{clean_path} is {_size(clean)}, not {factor} as {degraded_path} with {_size(given)} pixels",
            hint="check the folders" if scale == 1 else "check the folders and --scale",
        )


def _cut(clean: Uint8Image, height: int, width: int, protocol: Protocol, path: Path) -> Uint8Image:
    least = _SMALLEST_SIDE_PIXELS + 2 * protocol.crop_border
    if min(height, width) < least:
        raise ImageError(
            f"{path}: {_size(clean)} pixels are too few to score", hint=f"use images from {least}x{least} on"
        )
    return clean[:height, :width]


def _degrade(clean: Uint8Image, protocol: Protocol, name: str) -> tuple[FloatImage, JpegFacts | None]:
    """Make the input of a clean image, float32 (H / scale, W / scale, C), and what its header says if it is a JPEG."""
    if protocol.input == "jpeg":
        compressed, jpeg = through_jpeg(clean, protocol.quality or _BEST_QUALITY)
        return as_float(compressed), jpeg
    if protocol.input == "matlab-bicubic":
        return as_float(downscale_matlab(clean, protocol.scale)), None
    if protocol.input == "synthetic":
        return as_float(as_8bit(_synthesise(as_float(clean), protocol, name))), None
    noisy = as_float(clean) + _noise(clean.shape, protocol.sigma or 0.0)
    return noisy if protocol.input == "float-noise" else as_float(as_8bit(noisy)), None


def _noise(shape: tuple[int, ...], sigma: float) -> FloatImage:
    """Draw the published noise: seed 0 for every image, channels first, sigma on the 0..255 scale."""
    import torch

    height, width, channels = shape
    generator = torch.Generator().manual_seed(_NOISE_SEED)
    noise = torch.randn(channels, height, width, generator=generator) * (sigma / 255.0)
    return np.ascontiguousarray(noise.permute(1, 2, 0).numpy())


def _synthesise(clean: FloatImage, protocol: Protocol, name: str) -> FloatImage:
    """Degrade as the task does, seeded by the image's name: the same whatever else lies in the folder."""
    import torch

    sigma = protocol.sigma or 0.0
    options = DegradeOptions(scale=protocol.scale, sigma_range=(sigma, sigma), variant=protocol.variant)
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    batch = torch.from_numpy(clean).permute(2, 0, 1).unsqueeze(0).contiguous()
    degraded = get_task(protocol.task).degrade(batch, options, generator)
    return np.ascontiguousarray(degraded[0].permute(1, 2, 0).numpy())


def _size(image: Uint8Image) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"

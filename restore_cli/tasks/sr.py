"""Super-resolution: a small image, two to four times larger.

The plain degradation is the field's own, MATLAB's antialiased bicubic rounded to 8 bit; the variant "photo" is what
images from the web went through on their way to us: blur or none, reduction by some filter, grain or a camera's noise
or none, JPEG of any quality and sampling, now and then twice. A JPEG's header says how it was saved last, which a
network that takes a noise level is told.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from restore_cli.tasks import DegradeOptions, Task
from restore_cli.tasks._camera import camera_noise
from restore_cli.tasks._grain import grain
from restore_cli.tasks._jpeg import compress_chosen, level_of_quality
from restore_cli.tasks._kernels import draw_chance, draw_uniform, filter_each, gaussian_kernels
from restore_cli.tasks._levels import half_secret, to_8bit

if TYPE_CHECKING:
    import torch

PHOTO_KERNEL_SIZE = 21
PHOTO_NOISE_SIGMA_MAX = 15.0
PHOTO_STRONG_SIGMA = (15.0, 50.0)
PHOTO_QUALITY = (25.0, 98.0)
PHOTO_SHARP_CHANCE, PHOTO_BICUBIC_CHANCE = 0.5, 0.6
PHOTO_GRAIN_CHANCE, PHOTO_STRONG_CHANCE, PHOTO_CAMERA_CHANCE = 0.12, 0.08, 0.06
PHOTO_JPEG_CHANCE, PHOTO_TWICE_CHANCE = 0.85, 0.15


def degrade(hr: torch.Tensor, options: DegradeOptions, generator: torch.Generator) -> torch.Tensor:
    """Reduce images by `options.scale`.

    Args:
        hr: float32 (N, C, H, W) in [0, 1]; H and W are multiples of the scale.
        options: The scale, and the variant None or "photo".
        generator: Source of the "photo" variant, on the device of `hr`; the plain one draws nothing.

    Returns:
        float32 (N, C, H / scale, W / scale) in [0, 1], rounded to 8 bit.

    Raises:
        ValueError: If H or W is no multiple of the scale, or the variant is unknown.
    """
    return _degraded(hr, options, generator)[0]


def degrade_and_measure(
    hr: torch.Tensor, options: DegradeOptions, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Reduce images as `degrade` does, and say of half of them how strongly they were compressed at last.

    Args:
        hr: As in `degrade`.
        options: As in `degrade`.
        generator: As in `degrade`; the same state gives the same images.

    Returns:
        What `degrade` returns, and (N,): the noise level that stands for the quality it was last saved with, on the
        scale of `hr`; -1 where it is kept secret, and where the image is no JPEG.

    Raises:
        ValueError: As `degrade`.
    """
    import torch

    degraded, quality = _degraded(hr, options, generator)
    level = [level_of_quality(each) / 255.0 if each > 0.0 else -1.0 for each in quality.tolist()]
    return degraded, half_secret(torch.tensor(level, device=hr.device), generator)


def _degraded(
    hr: torch.Tensor, options: DegradeOptions, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return reduced images, and the quality (N,) each was last saved with, 0 where it is no JPEG."""
    if hr.shape[-2] % options.scale or hr.shape[-1] % options.scale:
        msg = f"size {hr.shape[-2]}x{hr.shape[-1]} is no multiple of the scale {options.scale}"
        raise ValueError(msg)
    TASK.require_variant(options.variant)
    if options.variant == "photo":
        return _degrade_photo(hr, options.scale, generator)
    return _downscale(hr, options.scale), hr.new_zeros(hr.shape[0])


def _downscale(hr: torch.Tensor, scale: int) -> torch.Tensor:
    import numpy as np
    import torch

    from restore_cli.imaging.resize import downscale_matlab

    if scale == 1:
        return hr
    pixels = (hr * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    small = np.stack([downscale_matlab(image, scale) for image in pixels])
    return torch.from_numpy(small).permute(0, 3, 1, 2).to(device=hr.device, dtype=torch.float32).contiguous() / 255.0


def _degrade_photo(hr: torch.Tensor, scale: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    images = hr.expand(-1, 3, -1, -1)
    gray = hr.shape[1] == 1
    lr = _reduce(_blur(images, scale, generator), scale, generator)
    noise = _noise(lr, generator)
    if gray:
        noise = noise[:, 1:2].expand_as(noise)
    # Mostly the noise of the sensor is in the image before it is compressed; scans and edits have it after.
    before = draw_chance(lr.shape[0], 0.85, generator)
    degraded = to_8bit(lr + torch.where(before, noise, torch.zeros_like(noise)))
    degraded, quality = _compress_some(degraded, generator)
    after = torch.where(before, torch.zeros_like(noise), noise)
    degraded = to_8bit(degraded + after)
    edited = after.flatten(1).any(1)  # what has changed since is no JPEG any more
    return degraded[:, : hr.shape[1]].contiguous(), torch.where(edited, torch.zeros_like(quality), quality)


def _reduce(images: torch.Tensor, scale: int, generator: torch.Generator) -> torch.Tensor:
    """Reduce by one of three filters, chosen per image, since nobody knows which program did it."""
    import torch
    from torch.nn import functional

    count = images.shape[0]
    size = (images.shape[-2] // scale, images.shape[-1] // scale)
    bicubic = functional.interpolate(images, size=size, mode="bicubic", antialias=True, align_corners=False)
    bilinear = functional.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)
    area = functional.interpolate(images, size=size, mode="area")
    reduced = torch.where(draw_chance(count, PHOTO_BICUBIC_CHANCE, generator), bicubic, bilinear)
    return torch.where(draw_chance(count, 0.2, generator), area, reduced).clamp(0.0, 1.0)


def _blur(hr: torch.Tensor, scale: int, generator: torch.Generator) -> torch.Tensor:
    import torch

    count = hr.shape[0]
    along = draw_uniform(count, 0.2, 0.6 * scale, generator)
    ratio = draw_uniform(count, 0.4, 1.0, generator)
    isotropic = draw_chance(count, 0.6, generator).view(-1)
    across = torch.where(isotropic, along, along * ratio).clamp_min(0.2)
    angle = draw_uniform(count, 0.0, math.pi, generator)
    size = min(PHOTO_KERNEL_SIZE, 2 * (min(hr.shape[-2:]) // 2) - 1)
    blurred = filter_each(hr, gaussian_kernels(along, across, angle, size))
    # Half of the images are sharp: then the reduction's own filter is all the blur there is.
    return torch.where(draw_chance(count, PHOTO_SHARP_CHANCE, generator), hr, blurred)


def _noise(lr: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw the noise of finished images, of a camera, or none, which is as frequent as it is in real life.

    Weak noise is rare, as what is hard to tell from it is texture; no texture looks like strong noise.
    """
    import torch

    count = lr.shape[0]
    drawn = draw_uniform(count, 0.0, 1.0, generator)
    kind = draw_uniform(count, 0.0, 1.0, generator)
    low, high = PHOTO_STRONG_SIGMA
    strong = low + (high - low) * drawn
    sigma = torch.where(kind < PHOTO_STRONG_CHANCE, strong, PHOTO_NOISE_SIGMA_MAX * drawn**2) / 255.0
    noise = torch.zeros_like(lr)
    grainy = (kind < PHOTO_STRONG_CHANCE + PHOTO_GRAIN_CHANCE).nonzero().flatten()
    camera = (kind > 1.0 - PHOTO_CAMERA_CHANCE).nonzero().flatten()
    if len(grainy):
        noise[grainy] = grain(lr[grainy], sigma[grainy], generator)
    if len(camera):
        noise[camera] = 0.5 * camera_noise(lr[camera], generator)  # the reduction has averaged it
    return noise


def _compress_some(images: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Save most images as JPEG, and some of these a second time; return them, and the last quality (N,) or 0."""
    count = images.shape[0]
    compressed = draw_chance(count, PHOTO_JPEG_CHANCE, generator).flatten()
    twice = compressed & draw_chance(count, PHOTO_TWICE_CHANCE, generator).flatten()
    last = images.new_zeros(count)
    for chosen in (twice, compressed):
        quality = draw_uniform(int(chosen.sum()), *PHOTO_QUALITY, generator).round()
        images = compress_chosen(images, chosen, quality, generator)
        last[chosen] = quality
    return images, last


TASK = Task(
    name="sr",
    title="super-resolution",
    action="Enlarge",
    metrics=("psnr_y", "ssim_y"),
    suffix="_x{scale}",
    crop_border=lambda scale: scale,
    degrade=degrade,
    degrade_and_measure=degrade_and_measure,
    variants=("photo",),
    default_scale=4,
)

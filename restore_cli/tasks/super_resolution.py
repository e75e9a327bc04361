"""Super-resolution: a small image, two to four times larger.

The plain degradation is the field's own, MATLAB's antialiased bicubic rounded to 8 bit; the variant "photo" is what
real images went through on their way to us: lens and motion blur, reduction, sensor noise, JPEG.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from restore_cli.tasks import DegradeOptions, Task
from restore_cli.tasks._jpeg import compress_jpeg
from restore_cli.tasks._kernels import draw_chance, draw_uniform, filter_each, gaussian_kernels

if TYPE_CHECKING:
    import torch

PHOTO_KERNEL_SIZE = 21
PHOTO_NOISE_SIGMA_MAX = 15.0
PHOTO_QUALITY = (40.0, 95.0)


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
    if hr.shape[-2] % options.scale or hr.shape[-1] % options.scale:
        msg = f"size {hr.shape[-2]}x{hr.shape[-1]} is no multiple of the scale {options.scale}"
        raise ValueError(msg)
    if options.variant is None:
        return _downscale(hr, options.scale)
    if options.variant == "photo":
        return _degrade_photo(hr, options.scale, generator)
    msg = f"unknown variant {options.variant!r} of super-resolution; known: photo"
    raise ValueError(msg)


def _downscale(hr: torch.Tensor, scale: int) -> torch.Tensor:
    import numpy as np
    import torch

    from restore_cli.imaging.resize import downscale_matlab

    if scale == 1:
        return hr
    pixels = (hr * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    small = np.stack([downscale_matlab(image, scale) for image in pixels])
    return torch.from_numpy(small).permute(0, 3, 1, 2).to(device=hr.device, dtype=torch.float32).contiguous() / 255.0


def _degrade_photo(hr: torch.Tensor, scale: int, generator: torch.Generator) -> torch.Tensor:
    import torch
    from torch.nn import functional

    count = hr.shape[0]
    blurred = _blur(hr, scale, generator)
    size = (hr.shape[-2] // scale, hr.shape[-1] // scale)
    # Three filters, since nobody knows which program reduced an image; chosen per image.
    bicubic = functional.interpolate(blurred, size=size, mode="bicubic", antialias=True, align_corners=False)
    bilinear = functional.interpolate(blurred, size=size, mode="bilinear", antialias=True, align_corners=False)
    area = functional.interpolate(blurred, size=size, mode="area")
    lr = torch.where(draw_chance(count, 0.5, generator), bicubic, bilinear)
    lr = torch.where(draw_chance(count, 0.2, generator), area, lr).clamp(0.0, 1.0)
    noise = _noise(lr, generator)
    quality = draw_uniform(count, *PHOTO_QUALITY, generator)
    # Mostly the noise of the sensor is in the image before it is compressed; scans and edits have it after.
    noisy_then_compressed = _compress((lr + noise).clamp(0.0, 1.0), quality)
    compressed_then_noisy = (_compress(lr, quality) + noise).clamp(0.0, 1.0)
    degraded = torch.where(draw_chance(count, 0.8, generator), noisy_then_compressed, compressed_then_noisy)
    return (degraded * 255.0).round() / 255.0


def _blur(hr: torch.Tensor, scale: int, generator: torch.Generator) -> torch.Tensor:
    import torch

    count = hr.shape[0]
    along = draw_uniform(count, 0.2, 0.7 * scale, generator)
    ratio = draw_uniform(count, 0.4, 1.0, generator)
    isotropic = draw_chance(count, 0.6, generator).view(-1)
    across = torch.where(isotropic, along, along * ratio).clamp_min(0.2)
    angle = draw_uniform(count, 0.0, math.pi, generator)
    size = min(PHOTO_KERNEL_SIZE, 2 * (min(hr.shape[-2:]) // 2) - 1)
    blurred = filter_each(hr, gaussian_kernels(along, across, angle, size))
    # One image in five is sharp: then the reduction's own filter is all the blur there is.
    return torch.where(draw_chance(count, 0.2, generator), hr, blurred)


def _noise(lr: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    import torch

    count = lr.shape[0]
    # Squared, so that clean images are as frequent as they are in real life.
    sigma = draw_uniform(count, 0.0, 1.0, generator) ** 2 * (PHOTO_NOISE_SIGMA_MAX / 255.0)
    noise = torch.randn(lr.shape, generator=generator, device=lr.device)
    gray = noise[:, :1].expand_as(noise)
    photon = torch.where(draw_chance(count, 0.5, generator), (2.0 * lr).clamp_min(0.0).sqrt(), torch.ones_like(lr))
    return torch.where(draw_chance(count, 0.3, generator), gray, noise) * sigma.view(-1, 1, 1, 1) * photon


def _compress(lr: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
    if lr.shape[1] == 3:
        return compress_jpeg(lr, quality)
    return compress_jpeg(lr.expand(-1, 3, -1, -1), quality)[:, :1]


TASK = Task(
    name="sr",
    title="super-resolution",
    metrics=("psnr_y", "ssim_y"),
    suffix=lambda scale: f"_x{scale}",
    crop_border=lambda scale: scale,
    degrade=degrade,
    variants=("photo",),
    default_scale=4,
)

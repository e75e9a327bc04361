"""Denoising: Gaussian noise of known or unknown level, and the noise of real cameras.

Without a variant the noise is the papers': Gaussian, added in float, neither clipped nor rounded. "8bit" is the same
noise as a file would hold it; "mixed" draws one of the two for each image, so that one blind network serves the
paper's protocol and people's files alike; "real" is photon and read noise with the cross-talk of neighbouring pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from restore_cli.tasks import DegradeOptions, Task
from restore_cli.tasks._kernels import draw_chance, draw_uniform, filter_each, gaussian_kernels

if TYPE_CHECKING:
    import torch


def degrade(clean: torch.Tensor, options: DegradeOptions, generator: torch.Generator) -> torch.Tensor:
    """Add noise whose level is drawn for each image from `options.sigma_range` (0..255 scale).

    Args:
        clean: float32 (N, C, H, W) in [0, 1].
        options: The range of levels, and the variant None, "8bit", "mixed" or "real".
        generator: Source of levels and noise, on the device of `clean`.

    Returns:
        float32 (N, C, H, W); in [0, 1] for "8bit" and "real", beyond it by the noise for the plain protocol.

    Raises:
        ValueError: If the variant is unknown.
    """
    import torch

    count = clean.shape[0]
    sigma = (draw_uniform(count, *options.sigma_range, generator) / 255.0).view(-1, 1, 1, 1)
    noise = torch.randn(clean.shape, generator=generator, device=clean.device)
    if options.variant == "real":
        return _to_8bit(clean + sigma * _camera_noise(clean, noise, generator))
    noisy = clean + sigma * noise
    if options.variant is None:
        return noisy
    if options.variant == "8bit":
        return _to_8bit(noisy)
    if options.variant == "mixed":
        return torch.where(draw_chance(count, 0.5, generator), _to_8bit(noisy), noisy)
    msg = f"unknown variant {options.variant!r} of denoising; known: {', '.join(TASK.variants)}"
    raise ValueError(msg)


def _camera_noise(clean: torch.Tensor, noise: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    import torch

    count = clean.shape[0]
    share = draw_uniform(count, 0.0, 1.0, generator).view(-1, 1, 1, 1)
    # Photon noise grows with the square root of the light; 0.5 is where both kinds are equally strong.
    photon = (2.0 * share * clean + (1.0 - share)).sqrt()
    spread = draw_uniform(count, 0.2, 0.9, generator)
    # Demosaicing spreads each pixel's noise over its neighbours, which is why camera noise is coarse.
    coarse = filter_each(noise, gaussian_kernels(spread, spread, torch.zeros_like(spread), 5))
    return coarse / coarse.std(dim=(1, 2, 3), keepdim=True).clamp_min(1e-6) * photon


def _to_8bit(images: torch.Tensor) -> torch.Tensor:
    return (images.clamp(0.0, 1.0) * 255.0).round() / 255.0


TASK = Task(
    name="denoise",
    title="denoising",
    metrics=("psnr", "ssim"),
    suffix=lambda _scale: "_denoised",
    crop_border=lambda _scale: 0,
    degrade=degrade,
    variants=("8bit", "mixed", "real"),
)

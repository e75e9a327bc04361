"""Noise of finished images: shared by the colours or not, fine or coarse, stronger where the image is gray or dark.

Serves the degradations of this folder. Film grain, scans of prints and what is left of a camera's noise behind chroma
smoothing are much the same in red, green and blue; noise that is drawn for each channel alone teaches a network that
whatever the channels share is texture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from restore_cli.tasks._kernels import draw_chance, draw_uniform, filter_each, gaussian_kernels

if TYPE_CHECKING:
    import torch

LUMA = (0.299, 0.587, 0.114)
SHARED_CHANCE, SEPARATE_CHANCE = 0.45, 0.3
COARSE_CHANCE, HUMP_CHANCE, DARK_CHANCE = 0.35, 0.2, 0.15
SPREAD_PIXELS = (0.35, 1.2)
_KERNEL = 7


def grain(clean: torch.Tensor, sigma: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return noise for finished images.

    Args:
        clean: float32 (N, 3, H, W) in [0, 1], H and W of at least 4 pixels.
        sigma: Standard deviation on the scale of `clean`, shape (N,): of all pixels, or of the strongest where the
            noise depends on the light.
        generator: Source of kinds and noise, on the device of `clean`.

    Returns:
        float32 (N, 3, H, W), of mean 0.
    """
    import torch

    count, device = clean.shape[0], clean.device
    kind = draw_uniform(count, 0.0, 1.0, generator)
    between = draw_uniform(count, 0.0, 1.0, generator)
    shared = torch.where(kind < SHARED_CHANCE + SEPARATE_CHANCE, (kind < SHARED_CHANCE).to(between.dtype), between)
    own = torch.randn(clean.shape, generator=generator, device=device)
    common = torch.randn(clean[:, :1].shape, generator=generator, device=device)
    noise = shared.sqrt().view(-1, 1, 1, 1) * common + (1.0 - shared).sqrt().view(-1, 1, 1, 1) * own
    spread = draw_uniform(count, *SPREAD_PIXELS, generator)
    coarse = filter_each(noise, gaussian_kernels(spread, spread, torch.zeros_like(spread), _KERNEL))
    coarse = coarse / coarse.std(dim=(1, 2, 3), keepdim=True).clamp_min(1e-6)
    noise = torch.where(draw_chance(count, COARSE_CHANCE, generator), coarse, noise)
    return noise * _strength(clean, generator) * sigma.view(-1, 1, 1, 1)


def _strength(clean: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return (N, 1, H, W) factors of at most 1: even, strongest at middle gray (film), or strongest in the dark."""
    import torch

    count = clean.shape[0]
    luma = (clean * clean.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True).clamp(0.0, 1.0)
    hump = 0.35 + 0.65 * 4.0 * luma * (1.0 - luma)
    dark = 1.0 - 0.85 * luma
    kind = draw_uniform(count, 0.0, 1.0, generator).view(-1, 1, 1, 1)
    return torch.where(kind < HUMP_CHANCE, hump, torch.where(kind > 1.0 - DARK_CHANCE, dark, torch.ones_like(luma)))

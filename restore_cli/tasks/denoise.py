"""Denoising: Gaussian noise of known or unknown level, and the noise of real cameras.

Without a variant the noise is the papers': Gaussian, added in float, neither clipped nor rounded. "8bit" is the same
noise as a file would hold it; "mixed" draws one of the two for each image, so that one blind network serves the
paper's protocol and people's files alike; "real" is photon and read noise with the cross-talk of neighbouring pixels.
"chain" is what people's images went through: one kind of noise or none, then often JPEG, now and then twice; the
papers' noise stays a share of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from restore_cli.tasks import DegradeOptions, Task
from restore_cli.tasks._camera import camera_noise
from restore_cli.tasks._grain import LUMA, grain
from restore_cli.tasks._jpeg import compress_chosen, level_of_quality
from restore_cli.tasks._kernels import draw_chance, draw_uniform, filter_each, gaussian_kernels
from restore_cli.tasks._levels import half_secret, to_8bit

if TYPE_CHECKING:
    import torch

# Shares of the chain: the papers' noise, noise of finished images, a camera's, JPEG alone, nothing.
_PAPER, _GRAIN, _CAMERA, _JPEG, _CLEAN = range(5)
CHAIN_SHARES = (0.30, 0.28, 0.16, 0.20, 0.06)
# How often each of them is compressed, and at which qualities.
CHAIN_COMPRESSED = (0.0, 0.5, 0.65, 1.0, 0.3)
CHAIN_QUALITY = ((1.0, 1.0), (35.0, 99.0), (35.0, 99.0), (5.0, 99.0), (95.0, 100.0))
# Levels are drawn with this power of an even draw: strong noise fills the loss, weak noise is what most images have.
CHAIN_LEVEL_POWER = 1.5
TWICE_CHANCE = 0.2
FIRST_QUALITY = (30.0, 99.0)


def degrade(clean: torch.Tensor, options: DegradeOptions, generator: torch.Generator) -> torch.Tensor:
    """Add noise whose level is drawn for each image from `options.sigma_range` (0..255 scale).

    Args:
        clean: float32 (N, C, H, W) in [0, 1].
        options: The range of levels, and the variant None, "8bit", "mixed", "real" or "chain".
        generator: Source of levels and noise, on the device of `clean`.

    Returns:
        float32 (N, C, H, W); in [0, 1] for "8bit" and "real", beyond it by the noise for the papers'.

    Raises:
        ValueError: If the variant is unknown.
    """
    return _degraded(clean, options, generator)[0]


def degrade_and_measure(
    clean: torch.Tensor, options: DegradeOptions, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Add noise as `degrade` does, and say of half of the images how much it was.

    Args:
        clean: As in `degrade`.
        options: As in `degrade`.
        generator: As in `degrade`; the same state gives the same images.

    Returns:
        What `degrade` returns, and (N,) on the scale of `clean`: the standard deviation of the noise before it was
        clipped, rounded or compressed, or what stands for the quality it was last saved with where JPEG was all, or any
        level where nothing was done; -1 where it is kept secret, so that a network stays blind as well.
    """
    degraded, level = _degraded(clean, options, generator)
    return degraded, half_secret(level, generator)


def _degraded(
    clean: torch.Tensor, options: DegradeOptions, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return degraded images, and the level (N,) of what was done to them."""
    import torch

    TASK.require_variant(options.variant)
    if options.variant == "chain":
        return _chain(clean, options, generator)
    count = clean.shape[0]
    sigma = (draw_uniform(count, *options.sigma_range, generator) / 255.0).view(-1, 1, 1, 1)
    noise = torch.randn(clean.shape, generator=generator, device=clean.device)
    if options.variant == "real":
        noise = sigma * _camera_noise(clean, noise, generator)
        return to_8bit(clean + noise), _spread(noise)
    noise = sigma * noise
    noisy = clean + noise
    if options.variant is None:
        return noisy, _spread(noise)
    if options.variant == "8bit":
        return to_8bit(noisy), _spread(noise)
    return torch.where(draw_chance(count, 0.5, generator), to_8bit(noisy), noisy), _spread(noise)


def _chain(
    clean: torch.Tensor, options: DegradeOptions, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    count = clean.shape[0]
    gray = (clean == clean[:, :1]).flatten(1).all(1)  # R = G = B stays so: a scan has one noise, not three
    images = clean.expand(-1, 3, -1, -1)
    shares = torch.tensor(CHAIN_SHARES, device=generator.device)
    kind = torch.multinomial(shares, count, replacement=True, generator=generator)
    low, high = options.sigma_range
    sigma = (low + (high - low) * draw_uniform(count, 0.0, 1.0, generator) ** CHAIN_LEVEL_POWER) / 255.0
    white = torch.randn(images.shape, generator=generator, device=clean.device) * sigma.view(-1, 1, 1, 1)
    noise = torch.zeros_like(images)
    paper, grainy, camera = ((kind == number).nonzero().flatten() for number in (_PAPER, _GRAIN, _CAMERA))
    noise[paper] = white[paper]
    if len(grainy):
        noise[grainy] = grain(images[grainy], sigma[grainy], generator)
    if len(camera):
        noise[camera] = camera_noise(images[camera], generator)
    noise = torch.where(gray.view(-1, 1, 1, 1), noise[:, 1:2], noise)
    degraded = images + noise
    filed = kind != _PAPER
    degraded = torch.where(filed.view(-1, 1, 1, 1), to_8bit(degraded), degraded)
    degraded, quality = _compress_some(degraded, kind, generator)
    degraded = torch.where((gray & filed).view(-1, 1, 1, 1), _luma(degraded), degraded)
    channels = clean.shape[1]
    level = _spread(noise[:, :channels])
    for number in (kind == _JPEG).nonzero().flatten().tolist():
        level[number] = level_of_quality(float(quality[number])) / 255.0
    # People ask for noise to be taken from images that have none; told of any level, those are to stay as they are.
    falsely = draw_uniform(count, low, high, generator) / 255.0
    level = torch.where(kind == _CLEAN, falsely, level)
    return degraded[:, :channels].contiguous(), level


def _spread(noise: torch.Tensor) -> torch.Tensor:
    return noise.flatten(1).std(1)


def _compress_some(
    images: torch.Tensor, kind: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images of which some were saved as JPEG, and the quality (N,) of each that was."""
    import torch

    count = images.shape[0]
    chance = torch.tensor(CHAIN_COMPRESSED, device=images.device)[kind]
    low, high = torch.tensor(CHAIN_QUALITY, device=images.device)[kind].unbind(1)
    quality = (low + (high - low) * draw_uniform(count, 0.0, 1.0, generator)).round()
    compressed = draw_uniform(count, 0.0, 1.0, generator) < chance
    twice = compressed & (kind != _CLEAN) & draw_chance(count, TWICE_CHANCE, generator).flatten()
    first = draw_uniform(count, *FIRST_QUALITY, generator).round()
    images = compress_chosen(images, twice, first[twice], generator)
    return compress_chosen(images, compressed, quality[compressed], generator), quality


def _luma(images: torch.Tensor) -> torch.Tensor:
    luma = (images * images.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return to_8bit(luma).expand_as(images)


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


TASK = Task(
    name="denoise",
    title="denoising",
    action="Remove noise",
    metrics=("psnr", "ssim"),
    suffix="_denoised",
    crop_border=lambda _scale: 0,
    degrade=degrade,
    degrade_and_measure=degrade_and_measure,
    variants=("8bit", "mixed", "real", "chain"),
)

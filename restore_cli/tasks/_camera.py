"""The noise of a camera: born on the sensor, spread by demosaicing, bent by the tone curve.

Serves the degradations of this folder. No raw files are needed: a random tone curve and white balance are taken back
from a finished image, noise is added where the sensor adds it, and a small camera develops both the noisy and the clean
raw image (Brooks et al., Unprocessing Images for Learned Raw Denoising, arXiv 1811.11127, sections 3.1 to 3.6; Guo et
al., CBDNet, arXiv 1807.04686, section 3.1). Their difference is laid over the image: what demosaicing blurs of the
image is not noise, and a network that must undo it learns to sharpen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from restore_cli.tasks._kernels import draw_chance, draw_log_uniform, draw_uniform

if TYPE_CHECKING:
    import torch

GAMMA = (1.8, 2.4)
RED_GAIN = (1.2, 2.4)
BLUE_GAIN = (1.2, 2.2)
EXPOSURE_GAIN = (0.9, 1.4)
# Variance at full light, and the deviation without light as a share of the root of it.
SHOT_VARIANCE = (1e-4, 1.5e-2)
READ_SHARE = (0.003, 0.06)
READ_LEAST = 1e-4
_MOSAIC_CHANCE = 0.75
_DARKEST = 1e-8

# Of the missing colours the mean of the neighbours; red and blue lie on every second row and column, green on half.
_SPARSE = ((0.25, 0.5, 0.25), (0.5, 1.0, 0.5), (0.25, 0.5, 0.25))
_DENSE = ((0.0, 0.25, 0.0), (0.25, 1.0, 0.25), (0.0, 0.25, 0.0))


def camera_noise(clean: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return what the noise of a camera adds to finished images.

    Args:
        clean: float32 (N, 3, H, W) in [0, 1], H and W of at least 2 pixels.
        generator: Source of cameras and noise, on the device of `clean`.

    Returns:
        float32 (N, 3, H, W): the difference of the developed noisy and clean raw images.
    """
    import torch

    count = clean.shape[0]
    gamma = draw_uniform(count, *GAMMA, generator).view(-1, 1, 1, 1)
    curved = draw_chance(count, 0.5, generator)
    gains = torch.stack(
        [draw_uniform(count, *RED_GAIN, generator), torch.ones_like(gamma.flatten()),
         draw_uniform(count, *BLUE_GAIN, generator)], 1,
    ).view(-1, 3, 1, 1) * draw_uniform(count, *EXPOSURE_GAIN, generator).view(-1, 1, 1, 1)  # fmt: skip
    raw = to_light(clean, gamma, curved) / gains
    shot = draw_log_uniform(count, *SHOT_VARIANCE, generator).view(-1, 1, 1, 1)
    read = draw_log_uniform(count, *READ_SHARE, generator).view(-1, 1, 1, 1) * shot.sqrt() + READ_LEAST
    noise = torch.randn(clean.shape, generator=generator, device=clean.device)
    # A Poisson count of this size is a Gaussian of the same variance for every purpose here, and needs no sampler.
    noisy = raw + noise * (shot * raw + read**2).sqrt()
    mosaic = draw_chance(count, _MOSAIC_CHANCE, generator)  # the others were reduced after it, which makes noise white
    phase = torch.randint(0, 2, (2,), generator=generator, device=generator.device).tolist()
    noisy = torch.where(mosaic, demosaiced(noisy, phase[0], phase[1]), noisy)
    plain = torch.where(mosaic, demosaiced(raw, phase[0], phase[1]), raw)
    return from_light(noisy * gains, gamma, curved) - from_light(plain * gains, gamma, curved)


def to_light(encoded: torch.Tensor, gamma: torch.Tensor, curved: torch.Tensor) -> torch.Tensor:
    """Take back a tone curve: the S-curve 3 y^2 - 2 y^3 where `curved`, and the power 1 / `gamma`."""
    import torch

    encoded = encoded.clamp(0.0, 1.0)
    straight = 0.5 - torch.sin(torch.asin(1.0 - 2.0 * encoded) / 3.0)
    return torch.where(curved, straight, encoded).clamp(0.0, 1.0) ** gamma


def from_light(light: torch.Tensor, gamma: torch.Tensor, curved: torch.Tensor) -> torch.Tensor:
    """Apply a tone curve, the inverse of `to_light`; light beyond [0, 1] is clipped as a sensor clips it."""
    import torch

    encoded = light.clamp(_DARKEST, 1.0) ** (1.0 / gamma)
    return torch.where(curved, encoded**2 * (3.0 - 2.0 * encoded), encoded)


def demosaiced(images: torch.Tensor, row: int, column: int) -> torch.Tensor:
    """Keep one colour a pixel, as a Bayer sensor sees it, and interpolate the others bilinearly.

    Args:
        images: (N, 3, H, W).
        row: 0 or 1, the rows of red.
        column: 0 or 1, its columns.

    Returns:
        The same shape.
    """
    import torch
    from torch.nn import functional

    height, width = images.shape[-2:]
    rows = (torch.arange(height, device=images.device) % 2 == row).view(-1, 1)
    columns = (torch.arange(width, device=images.device) % 2 == column).view(1, -1)
    red, blue = rows & columns, ~rows & ~columns
    sites = torch.stack([red, ~(red | blue), blue]).to(images.dtype)
    kernels = images.new_tensor([_SPARSE, _DENSE, _SPARSE]).unsqueeze(1)
    # Mirrored about the last pixel, which keeps the pattern.
    padded = functional.pad(images * sites, (1, 1, 1, 1), mode="reflect")
    return functional.conv2d(padded, kernels, groups=3)

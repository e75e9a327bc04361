"""Low light: brighten an image taken with too little of it.

A dark image is made from a good one in linear light: less exposure, a colour cast, photon noise (which grows with the
square root of the light), the sensor's read noise, then the camera's tone curve and 8 bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from restore_cli.tasks import DegradeOptions, Task
from restore_cli.tasks._kernels import draw_log_uniform, draw_uniform

if TYPE_CHECKING:
    import torch

GAMMA = 2.2
EXPOSURE = (0.03, 0.25)
PHOTONS_AT_WHITE = (600.0, 6000.0)
READ_NOISE_MAX = 0.002


def degrade(clean: torch.Tensor, _options: DegradeOptions, generator: torch.Generator) -> torch.Tensor:
    """Take the light away.

    Args:
        clean: float32 (N, C, H, W) in [0, 1].
        _options: Not used: darkness has none.
        generator: Source of exposure, cast and noise, on the device of `clean`.

    Returns:
        float32 (N, C, H, W) in [0, 1], rounded to 8 bit.
    """
    import torch

    count, channels = clean.shape[:2]
    exposure = draw_log_uniform(count, *EXPOSURE, generator).view(-1, 1, 1, 1)
    cast = draw_uniform(count * channels, 0.9, 1.1, generator).view(count, channels, 1, 1)
    light = clean.clamp(0.0, 1.0) ** GAMMA * exposure * cast
    photons = draw_log_uniform(count, *PHOTONS_AT_WHITE, generator).view(-1, 1, 1, 1)
    read = draw_uniform(count, 0.0, READ_NOISE_MAX, generator).view(-1, 1, 1, 1)
    noise = torch.randn(clean.shape, generator=generator, device=clean.device)
    # A Poisson count of this size is a Gaussian of the same variance for every purpose here, and needs no sampler.
    light = light + noise * (light / photons + read**2).sqrt()
    curve = draw_uniform(count, 0.9, 1.1, generator).view(-1, 1, 1, 1) / GAMMA
    return (light.clamp(0.0, 1.0) ** curve * 255.0).round() / 255.0


TASK = Task(
    name="lowlight",
    title="low-light enhancement",
    metrics=("psnr", "ssim"),
    suffix=lambda _scale: "_lowlight",
    crop_border=lambda _scale: 0,
    degrade=degrade,
)

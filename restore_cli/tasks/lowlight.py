"""Low light: brighten an image taken with too little of it.

A dark image is made from a good one in linear light: less exposure, unevenly where the light was, lamps and windows
that stay bright, a colour cast, photon noise (which grows with the square root of the light), the sensor's read noise,
blacks that are cut off, then the camera's tone curve, which is one of many, 8 bit and often JPEG. In the variant
"mixed" some images were not dark and stay as they are, so that a network learns to leave those alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from restore_cli.tasks import DegradeOptions, Task
from restore_cli.tasks._camera import from_light, to_light
from restore_cli.tasks._jpeg import compress_chosen
from restore_cli.tasks._kernels import draw_chance, draw_log_uniform, draw_uniform
from restore_cli.tasks._levels import to_8bit

if TYPE_CHECKING:
    import torch

NORMAL_CHANCE = 0.1
GAMMA = (1.8, 2.4)
EXPOSURE = (0.01, 0.35)
CAST, MILD_CAST = (0.6, 1.6), (0.92, 1.08)
CAST_CHANCE = 0.4
UNEVEN_CHANCE, UNEVEN = 0.35, (0.2, 1.0)
LAMP_CHANCE, LAMP_GAIN, LAMP_RADIUS = 0.3, (2.0, 40.0), (0.02, 0.2)
PHOTONS_AT_WHITE = (1000.0, 20_000.0)
READ_NOISE_MAX = 0.0015
BLACK_MAX = 0.003
JPEG_CHANCE, JPEG_QUALITY = 0.4, (60.0, 98.0)
_PLACES = 3  # of light in each direction, where it is uneven
_LAMPS = 3  # in an image that has any


def degrade(clean: torch.Tensor, options: DegradeOptions, generator: torch.Generator) -> torch.Tensor:
    """Take the light away.

    Args:
        clean: float32 (N, C, H, W) in [0, 1].
        options: The variant None or "mixed".
        generator: Source of exposure, cast and noise, on the device of `clean`.

    Returns:
        float32 (N, C, H, W) in [0, 1], rounded to 8 bit.

    Raises:
        ValueError: If the variant is unknown.
    """
    import torch

    TASK.require_variant(options.variant)
    count, channels = clean.shape[:2]
    gamma = draw_uniform(count, *GAMMA, generator).view(-1, 1, 1, 1)
    curved = draw_chance(count, 0.5, generator)
    exposure = draw_log_uniform(count, *EXPOSURE, generator).view(-1, 1, 1, 1)
    share = (exposure * _lamps(clean, generator)).clamp_max(1.0) * _unevenness(clean, generator)
    light = to_light(clean, gamma, curved) * share * _cast(count, generator)[:, :channels]
    photons = draw_log_uniform(count, *PHOTONS_AT_WHITE, generator).view(-1, 1, 1, 1)
    read = draw_uniform(count, 0.0, READ_NOISE_MAX, generator).view(-1, 1, 1, 1)
    noise = torch.randn(clean.shape, generator=generator, device=clean.device)
    # A Poisson count of this size is a Gaussian of the same variance for every purpose here, and needs no sampler.
    light = light + noise * (light / photons + read**2).sqrt()
    light = light - draw_uniform(count, 0.0, BLACK_MAX, generator).view(-1, 1, 1, 1) * exposure
    developed = draw_uniform(count, 0.9, 1.1, generator).view(-1, 1, 1, 1) * gamma
    dark = from_light(light, developed, curved)
    degraded = torch.where(draw_chance(count, NORMAL_CHANCE if options.variant else 0.0, generator), clean, dark)
    images = to_8bit(degraded).expand(-1, 3, -1, -1)
    compressed = draw_chance(count, JPEG_CHANCE, generator).flatten()
    quality = draw_uniform(int(compressed.sum()), *JPEG_QUALITY, generator).round()
    return compress_chosen(images, compressed, quality, generator)[:, :channels].contiguous()


def _cast(count: int, generator: torch.Generator) -> torch.Tensor:
    """Return (N, 3, 1, 1) gains of the colours: strong ones now and then, mild ones elsewhere."""
    import torch

    strong = draw_log_uniform(3 * count, *CAST, generator).view(count, 3, 1, 1)
    mild = draw_uniform(3 * count, *MILD_CAST, generator).view(count, 3, 1, 1)
    return torch.where(draw_chance(count, CAST_CHANCE, generator), strong, mild)


def _unevenness(clean: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return (N, 1, H, W): 1 everywhere, or the light of lamps here and there."""
    import torch
    from torch.nn import functional

    count, _, height, width = clean.shape
    places = draw_log_uniform(count * _PLACES**2, *UNEVEN, generator).view(count, 1, _PLACES, _PLACES)
    field = functional.interpolate(places, size=(height, width), mode="bilinear", align_corners=True)
    return torch.where(draw_chance(count, UNEVEN_CHANCE, generator), field, torch.ones_like(field))


def _lamps(clean: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return (N, 1, H, W): 1, and much more in a few ellipses and rectangles of some images, which are lit themselves.

    Without them a network takes a bright window for a sign that the rest is as dark as it should be.
    """
    import torch

    count, _, height, width = clean.shape
    down = torch.linspace(0.0, 1.0, height, device=clean.device).view(1, 1, height, 1)
    across = torch.linspace(0.0, 1.0, width, device=clean.device).view(1, 1, 1, width)
    drawn = count * _LAMPS
    top, left = (draw_uniform(drawn, 0.0, 1.0, generator).view(count, _LAMPS, 1, 1) for _ in range(2))
    tall, wide = (draw_log_uniform(drawn, *LAMP_RADIUS, generator).view(count, _LAMPS, 1, 1) for _ in range(2))
    gain = draw_log_uniform(drawn, *LAMP_GAIN, generator).view(count, _LAMPS, 1, 1)
    power = torch.where(draw_chance(drawn, 0.5, generator), 2.0, 8.0).view(count, _LAMPS, 1, 1)
    distance = ((down - top) / tall).abs() ** power + ((across - left) / wide).abs() ** power
    lit = torch.where(distance < 1.0, gain, torch.ones_like(gain)).amax(1, keepdim=True)
    return torch.where(draw_chance(count, LAMP_CHANCE, generator), lit, torch.ones_like(lit))


TASK = Task(
    name="lowlight",
    title="low-light enhancement",
    action="Brighten a dark image",
    metrics=("psnr", "ssim"),
    suffix="_lowlight",
    crop_border=lambda _scale: 0,
    degrade=degrade,
    variants=("mixed",),
)

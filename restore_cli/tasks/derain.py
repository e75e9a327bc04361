"""Deraining: remove the bright streaks that falling drops leave in an image.

The rain is made, not recorded: drops are sparse points, each drawn out to a stroke of its image's wind and exposure
time. Strokes are gray and add light, since a drop gathers light from all around; far drops may lie between, and so many
that they are a mist. Before a sky as bright as the drops nothing of them is seen: there a network must not darken. In
the variant "mixed" some images stay dry, so that a network does not take every row of fine lines for rain.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from restore_cli.tasks import DegradeOptions, Task
from restore_cli.tasks._kernels import draw_chance, draw_log_uniform, draw_uniform, line_kernels
from restore_cli.tasks._levels import to_8bit

if TYPE_CHECKING:
    import torch

LENGTH_PIXELS = (4.0, 60.0)
KERNEL_SIZE = 85
ADDED_CHANCE = 0.7
DRY_CHANCE = 0.15
SKY = (0.75, 1.0)
MIST_CHANCE, MIST_MAX = 0.15, 0.3
_PLACES = 4  # of mist in each direction
ANGLE_MAX_RADIANS = math.radians(35.0)


def degrade(clean: torch.Tensor, options: DegradeOptions, generator: torch.Generator) -> torch.Tensor:
    """Let it rain.

    Args:
        clean: float32 (N, C, H, W) in [0, 1].
        options: The variant None or "mixed".
        generator: Source of the rain, on the device of `clean`.

    Returns:
        float32 (N, C, H, W) in [0, 1], nowhere darker than `clean` but by rounding to 8 bit.

    Raises:
        ValueError: If the variant is unknown.
    """
    import torch

    TASK.require_variant(options.variant)
    count, _, height, width = clean.shape
    angle = draw_uniform(count, -1.0, 1.0, generator)
    angle = angle * angle.abs() * ANGLE_MAX_RADIANS  # near the vertical more often than aslant
    near = _streaks(height, width, angle, generator)
    turned = angle + draw_uniform(count, -0.06, 0.06, generator)
    far = _streaks(height, width, turned, generator) * draw_uniform(count, 0.2, 0.8, generator).view(-1, 1, 1, 1)
    rain = near + torch.where(draw_chance(count, 0.6, generator), far, torch.zeros_like(far))
    misty = _misty(clean, generator)
    added = misty + rain
    # What drops show is the light of the sky: they cover what is darker and are lost before what is not.
    sky = draw_uniform(count, *SKY, generator).view(-1, 1, 1, 1)
    covered = misty + (sky - misty).clamp_min(0.0) * rain.clamp(0.0, 1.0)
    rainy = torch.where(draw_chance(count, ADDED_CHANCE, generator), added, covered)
    if options.variant == "mixed":
        rainy = torch.where(draw_chance(count, DRY_CHANCE, generator), clean, rainy)
    return to_8bit(rainy)


def _misty(clean: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Lay an uneven veil of light over some images; it lightens, as the drops themselves do."""
    import torch
    from torch.nn import functional

    count, _, height, width = clean.shape
    places = draw_uniform(count * _PLACES**2, 0.0, MIST_MAX, generator).view(count, 1, _PLACES, _PLACES)
    veil = functional.interpolate(places, size=(height, width), mode="bilinear", align_corners=True)
    sky = draw_uniform(count, *SKY, generator).view(-1, 1, 1, 1)
    misty = clean + (sky - clean).clamp_min(0.0) * veil
    return torch.where(draw_chance(count, MIST_CHANCE, generator), misty, clean)


def _streaks(height: int, width: int, angle: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw one layer of streaks, one wind direction and exposure an image, shape (N, 1, H, W), not below 0."""
    import torch

    count = angle.shape[0]
    length = draw_log_uniform(count, *LENGTH_PIXELS, generator)
    thickness = draw_uniform(count, 0.35, 1.1, generator)
    kernels = line_kernels(length, thickness, angle, KERNEL_SIZE)
    # The share of the image under streaks, from a few drops to a downpour.
    cover = draw_log_uniform(count, 0.03, 0.35, generator)
    drops_per_pixel = cover / (length * 2.5 * thickness.clamp_min(0.5))
    # Drops outside the image reach into it, hence the margin. It is also what keeps the circular product of
    # spectra from showing its wrap-around.
    rows, columns = height + KERNEL_SIZE, width + KERNEL_SIZE
    position = torch.rand(count, rows, columns, generator=generator, device=angle.device)
    strength = torch.rand(count, rows, columns, generator=generator, device=angle.device)
    # A squared uniform is many faint drops and few bright ones.
    drops = torch.where(position < drops_per_pixel.view(-1, 1, 1), 0.1 + 0.9 * strength**2, torch.zeros_like(strength))
    spectrum = torch.fft.rfft2(drops) * torch.fft.rfft2(kernels, s=(rows, columns))
    layer: torch.Tensor = torch.fft.irfft2(spectrum, s=(rows, columns))[:, KERNEL_SIZE:, KERNEL_SIZE:].clamp_min(0.0)
    peak = draw_log_uniform(count, 0.15, 1.2, generator)
    return (layer * (peak / kernels.amax(dim=(1, 2))).view(-1, 1, 1)).unsqueeze(1)


TASK = Task(
    name="derain",
    title="deraining",
    action="Remove rain",
    metrics=("psnr_y", "ssim_y"),
    suffix="_derained",
    crop_border=lambda _scale: 0,
    degrade=degrade,
    variants=("mixed",),
)

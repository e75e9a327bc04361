"""Blur kernels and the filtering they are for, one kernel an image.

Serves the degradations of this folder: everything is drawn from a `torch.Generator` on the images' device, so that a
degradation is a function of the image and the generator's state alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_FAST_LENGTHS = 16  # a Fourier transform of a length with a large prime in it is slow
_PATH_POINTS = 96  # of a shaken camera


def draw_uniform(count: int, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    """Draw `count` float32 values uniformly from [low, high) on the generator's device."""
    import torch

    return torch.rand(count, generator=generator, device=generator.device) * (high - low) + low


def draw_log_uniform(count: int, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    """Draw `count` float32 values whose logarithm is uniform, from [low, high); both ends must be positive."""
    return draw_uniform(count, math.log(low), math.log(high), generator).exp()


def draw_chance(count: int, probability: float, generator: torch.Generator) -> torch.Tensor:
    """Draw `count` booleans, true with the given probability, shaped (N, 1, 1, 1) to choose between images."""
    return (draw_uniform(count, 0.0, 1.0, generator) < probability).view(-1, 1, 1, 1)


def gaussian_kernels(
    sigma_along: torch.Tensor, sigma_across: torch.Tensor, angle: torch.Tensor, size: int
) -> torch.Tensor:
    """Build Gaussian kernels that sum to one.

    Args:
        sigma_along: Standard deviation along the main axis in pixels, shape (N,).
        sigma_across: Standard deviation across it, shape (N,).
        angle: Direction of the main axis in radians, shape (N,).
        size: Side of the kernels, odd.

    Returns:
        Shape (N, size, size).
    """
    along, across = _rotated_grid(angle, size)
    exponent = (along / sigma_along.view(-1, 1, 1)) ** 2 + (across / sigma_across.view(-1, 1, 1)) ** 2
    return _normalised((-0.5 * exponent).exp())


def line_kernels(length: torch.Tensor, width: torch.Tensor, angle: torch.Tensor, size: int) -> torch.Tensor:
    """Build straight strokes with soft ends that sum to one, such as a drop leaves during one exposure.

    Args:
        length: Length of the stroke in pixels, shape (N,).
        width: Standard deviation of its Gaussian cross-section in pixels, shape (N,).
        angle: Direction in radians, 0 is vertical, shape (N,).
        size: Side of the kernels, odd.

    Returns:
        Shape (N, size, size).
    """
    import torch

    along, across = _rotated_grid(angle, size)
    half = 0.5 * length.view(-1, 1, 1)
    ends = torch.sigmoid((half - along.abs()) / (0.5 + 0.15 * half))
    return _normalised(ends * (-0.5 * (across / width.view(-1, 1, 1)) ** 2).exp())


def disc_kernels(radius: torch.Tensor, size: int) -> torch.Tensor:
    """Build discs with a soft rim that sum to one, the blur of a lens out of focus; radius in pixels, shape (N,)."""
    import torch

    along, across = _rotated_grid(torch.zeros_like(radius), size)
    distance = (along**2 + across**2).sqrt()
    return _normalised(torch.sigmoid((radius.view(-1, 1, 1) - distance) / 0.3))


def trajectory_kernels(extent: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    """Build the blur of a shaken camera: a smooth random path of given extent, drawn with soft points.

    Args:
        extent: Longest side of each path's bounding box in pixels, below `size` - 2, shape (N,).
        size: Side of the kernels, odd.
        generator: Source of the paths.

    Returns:
        Shape (N, size, size), summing to one, centred on the path's centre of mass.
    """
    import torch

    count = extent.shape[0]
    device = generator.device
    # A velocity with inertia and small random pushes gives curves; without inertia it would be a random cloud.
    heading = draw_uniform(count, 0.0, 2.0 * math.pi, generator)
    restlessness = draw_log_uniform(count, 0.01, 0.25, generator)
    pushes = torch.randn(count, _PATH_POINTS, generator=generator, device=device) * restlessness.view(-1, 1)
    direction = heading.view(-1, 1) + pushes.cumsum(dim=1)
    speed = 0.3 + torch.rand(count, _PATH_POINTS, generator=generator, device=device)
    path = torch.stack([direction.sin() * speed, direction.cos() * speed], dim=-1).cumsum(dim=1)  # (N, points, 2)
    path = path - path.mean(dim=1, keepdim=True)
    span = (path.amax(dim=1) - path.amin(dim=1)).amax(dim=1)
    path = path * (extent / span.clamp_min(1e-6)).view(-1, 1, 1)
    axis = torch.arange(size, device=device, dtype=torch.float32) - size // 2
    rows = (-((axis.view(1, 1, -1) - path[..., 0:1]) ** 2) / 0.5).exp()  # (N, points, size)
    columns = (-((axis.view(1, 1, -1) - path[..., 1:2]) ** 2) / 0.5).exp()
    return _normalised(torch.einsum("nsh,nsw->nhw", rows, columns))


def filter_each(images: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """Filter each image of a batch with its own kernel, borders continued by reflection.

    Args:
        images: Shape (N, C, H, W); H and W must exceed half the kernel's side.
        kernels: Shape (N, size, size), size odd.

    Returns:
        Shape (N, C, H, W).
    """
    import torch
    from torch.nn import functional

    height, width = images.shape[-2:]
    half = kernels.shape[-1] // 2
    padded = functional.pad(images, (half, half, half, half), mode="reflect")
    # By spectra: eight images of 128x128 and kernels of 31x31 take 0.015 s on a CPU thread, and 0.4 s place by place.
    sizes = [-(-length // _FAST_LENGTHS) * _FAST_LENGTHS for length in padded.shape[-2:]]
    spectra = torch.fft.rfft2(padded, s=sizes) * torch.fft.rfft2(kernels, s=sizes).conj().unsqueeze(1)
    filtered: torch.Tensor = torch.fft.irfft2(spectra, s=sizes)
    return filtered[..., :height, :width]


def _rotated_grid(angle: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    axis = torch.arange(size, device=angle.device, dtype=torch.float32) - size // 2
    rows, columns = axis.view(1, -1, 1), axis.view(1, 1, -1)
    cos, sin = angle.cos().view(-1, 1, 1), angle.sin().view(-1, 1, 1)
    return rows * cos + columns * sin, columns * cos - rows * sin


def _normalised(kernels: torch.Tensor) -> torch.Tensor:
    return kernels / kernels.sum(dim=(1, 2), keepdim=True)

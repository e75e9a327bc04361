"""Pixels on the levels of a file, and levels of noise that a network is told or not.

Serves the degradations of this folder: what was saved was clipped and rounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from restore_cli.tasks._kernels import draw_chance

if TYPE_CHECKING:
    import torch

# How often a network that takes a noise level is told it.
KNOWN_CHANCE = 0.5


def to_8bit(images: torch.Tensor) -> torch.Tensor:
    """Return images as a file of 8 bits holds them: of the same shape, in [0, 1], on multiples of 1 / 255."""
    return (images.clamp(0.0, 1.0) * 255.0).round() / 255.0


def half_secret(level: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return levels (N,), -1 in place of each that chance keeps secret, so that a network stays blind as well."""
    import torch

    known = draw_chance(level.shape[0], KNOWN_CHANCE, generator).flatten()
    return torch.where(known, level, torch.full_like(level, -1.0))

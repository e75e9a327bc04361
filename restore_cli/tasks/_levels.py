"""Pixels on the levels of a file.

Serves the degradations of this folder: what was saved was clipped and rounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def to_8bit(images: torch.Tensor) -> torch.Tensor:
    """Return images as a file of 8 bits holds them: of the same shape, in [0, 1], on multiples of 1 / 255."""
    return (images.clamp(0.0, 1.0) * 255.0).round() / 255.0

"""What every network does to tensors: check what comes in, keep float32, see channels first or last, drop paths.

Stage 5, RUN. The networks never import each other; this is below all of them.

Letters: N batch, C channels, H W feature size.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """Drop whole samples of a residual branch while training and rescale the others (stochastic depth)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, in training with each sample zeroed with probability `rate`."""
        if not self.training or self.rate == 0.0:
            return x
        kept = x.new_full((x.shape[0], *[1] * (x.ndim - 1)), 1.0 - self.rate).bernoulli()
        return x * (kept / (1.0 - self.rate))


def require_images(x: Tensor, network: str, channels: int, multiple_of: int = 1) -> None:
    """Refuse what is no batch of images that a network takes, (N, channels, H, W).

    Args:
        x: What came in.
        network: Its name, for the message.
        channels: Those of its images.
        multiple_of: What its images' height and width are multiples of.

    Raises:
        ValueError: If the channels or the size do not fit, or there are no pixels.
    """
    if x.ndim != 4 or x.shape[1] != channels or x.shape[2] % multiple_of or x.shape[3] % multiple_of or 0 in x.shape:
        sizes = "" if multiple_of == 1 else f" with H and W multiples of {multiple_of}"
        msg = f"{network} takes (N, {channels}, H, W){sizes}, not {tuple(x.shape)}"
        raise ValueError(msg)


def at_least_float32(x: Tensor) -> Tensor:
    """Return `x` in float32, or in its own type where that is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def autocast_off(x: Tensor) -> AbstractContextManager[object]:
    """Return a context in which operations on `x` keep its type."""
    # The meta device, on which costs are counted, has no autocast that could be on.
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def product_type(x: Tensor) -> torch.dtype:
    """Return the type that products on `x` are to have: autocast's where it is on."""
    if x.is_meta or not torch.is_autocast_enabled(x.device.type):
        return x.dtype
    return torch.get_autocast_dtype(x.device.type)


def channels_last(x: Tensor) -> Tensor:
    """Return (N, C, H, W) as (N, H, W, C), a view."""
    return x.permute(0, 2, 3, 1)


def cat_channels(parts: Sequence[Tensor]) -> Tensor:
    """Join (N, C, H, W) along the channels: where these come last in memory, in a third of torch's time for it."""
    if all(part.is_contiguous(memory_format=torch.channels_last) for part in parts):
        return torch.cat([channels_last(part) for part in parts], -1).permute(0, 3, 1, 2)
    return torch.cat(list(parts), 1)


def channels_first(x: Tensor) -> Tensor:
    """Return (N, H, W, C) as (N, C, H, W): a view, or a copy on Apple GPUs, whose convolutions err on such views."""
    x = x.permute(0, 3, 1, 2)
    return x.contiguous() if x.is_mps else x

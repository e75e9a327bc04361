"""What networks that attend within shifted windows share: relative places, and what a shift brought together.

Stage 5, RUN. A cyclic shift lets windows reach across the borders of the unshifted ones; at the border of the image it
brings together what does not belong together, and the mask says what that is.
"""

from __future__ import annotations

import torch
from torch import Tensor


def relative_places(window_size: int, device: torch.device) -> Tensor:
    """Return (L, L, 2): how far each query of a window lies from each key, from 0 to 2 * window_size - 2 an axis."""
    axis = torch.arange(window_size, device=device)
    token = torch.cartesian_prod(axis, axis)
    return token[:, None] - token[None] + window_size - 1


def unseen(rows: int, columns: int, window_size: int, shift: int, device: torch.device) -> Tensor:
    """Return (rows * columns, L, L): what lies beyond the border of the image, which the shift brought together.

    Args:
        rows: Windows from top to bottom.
        columns: Windows from left to right.
        window_size: Side of a window.
        shift: By how many tokens the image was shifted up and left.
        device: Where the mask is wanted.
    """
    inner = torch.arange(window_size, device=device) < window_size - shift

    def parts(count: int) -> Tensor:
        """Return (count, side, side): tokens of the last window that come from different ends of an axis."""
        last = torch.arange(count, device=device) == count - 1
        return last[:, None, None] & (inner[:, None] != inner[None])

    down, across = parts(rows), parts(columns)
    both = down[:, None, :, None, :, None] | across[None, :, None, :, None, :]
    tokens = window_size**2
    return both.expand(rows, columns, *[window_size] * 4).reshape(rows * columns, tokens, tokens)

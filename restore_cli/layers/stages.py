"""Convolutional networks over whole images, a stage at a time and each stage in bands of rows.

Stage 5, RUN. A network of convolutions alone sees no farther than its kernels reach. So a stage of few layers can run
over a band of rows that is given the rows its layers look at beyond it (the halo), and what the missing rest of the
image would have changed is cut off: the pixels are those of the whole image, whatever the bands. A stage's own halo is
small where the whole network's would be hundreds of rows; between stages whole maps are kept, and a stage that keeps
the size may write its result over its input.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from restore_cli.layers.bands import Band, bands

_LEAST_ROWS = 8


def over_bands(
    stage: Callable[..., Tensor],
    *maps: Tensor,
    halo: int,
    rows: int | None,
    scale: int = 1,
    into: Tensor | None = None,
) -> Tensor:
    """Run a stage over maps in bands of rows; the result is what the whole maps at once would give.

    Args:
        stage: Takes parts of the maps, (N, C, R, W) each, and returns (N, out, scale * R, scale * W). None of its
            layers looks at more than what lies within `halo` rows of a place.
        maps: Maps of one size, (N, C, H, W).
        halo: Rows of the input that a row of the output looks at, above and below.
        rows: Rows of a band in the input; None for the usual ones. At least `halo` are taken.
        scale: Factor from input to output size.
        into: Where the result goes, which may be one of the maps; None for memory of its own.

    Returns:
        (N, out, scale * H, scale * W).
    """
    height, width = maps[0].shape[2:]
    parts = list(bands(height, width, unit=1, rows=_rows(rows, halo), device=maps[0].device))
    out = into
    waiting: tuple[Band, Tensor] | None = None  # written only once the next band has read what it overwrites
    for part in parts:
        wide = part.widened(halo)
        made = stage(*(one[:, :, wide.first : wide.last] for one in maps))
        first = (part.first - wide.first) * scale
        made = made[:, :, first : first + (part.last - part.first) * scale]
        if len(parts) == 1 and into is None:
            return made
        if out is None:
            size = (*made.shape[:2], height * scale, width * scale)
            out = torch.empty(size, dtype=made.dtype, device=made.device, memory_format=_layout(made))
        _write(out, waiting, scale)
        waiting = (part, made)
    if out is None:
        raise ValueError("maps without rows have no bands")
    _write(out, waiting, scale)
    return out


def _rows(rows: int | None, halo: int) -> int | None:
    return None if rows is None else max(rows, halo, _LEAST_ROWS)


def _write(out: Tensor, waiting: tuple[Band, Tensor] | None, scale: int) -> None:
    if waiting is not None:
        part, made = waiting
        out[:, :, part.first * scale : part.last * scale] = made


def _layout(made: Tensor) -> torch.memory_format:
    is_last = made.is_contiguous(memory_format=torch.channels_last) and not made.is_contiguous()
    return torch.channels_last if is_last else torch.contiguous_format

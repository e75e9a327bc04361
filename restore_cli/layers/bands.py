"""Whole images in bands: how a network goes over one, and where its channel attention takes its statistics.

Stage 5, RUN. A network that offers it takes an `Execution` beside its input. Its layers then run band after band of
rows, so that what a band needs stays in the processor's cache and what the image needs is a few feature maps. Pixels do
not depend on the bands: what looks beyond its band (a 3x3 convolution, a window) is given the rows it looks at, and
statistics are summed over blocks that the image's size alone decides, in one order.

Statistics of channel attention are taken over the whole image (`global`), over cells of about the size the network was
trained on (`local`), or as a share of both (`mixed`). The share is one of the sums over positions, before they are
normalised: a cell of little contrast, whose own statistics say little, follows the image, one of strong texture follows
itself. Cells overlap by half: a cell is two neighbouring strips of rows and two of columns, so sums over the strips'
crossings give the sums of every cell in one pass. Each cell has its own attention matrix; between the centres of cells
the matrices are blended linearly, beyond the outermost they stay. Since a matrix is applied linearly, that is the blend
of the cells' outputs. Cells alone are known as TLC (arXiv 2112.04491).

Letters: H W size of the features, R rows of a band, C channels, K cells along an axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)

from restore_cli.layers.tensors import channels_first, linear

StatisticsFrom = Literal["global", "local", "mixed"]

# Positions of a band on the CPU. From a quarter as many up, each doubling takes 5 % of the time off (RAMiT on 320 to
# 1088 columns, Restormer on 1920), though temporaries of this many, 16 MiB for 64 channels, overflow many a cache.
BAND_POSITIONS = 1 << 16
# Each band computes two rows of its neighbours anew: with 8 rows on 2240 columns an image took 1.7 times as long.
_LEAST_USUAL_ROWS = 32
# Positions a thread at a time through layers that look at no others. What they need, 1 MiB for 64 channels, is about
# the cache that a core has for itself; half as many cost a twentieth more in calls of operations.
_PIECE_POSITIONS = 1 << 12


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Say how a network goes over an image.

    Attributes:
        context: Where channel attention takes its statistics.
        cell: Side of a cell in input pixels; without meaning for "global".
        share: Share of the whole image's mean products of channels in "mixed", 0..1, against a cell's own. A cell of
            weaker features than the image follows it more.
        rows: Rows of a band at full size; None takes `usual_rows` on the CPU and the whole image elsewhere.
            Changes no pixel.
    """

    context: StatisticsFrom = "global"
    cell: int = 64
    share: float = 0.75
    rows: int | None = None

    def __post_init__(self) -> None:
        if self.context not in get_args(StatisticsFrom):
            msg = f"unknown context {self.context!r}; known: {', '.join(get_args(StatisticsFrom))}"
            raise ValueError(msg)
        if self.cell < 1 or not 0.0 <= self.share <= 1.0 or (self.rows is not None and self.rows < 1):
            msg = f"cell and rows must be at least 1, share within 0..1, not {self}"
            raise ValueError(msg)

    @property
    def global_share(self) -> float:
        """Return the share of the whole image's statistics, 0..1."""
        return {"global": 1.0, "local": 0.0, "mixed": self.share}[self.context]


def wants_bands(x: Tensor) -> bool:
    """Return whether a plain call had better run in bands: on the CPU, with nobody to differentiate or compile it."""
    if x.device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    return not torch.is_autocast_enabled("cpu")


class Band(NamedTuple):
    """Rows `first` (inclusive) to `last` (exclusive) of a map of `height` rows."""

    first: int
    last: int
    height: int

    def widened(self, rows: int, *, step: int = 1) -> Band:
        """Return the band with `rows` more on either side, at multiples of `step`, as far as the map goes."""
        first = max(0, self.first - rows) // step * step
        last = min(self.height, -(-(self.last + rows) // step) * step)
        return Band(first, last, self.height)

    def narrowed(self) -> Band:
        """Return what a 3x3 convolution over the band gives: a row less wherever the map goes on."""
        return Band(self.first + (self.first > 0), self.last - (self.last < self.height), self.height)

    def scaled(self, factor: int) -> Band:
        """Return the same rows of a map `factor` times as high."""
        return Band(self.first * factor, self.last * factor, self.height * factor)

    def of(self, rows: Tensor) -> Tensor:
        """Return the band's part of a map (H, ...)."""
        return rows[self.first : self.last]

    def within(self, other: Band, rows: Tensor) -> Tensor:
        """Return the band's part of what was computed for `other`, which holds it."""
        return rows[self.first - other.first : self.last - other.first]


def usual_rows(width: int) -> int:
    """Return how many rows a band of so many columns has on the CPU where memory allows."""
    return max(_LEAST_USUAL_ROWS, BAND_POSITIONS // width)


def bands(height: int, width: int, *, unit: int, rows: int | None, device: torch.device) -> Iterator[Band]:
    """Cut a map into bands of equal height, but for the last.

    Args:
        height: Rows of the map.
        width: Columns of the map.
        unit: Every band but the last has a multiple of so many rows.
        rows: Rows that were asked for, or None.
        device: Where the map lies.
    """
    if rows is None:
        rows = usual_rows(width) if device.type == "cpu" else height
    rows = max(unit, rows // unit * unit)
    for first in range(0, height, rows):
        yield Band(first, min(first + rows, height), height)


def cached_pieces(count: int, size: int, device: torch.device) -> Iterator[slice]:
    """Cut `count` groups of `size` positions into pieces that stay in cache; elsewhere than on the CPU into one."""
    step = max(1, _PIECE_POSITIONS * torch.get_num_threads() // size) if device.type == "cpu" else count
    for first in range(0, count, step):
        yield slice(first, min(first + step, count))


def conv3x3(x: Tensor, band: Band, weight: Tensor, bias: Tensor | None, *, groups: int = 1) -> Tensor:
    """Convolve the rows of a band, with zeros around the map, to the rows of `band.narrowed()`.

    Args:
        x: (rows of the band, W, channels).
        band: Which rows they are.
        weight: (out, channels / groups, 3, 3).
        bias: (out,) or None.
        groups: Groups of channels.
    """
    above, below = band.first > 0, band.last < band.height
    inside = above and below
    image = channels_first(x[None])  # in this order the strides still tell channels-last memory
    result = F.conv2d(image, weight, bias, padding=(0 if inside else 1, 1), groups=groups)[0].permute(1, 2, 0)
    return result if inside else result[above : result.shape[0] - below]


class Cells:
    """The cells of an image at one of a network's resolutions, and how a place weighs them.

    Args:
        execution: Which context, and how large a cell.
        size: (height, width) of the input in pixels.
        down: How many times smaller the features are.
        grain: Cells begin and end at multiples of so many input pixels; `size` is a multiple of it.
        like: A tensor with the device and dtype of the features.
    """

    def __init__(self, execution: Execution, size: tuple[int, int], *, down: int, grain: int, like: Tensor) -> None:
        self.block = grain // down
        local = execution.global_share < 1.0
        self.row_strips, self.column_strips = (
            [edge // down for edge in _strip_edges(length, execution.cell if local else 2 * length, grain)]
            for length in size
        )
        self.global_share = execution.global_share
        rows, columns = (_hats(strips).to(like) for strips in (self.row_strips, self.column_strips))
        self.row_weights, self.column_weights = rows, columns  # (H, K rows), (W, K columns)
        blocks = columns.view(-1, self.block, columns.shape[1])
        middle = columns.shape[1] - 1
        # Within a block of columns at most two cells count: the first that does, and the one behind it.
        self._first = (blocks > 0).any(1).int().argmax(1).clamp(max=max(0, middle - 1))
        self._second = (self._first + 1).clamp(max=middle)
        self._second_weight = columns.gather(1, self._second.repeat_interleave(self.block)[:, None])
        if middle == 0:
            self._second_weight = torch.zeros_like(self._second_weight)

    @property
    def count(self) -> int:
        """Return the number of cells."""
        return (max(2, len(self.row_strips) - 1) - 1) * (max(2, len(self.column_strips) - 1) - 1)

    def gather(self, products: Callable[[Band], Tensor], parts: Iterable[Band]) -> tuple[Tensor, Tensor]:
        """Sum products of channels over the whole image and over every cell, in an order that is always the same.

        Args:
            products: Returns, for a band, the sums over its blocks: (rows of blocks, blocks a row, ...); a block is
                any number of rows that divides the strips', and `block` columns.
            parts: Bands that cover the map from top to bottom.

        Returns:
            The sum over the image, (...), and over each cell, (K rows, K columns, ...).
        """
        strips: list[Tensor | None] = [None] * (len(self.row_strips) - 1)
        for part in parts:
            sums = products(part)
            height = (part.last - part.first) // sums.shape[0]
            for index, row in enumerate(sums):
                strip = _strip_of(part.first + index * height, self.row_strips)
                known = strips[strip]
                strips[strip] = row.clone() if known is None else known.add_(row)
        edges = [edge // self.block for edge in self.column_strips]
        rows = torch.stack([row for row in strips if row is not None])  # (strips, blocks, ...)
        return self.join(torch.stack([_fold(rows[:, left:right], 1) for left, right in pairwise(edges)], 1))

    @staticmethod
    def join(crossings: Tensor) -> tuple[Tensor, Tensor]:
        """Turn sums over the strips' crossings, (row strips, column strips, ...), into what `gather` returns."""
        cells = crossings
        for axis in (0, 1):
            count = cells.shape[axis] - 1
            if count:
                cells = cells.narrow(axis, 0, count) + cells.narrow(axis, 1, count)
        return _fold(_fold(crossings, 1), 0), cells

    def blend(self, whole: Tensor, cells: Tensor) -> Tensor:
        """Return what every cell goes by: its own mean a position, and the whole image's for its share.

        Args:
            whole: Sum over the image as `gather` returned it, (...).
            cells: Sums over the cells, (K rows, K columns, ...).

        Returns:
            (K rows, K columns, ...).
        """
        heights, widths = (_cell_lengths(strips).to(cells) for strips in (self.row_strips, self.column_strips))
        positions = torch.outer(heights, widths).view(*cells.shape[:2], *[1] * whole.ndim)
        mean = whole / (self.row_strips[-1] * self.column_strips[-1])
        return torch.lerp(cells / positions, mean.expand_as(cells), self.global_share)

    def apply(self, matrices: Tensor, v: Tensor, rows: Tensor) -> Tensor:
        """Multiply every position by its own blend of the cells' matrices.

        Args:
            matrices: (K rows, K columns, in, out).
            v: (R, W, in), contiguous.
            rows: Weights of the cells' rows for each of the R rows, (R, K rows).

        Returns:
            (R, W, out).
        """
        height, width, channels = v.shape
        out = matrices.shape[-1]
        if self.count == 1:
            return linear(v, matrices[0, 0].t().contiguous(), None)
        of_rows = torch.mm(rows, matrices.flatten(1)).view(height, *matrices.shape[1:])  # (R, K, in, out)
        first = of_rows.index_select(1, self._first)
        step = of_rows.index_select(1, self._second).sub_(first)
        both = torch.cat((first, step), -1).flatten(0, 1)  # (R * blocks, in, 2 * out)
        mixed = torch.bmm(v.view(-1, self.block, channels), both).view(height, width, 2 * out)
        return torch.addcmul(mixed[..., :out], mixed[..., out:], self._second_weight)


def _strip_edges(length: int, cell: int, grain: int) -> list[int]:
    """Cut an axis into strips of about half a cell each, evenly spread, with edges at multiples of `grain`."""
    grains = length // grain
    count = min(grains, max(1, round(2 * length / cell)))
    return [(2 * index * grains + count) // (2 * count) * grain for index in range(count)] + [length]


def _cell_lengths(edges: Sequence[int]) -> Tensor:
    """Return the length of every cell along an axis, (K,): two strips, or the only one."""
    edge = torch.tensor(edges)
    return edge[2:] - edge[:-2] if len(edges) > 2 else edge.diff()


def _hats(edges: Sequence[int]) -> Tensor:
    """Return the weight of every cell at every place of an axis, (length, K): 1 at its middle edge, 0 at its ends."""
    places = torch.arange(edges[-1], dtype=torch.float64) + 0.5
    inner = torch.tensor(edges[1:-1], dtype=torch.float64)
    if len(inner) < 2:
        return torch.ones(edges[-1], 1)
    behind = torch.searchsorted(inner, places).clamp(1, len(inner) - 1)
    share = ((places - inner[behind - 1]) / (inner[behind] - inner[behind - 1])).clamp(0.0, 1.0)
    weights = torch.zeros(edges[-1], len(inner), dtype=torch.float64)
    weights.scatter_(1, behind[:, None], share[:, None])
    weights.scatter_(1, behind[:, None] - 1, 1.0 - share[:, None])
    return weights.float()


def _strip_of(row: int, edges: Sequence[int]) -> int:
    return next(index for index, edge in enumerate(edges[1:]) if row < edge)


def _fold(x: Tensor, axis: int) -> Tensor:
    """Sum along an axis, always in the same order: that of torch's own sum depends on the number of threads."""
    while (length := x.shape[axis]) > 1:
        half = length // 2
        folded = x.narrow(axis, 0, half) + x.narrow(axis, half, half)
        x = torch.cat((folded, x.narrow(axis, 2 * half, 1)), axis) if length % 2 else folded
    return x.select(axis, 0)

"""The block of Restormer over bands of rows, in place, its channel attention with cells if wanted.

Stage 5, RUN; `layers.bands` has what any network needs for it, `block` the plain block, `bands` the whole
network. For inference alone: nothing here can be differentiated. How it is laid out, and why:
- Both layers add to their input in place, a band of rows at a time, so that the widest maps (over ten times the
  block's own channels) stay in the cache and never exist whole. Bands share no arithmetic: the two rows that the 3x3
  convolutions of neighbouring bands have in common are kept, not computed again.
- Attention needs sums over all of the image or of each cell. One sweep gathers them and keeps the values; the matrices
  made of them are then applied to those. Queries and keys are never normalised: their products and squares are summed
  as they are, and the sums scaled.
- A matrix of the whole image is multiplied with `project_out` beforehand, and so are a cell's where there is one head;
  with several heads a cell's matrices stay small ones of each head.
- Hidden widths such as 255 are filled up with zeros to whole vectors; GELU(0) * 0 stays 0.
- Under autocast products and what goes into them take its type, sums and the residual stream stay in float32.

Letters: as in `block`; R rows of a band, K cells along an axis, g groups of channels with matrices of their
own: h heads, or one.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)

from restore_cli.layers.bands import Band, Cells, bands
from restore_cli.layers.tensors import at_least_float32, depthwise3x3
from restore_cli.models.restormer.block import Block, ChannelNorm, ChannelSums, TransposedAttention

VECTOR = 16  # float32 numbers of the widest CPU registers
# Sums over positions are made of so many parts: one long product would be split among threads, and so its rounding.
PARTS = 8


class Projection:
    """A 1x1 convolution whose result comes in parts, its constants prepared.

    Args:
        weight: (parts, out, in).
        bias: (parts, out) or None.
        dtype: Of the product.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.weight, self.dtype = weight.to(dtype), dtype
        self.bias = None if bias is None else bias.to(dtype)

    def fill(self, x: Tensor, part: int, out: Tensor) -> None:
        """Write a part's channels, (P, out), for positions (P, in)."""
        if self.bias is None:
            torch.mm(x, self.weight[part].t(), out=out)
        else:
            torch.addmm(self.bias[part], x, self.weight[part].t(), out=out)


class AttentionPass:
    """Channel attention of one block over bands, its constants prepared.

    Args:
        block: The block.
        dtype: Of products and what goes into them.
    """

    def __init__(self, block: Block, dtype: torch.dtype) -> None:
        self.norm, self.attention = block.norm1, block.attn
        attention, channels = self.attention, self.attention.project_out.in_channels
        taps, offsets = attention.qkv_dwconv.weight.to(dtype), attention.qkv_dwconv.bias
        self.taps = taps.view(3, channels, 1, 3, 3)
        self.offsets = (None,) * 3 if offsets is None else offsets.to(dtype).view(3, channels).unbind()
        start = None if attention.qkv.bias is None else attention.qkv.bias.view(3, channels)
        self.project = Projection(attention.qkv.weight.view(3, channels, channels), start, dtype)

    def add_(self, x: Tensor, values: Tensor, cells: Cells, numbers: int) -> None:
        """Add the attention over the normalised image to the image, in place.

        Args:
            x: The image, (H, W, C).
            values: As large, with the dtype of products; overwritten.
            cells: Where the statistics are taken.
            numbers: Of one part's map in a band.
        """
        sums = CellSums(self.attention, cells)
        for band, parts in projected(x, self.norm, self.project, numbers=numbers):
            q, k, v = (depthwise3x3(*part) for part in zip(parts, self.taps, self.offsets, strict=True))
            band.of(values).copy_(v)
            sums.add(band, q, k)
        matrices = self.attention.matrix(sums.blended())  # (K, K, h, c, c)
        if cells.count == 1:
            mix = self.attention.mix(matrices[0]).to(values.dtype)[0]
            _add_product(x.view(-1, x.shape[2]), values.view(-1, x.shape[2]), mix)
        else:
            self._add_blended(x, values, matrices, cells, numbers)
        if self.attention.project_out.bias is not None:
            x += self.attention.project_out.bias

    def _add_blended(self, x: Tensor, values: Tensor, matrices: Tensor, cells: Cells, numbers: int) -> None:
        channels, is_folded = x.shape[2], self.attention.heads == 1
        projection = self.attention.project_out.weight.view(channels, channels).t().to(values.dtype)
        if is_folded:
            matrices = self.attention.mix(matrices.flatten(0, 1)).view(matrices.shape)
        else:
            matrices = matrices.transpose(3, 4)
        matrices = matrices.to(values.dtype)
        for band in bands_of(x, numbers):
            attended = apply_blended(cells, matrices, band.of(values), band.of(cells.row_weights))
            image = band.of(x)
            if is_folded:
                image += attended
            else:
                _add_product(image.view(-1, channels), attended.view(-1, channels), projection)


class CellSums:
    """Sum what channel attention needs over the crossings of the cells' strips, band after band.

    Args:
        attention: Whose queries and keys they are.
        cells: The cells.
    """

    def __init__(self, attention: TransposedAttention, cells: Cells) -> None:
        self.heads = attention.heads
        self.rows, self.columns = (tuple(pairwise(e)) for e in (cells.row_strips, cells.column_strips))
        self.sums: dict[tuple[int, int], ChannelSums] = {}
        self.cells = cells

    def add(self, band: Band, q: Tensor, k: Tensor) -> None:
        """Add the queries and keys of a band, (R, W, C) each."""
        for i, (top, bottom) in enumerate(self.rows):
            first, last = max(top, band.first) - band.first, min(bottom, band.last) - band.first
            if first >= last:
                continue
            for j, (left, right) in enumerate(self.columns):
                new = sums_over(*(part[first:last, left:right] for part in (q, k)), heads=self.heads)
                known = self.sums.get((i, j))
                self.sums[i, j] = new if known is None else known.plus(new)

    def blended(self) -> ChannelSums:
        """Return what every cell goes by, its own and the image's, a position: (K, K, h, ...)."""
        shape = len(self.rows), len(self.columns)
        parts = [self.sums[divmod(index, shape[1])] for index in range(shape[0] * shape[1])]
        crossings = (torch.stack(part).view(*shape, *part[0].shape) for part in zip(*parts, strict=True))
        return ChannelSums(*(self.cells.blend(*self.cells.join(part)) for part in crossings))


class FeedForwardPass:
    """The feed-forward layer of one block over bands, its constants prepared.

    Args:
        block: The block.
        dtype: Of products and what goes into them.
    """

    def __init__(self, block: Block, dtype: torch.dtype) -> None:
        self.norm, layer = block.norm2, block.ffn
        hidden = layer.project_out.in_channels
        self.width = width = -(-hidden // VECTOR) * VECTOR
        self.taps = _filled(layer.dwconv.weight.flatten(1), width).view(2, width, 1, 3, 3).to(dtype)
        offsets = layer.dwconv.bias
        self.offsets = (None,) * 2 if offsets is None else _filled(offsets[:, None], width)[..., 0].to(dtype).unbind()
        start = layer.project_in.bias
        start = None if start is None else _filled(start[:, None], width)[..., 0]
        self.project = Projection(_filled(layer.project_in.weight[..., 0, 0], width), start, dtype)
        self.narrowing = F.pad(layer.project_out.weight[..., 0, 0], (0, width - hidden)).t().to(dtype)
        self.bias = layer.project_out.bias

    def add_(self, x: Tensor, numbers: int) -> None:
        """Add the layer's output for the normalised image to the image (H, W, C), in place.

        Args:
            x: The image.
            numbers: Of one part's map in a band.
        """
        for band, (gate, ungated) in projected(x, self.norm, self.project, numbers=numbers):
            gated = depthwise3x3(gate, self.taps[0], self.offsets[0], gelu=True)
            gated.mul_(depthwise3x3(ungated, self.taps[1], self.offsets[1]))
            image = band.of(x).view(-1, x.shape[2])
            _add_product(image, gated.view(-1, self.width), self.narrowing)
            if self.bias is not None:
                image += self.bias


def projected(x: Tensor, norm: ChannelNorm, project: Projection, *, numbers: int) -> Iterator[tuple[Band, Tensor]]:
    """Yield an image's projection band by band, from the top, each with a row more above and below.

    The band's rows of `x` may be written to before the next is asked for.

    Args:
        x: The image, (H, W, C).
        norm: Applied to it first.
        project: Applied behind it.
        numbers: Of one part's map in a band.

    Yields:
        The band, and (parts, rows + 2, W, width), zeros beyond the image.
    """
    height, columns, channels = x.shape
    parts, width = project.weight.shape[:2]
    step = min(height, max(2, numbers // (columns * width)))
    window = x.new_empty(parts, step + 2, columns, width, dtype=project.dtype)
    window[:, 0] = 0
    done = 0
    for top in range(0, height, step):
        bottom = min(top + step, height)
        end = min(bottom + 1, height)
        first = top - 1  # the image's row that lies in the window's row 0
        normalised = norm(x[done:end]).view(-1, channels).to(window.dtype)
        for part in range(parts):
            project.fill(normalised, part, window[part, done - first : end - first].view(-1, width))
        if bottom == height:
            window[:, bottom - first] = 0
        yield Band(top, bottom, height), window[:, : bottom - top + 2]
        if bottom < height:
            window[:, :2] = window[:, step : step + 2]
        done = end


def sums_over(q: Tensor, k: Tensor, *, heads: int) -> ChannelSums:
    """Sum over the positions of queries and keys, (R, W, C) each: (h, c, c), (h, c) and (h, c)."""
    c = q.shape[2] // heads
    q, k = (at_least_float32(part).reshape(-1, heads, c) for part in (q, k))
    squares = [part.square().sum(0) for part in (q, k)]
    missing = -len(q) % PARTS
    if missing:
        q, k = (F.pad(part, (0, 0, 0, 0, 0, missing)) for part in (q, k))
    q, k = (part.view(PARTS, -1, heads, c) for part in (q, k))
    products = [torch.bmm(q[:, :, head].transpose(1, 2), k[:, :, head]).sum(0) for head in range(heads)]
    return ChannelSums(torch.stack(products), *squares)


def apply_blended(cells: Cells, matrices: Tensor, v: Tensor, rows: Tensor) -> Tensor:
    """Multiply every position of a band by its own blend of the cells' matrices.

    Between the middles of two neighbouring cells the product with a row's blend of the one's matrices, and that with
    their difference from the other's, give every place's.

    Args:
        cells: The cells.
        matrices: (K rows, K columns, g, in, out).
        v: (R, W, g * in).
        rows: Weights of the cells' rows for each of the R rows, (R, K rows).

    Returns:
        (R, W, g * out).
    """
    groups, channels, out = matrices.shape[2:]
    met = rows.any(0).nonzero()
    own = slice(int(met[0]), int(met[-1]) + 1)
    rows, matrices = rows[:, own].to(v.dtype), matrices[own]
    result = v.new_empty(*v.shape[:2], groups * out)
    last = matrices.shape[1] - 1

    def of_rows(column: int) -> Tensor:
        mixed = torch.mm(rows, matrices[:, min(column, last)].flatten(1))
        return mixed.view(len(rows), groups, channels, out)

    first = of_rows(0)
    for index, (left, right) in enumerate(pairwise((0, *cells.column_strips[2:-2], v.shape[1]))):
        second = of_rows(index + 1)
        both = torch.cat((first, second - first), -1)  # (R, g, in, 2 * out)
        share = cells.column_weights[left:right, min(index + 1, last), None].to(v.dtype)
        for group in range(groups):
            positions = v[:, left:right, group * channels : (group + 1) * channels]
            mixed = torch.bmm(positions, both[:, group])
            place = result[:, left:right, group * out : (group + 1) * out]
            torch.addcmul(mixed[..., :out], mixed[..., out:], share, out=place)
        first = second
    return result


def bands_of(x: Tensor, numbers: int) -> Iterator[Band]:
    """Cut a map (H, W, C) into bands of about so many numbers each."""
    rows = max(1, numbers // (x.shape[1] * x.shape[2]))
    return bands(*x.shape[:2], unit=1, rows=rows, device=x.device)


def _add_product(x: Tensor, a: Tensor, b: Tensor) -> None:
    """Add a product to `x`, in place."""
    if a.dtype == x.dtype:
        x.addmm_(a, b)
    else:
        x += a @ b


def _filled(weight: Tensor, width: int) -> Tensor:
    """Cut (2K, M) into its halves and fill each up with rows of zeros: (2, width, M)."""
    halves = weight.view(2, -1, weight.shape[1])
    return F.pad(halves, (0, 0, 0, width - halves.shape[1]))

"""RAMiT over a whole image in bands of rows: the same pixels as at once, in a few feature maps, with cells if wanted.

Stage 5, RUN; `layers.bands` has what any network needs for it, `network` the network. For inference alone: nothing here
can be differentiated. A block sweeps over the image three times. Its channel attention needs sums over all of it: the
first sweep gathers them, the second turns both attentions into one map, the third, which looks a row further on either
side, mixes that map and adds the result to the features, in place; the next block's first sweep follows by bands.
The map of one block holds the helpers of the next, which reads each row before it writes it. At its peak the network
holds the features, that map, the shallow features, three attentions and what a band needs: about five and a half maps.

Letters: as in `block`; R rows of a band, B its windows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)

from restore_cli.layers.bands import Band, Cells, Execution, bands, cached_pieces, conv3x3
from restore_cli.layers.tensors import autocast_off, exp2_, linear, new_map, product_type
from restore_cli.models.ramit.block import (
    MAX_LOGIT_SCALE,
    NEGATIVE_SLOPE,
    NORM_EPS,
    ChannelSums,
    DRAMiTransformer,
    MobiVari1,
    MobiVari2,
    ReshapeLayerNorm,
)

if TYPE_CHECKING:
    from restore_cli.models.ramit.network import RAMiT, Stage

LOG2_E = math.log2(math.e)
# Powers of two of logits up to this, summed over a window and times any value, stay far within float32 either way.
_SAFE_LOGIT = 100.0
# Positions of a block's bands, which stay in the cache of all cores: of four times as many a sweep takes a tenth
# longer, of a third as many the rows above and below that a convolution looks at weigh as much.
_BLOCK_POSITIONS = 1 << 14


class SpatialPass:
    """Window attention of one block over bands, its constants prepared.

    A few windows at a time, and a head of them, so that logits never leave the cache. Queries, keys and values come of
    oneDNN's products of whole positions. Powers are of two, their base folded into scale and bias: torch's exp may go
    through a library that is four times as slow. They take no maximum where the trained scale bounds them.

    Args:
        block: The block.
        dtype: Of products; norms, logits and their powers are in the features' own.
    """

    def __init__(self, block: DRAMiTransformer, dtype: torch.dtype) -> None:
        self.dtype = dtype
        attention, projection = block.sp_attn, block.qkv_proj
        self.window, self.shift = block.window_size, block.shift
        self.heads, self.head_dim = block.spatial_heads, projection.head_dim
        weight, bias = (part[: self.heads].transpose(0, 1) for part in _by_head(projection.qkv, self.head_dim))
        self.qk = weight[:2].flatten(0, 2).to(dtype), bias[:2].flatten().to(dtype)
        self.v = weight[2].flatten(0, 1).to(dtype), bias[2].flatten().to(dtype)
        # The helper's mean over its heads, once for each head here.
        mean = torch.eye(self.head_dim).repeat(self.heads, block.channel_heads) / block.channel_heads
        self.helper = mean.to(weight).to(dtype)
        scale = attention.logit_scale.clamp(max=MAX_LOGIT_SCALE).exp() * LOG2_E
        self.scale = torch.cat((scale.flatten(), torch.ones_like(scale.flatten())))[:, None]  # (2 * h1, 1)
        self.position_bias = attention.position_bias().contiguous() * LOG2_E  # (h1, queries, keys)
        largest = scale + self.position_bias.abs().amax((1, 2))[:, None, None]
        self.is_bounded = largest.is_meta or bool(largest.max() <= _SAFE_LOGIT)
        self.proj = _pointwise(attention.proj, dtype)

    def attend(self, x: Tensor, helper: Tensor | None) -> Tensor:
        """Attend within the windows of a band.

        Args:
            x: (R, W, C), the rows of whole windows.
            helper: (R, W, h2 * d), whose mean over the heads weights every head's values, or None.

        Returns:
            (B, L, h1 * d), to be put in place by `merge`.
        """
        windows = self._cut(x)
        helpers = None if helper is None else self._cut(helper)
        out = windows.new_empty(*windows.shape[:2], self.heads * self.head_dim)
        for part in cached_pieces(len(windows), windows.shape[1], x.device):
            out[part] = self._attend(windows[part], None if helpers is None else helpers[part])
        return out

    def _attend(self, x: Tensor, helper: Tensor | None) -> Tensor:
        """Attend within windows (B, L, C) with helpers (B, L, h2 * d); return (B, L, h1 * d)."""
        count, tokens = x.shape[:2]
        heads, d = self.heads, self.head_dim
        qk = linear(x, *self.qk).to(x.dtype).view(-1, 2 * heads, d)
        lengths = torch.linalg.vector_norm(qk, dim=2, keepdim=True).clamp_min_(NORM_EPS)
        qk = qk.mul_(lengths.reciprocal_().mul_(self.scale)).to(self.dtype)
        qk = qk.view(count, tokens, 2 * heads, d).permute(2, 0, 1, 3)
        if self.dtype != x.dtype:  # oneDNN, which has these products then, takes half the time where heads lie together
            qk = qk.contiguous()
        v = linear(x, *self.v)
        if helper is not None:
            v.mul_(linear(helper, self.helper, None))
        v = v.view(count, tokens, heads, d)
        out, powers = x.new_empty(v.shape), x.new_empty(count, tokens, tokens)  # (B, queries, keys) of one head
        for head in range(heads):
            q, k = qk[head], qk[heads + head].transpose(1, 2)
            if self.dtype == x.dtype:
                torch.baddbmm(self.position_bias[head], q, k, out=powers)
            else:
                torch.add(torch.bmm(q, k), self.position_bias[head], out=powers)
            if not self.is_bounded:
                powers.sub_(powers.amax(2, keepdim=True))
            exp2_(powers)
            mean = torch.bmm(powers.to(self.dtype), v[:, :, head])
            torch.div(mean, powers.sum(2, keepdim=True), out=out[:, :, head])
        return linear(out.flatten(2), *self.proj)

    def merge(self, windows: Tensor, x: Tensor) -> None:
        """Write what `attend` returned into a band (R, W, h1 * d)."""
        shape = (x.shape[0] // self.window, x.shape[1] // self.window, self.window, self.window, x.shape[2])
        for cut, place in self._places(windows.view(shape), x):
            place.copy_(cut)

    def _cut(self, x: Tensor) -> Tensor:
        """Cut (R, W, channels) into windows (B, L, channels)."""
        side = self.window
        windows = x.new_empty(x.shape[0] // side, x.shape[1] // side, side, side, x.shape[2])
        for cut, place in self._places(windows, x):
            cut.copy_(place)
        return windows.flatten(2, 3).flatten(0, 1)

    def _places(self, windows: Tensor, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Pair the parts of windows (R / side, W / side, side, side, channels) with their places in (R, W, channels).

        Columns are shifted cyclically: the last window of a row has its right part at the left border. Rows are
        shifted by whoever chose the band.
        """
        side, shift = self.window, self.shift
        x = x.view(-1, side, *x.shape[1:])
        split = x.shape[2] - side + shift if shift else x.shape[2]
        whole = split // side
        if whole:
            columns = x[:, :, shift:split].view(*x.shape[:2], whole, side, -1)
            yield windows[:, :whole], columns.transpose(1, 2)
        if shift:
            yield windows[:, -1, :, : side - shift], x[:, :, split:]
            yield windows[:, -1, :, side - shift :], x[:, :, :shift]


class ChannelPass:
    """Channel attention of one block over bands, its constants prepared.

    Args:
        block: The block.
    """

    def __init__(self, block: DRAMiTransformer) -> None:
        self.attention, self.window = block.ch_attn, block.window_size
        self.heads, self.head_dim = block.channel_heads, block.qkv_proj.head_dim
        weight, bias = (part[block.spatial_heads :] for part in _by_head(block.qkv_proj.qkv, self.head_dim))
        self.qk_weight, self.qk_bias = weight[:, :2].flatten(0, 2), bias[:, :2].flatten()  # head, part, channel
        self.v_weight, self.v_bias = weight[:, 2].flatten(0, 1), bias[:, 2].flatten()
        self.proj_bias = cast("Tensor", self.attention.proj.bias)

    def matrices(self, x: Tensor, cells: Cells, parts: Iterable[Band]) -> Tensor:
        """Sweep over the image (H, W, C) and return each cell's attention times the projection, (K, K, in, out)."""

        def products(band: Band) -> Tensor:
            qk = linear(band.of(x), self.qk_weight, self.qk_bias)
            qk = qk.view(-1, self.window, x.shape[1] // cells.block, cells.block, self.heads, 2 * self.head_dim)
            blocks = qk.permute(0, 2, 4, 1, 3, 5).flatten(3, 4)  # (rows, columns, heads, positions, 2 * d)
            flat = blocks.reshape(-1, *blocks.shape[3:])
            return torch.bmm(flat.transpose(1, 2), flat).view(*blocks.shape[:3], 2 * self.head_dim, -1)

        sums = cells.gather(products, parts)
        matrices = self.attention.matrix(self._sums(cells.blend(*sums)))  # (K, K, h2, d, d)
        weight = self.attention.proj.weight.view(-1, self.heads, self.head_dim).transpose(0, 1)  # (h2, out, d)
        return (weight @ matrices).transpose(-1, -2).flatten(-3, -2)

    def attend(self, x: Tensor, helper: Tensor | None, matrices: Tensor, cells: Cells, rows: Tensor) -> Tensor:
        """Attend over channels.

        Args:
            x: (R, W, C).
            helper: (R, W, 1) to weight the values with, or None.
            matrices: As `matrices` returned them.
            cells: Whose matrices they are.
            rows: The rows' weights of the cells, (R, K).

        Returns:
            (R, W, h2 * d).
        """
        v = linear(x, self.v_weight, self.v_bias)
        if helper is not None:
            v.mul_(helper)
        return cells.apply(matrices, v, rows).add_(self.proj_bias)

    def _sums(self, products: Tensor) -> ChannelSums:
        """Tell apart the products of queries and keys with each other, (..., 2 * d, 2 * d)."""
        d = self.head_dim
        squares = products.diagonal(dim1=-2, dim2=-1)
        return ChannelSums(products[..., :d, d:], squares[..., :d], squares[..., d:])


class MobiVariPass:
    """Either version of MobiVari over bands, its constants prepared.

    Args:
        module: The layer.
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        module = cast("MobiVari1 | MobiVari2", module)
        self.expansion: tuple[Tensor, Tensor | None] | None = None
        if isinstance(module, MobiVari2):
            groups = module.exp_conv.weight.flatten(1).chunk(module.exp_conv.groups)
            # Dense, its groups being too narrow to fill the vector units.
            self.expansion = torch.block_diag(*groups), module.exp_conv.bias  # type: ignore[no-untyped-call]
        self.depthwise = module.dw_conv
        self.pointwise = _pointwise(module.pw_conv, dtype)

    def mix(self, x: Tensor, band: Band) -> Tensor:
        """Map the rows of a band, (R, W, in), to those of `band.narrowed()`, (R', W, out)."""
        return self.combine(*self.convolve(x, band))

    def convolve(self, x: Tensor, band: Band) -> tuple[Tensor, Tensor, Tensor]:
        """Do what looks at neighbours, as in `mix`; return it, and the same rows of its input and of `x`."""
        inner = band.narrowed()
        e = x if self.expansion is None else F.leaky_relu_(linear(x, *self.expansion), NEGATIVE_SLOPE)
        y = conv3x3(e, band, self.depthwise.weight, self.depthwise.bias, groups=e.shape[2])
        return y, inner.within(band, e), inner.within(band, x)

    def combine(self, y: Tensor, e: Tensor, x: Tensor) -> Tensor:
        """Do the rest at any positions of what `convolve` returned, (..., channels), to (..., out)."""
        if self.expansion is None:
            z = linear(F.leaky_relu_(y, NEGATIVE_SLOPE).add_(e), *self.pointwise).to(x.dtype)
            z = F.leaky_relu_(z, NEGATIVE_SLOPE)
        else:
            z = linear(F.leaky_relu_(y.add_(e), NEGATIVE_SLOPE), *self.pointwise).to(x.dtype)
        return z.add_(x) if z.shape == x.shape else z


class BlockPass:
    """One D-RAMiT block over an image, in place.

    Args:
        block: The block.
        rows: Rows of a band, or None.
        dtype: Of products.
    """

    def __init__(self, block: DRAMiTransformer, rows: int | None, dtype: torch.dtype) -> None:
        self.block, self.rows = block, rows
        self.spatial, self.channel = SpatialPass(block, dtype), ChannelPass(block)
        self.mobivari = MobiVariPass(block.mobivari, dtype)
        self.hidden, self.out = (_pointwise(conv, dtype) for conv in (block.ffn.hidden, block.ffn.out))

    def attend(self, x: Tensor, both: Tensor, cells: Cells, parts: Iterable[Band], *, first: bool) -> None:
        """Turn the features (H, W, C) into both attentions.

        Args:
            x: The features.
            both: The spatial and channel attentions of the block before, (H, W, C), replaced by this block's.
            cells: Where channel attention takes its statistics.
            parts: Bands that cover the map, each in turn read once it is asked for.
            first: Whether there is no block before, so that `both` holds nothing yet.
        """
        matrices = self.channel.matrices(x, cells, parts)
        helped = self.block.helper and not first
        for pieces in self._rows_of_windows(x):
            self._attend(pieces, x, both, helped, matrices, cells)

    def mix(self, x: Tensor, both: Tensor, attention: Tensor | None) -> Iterator[Band]:
        """Mix both attentions and add them and the feed-forward layer to the features; yield each band when done.

        Args:
            x: The features (H, W, C), replaced by the block's.
            both: Its attentions.
            attention: Takes the mixed attention, (H, W, C), where it is wanted.
        """
        norm1, norm2 = self.block.norm1, self.block.norm2
        for band in self.cut(x.shape[0], x.shape[1], x.device):
            wide = band.widened(1)
            inner = wide.narrowed()
            convolved = [band.within(inner, one).flatten(0, 1) for one in self.mobivari.convolve(wide.of(both), wide)]
            features = band.of(x).flatten(0, 1)
            for piece in cached_pieces(len(features), 1, x.device):
                mixed = self.mobivari.combine(*(one[piece] for one in convolved))
                if attention is not None:
                    band.of(attention).flatten(0, 1)[piece] = mixed
                part = features[piece].add_(layer_norm(norm1, mixed))
                narrowed = linear(linear(part, *self.hidden, gelu=True), *self.out)
                part.add_(layer_norm(norm2, narrowed.to(part.dtype)))
            yield band

    def cut(self, height: int, width: int, device: torch.device) -> Iterator[Band]:
        """Cut a map of features into bands that stay in cache."""
        rows = self.rows
        if device.type == "cpu":
            rows = min(height if rows is None else rows, _BLOCK_POSITIONS // width)
        return bands(height, width, unit=self.spatial.window, rows=rows, device=device)

    def _rows_of_windows(self, x: Tensor) -> Iterator[tuple[slice, ...]]:
        """Yield bands of whole windows; with shifted windows one of them lies at both borders."""
        side, shift = self.spatial.window, self.spatial.shift
        height, width = x.shape[0] - (side if shift else 0), x.shape[1]
        if height:
            for band in self.cut(height, width, x.device):
                yield (slice(band.first + shift, band.last + shift),)
        if shift:
            yield slice(height + shift, None), slice(0, shift)

    def _attend(
        self, pieces: tuple[slice, ...], x: Tensor, both: Tensor, helped: bool, matrices: Tensor, cells: Cells
    ) -> None:
        """Replace some rows of `both`, which hold the helpers until then, by this block's attentions."""
        features, target = _rows(x, pieces), _rows(both, pieces)
        split = self.spatial.heads * self.spatial.head_dim
        sp_helper = ch_helper = None
        if helped:
            ch_helper = target[..., split:]
            averaging = F.pad(target.new_full((split,), 1 / split), (0, target.shape[2] - split))
            sp_helper = linear(target, averaging[None], None)
        spatial = self.spatial.attend(features, ch_helper)
        weights = _rows(cells.row_weights, pieces)
        channel = self.channel.attend(features, sp_helper, matrices, cells, weights)
        self.spatial.merge(spatial, target[..., :split])
        target[..., split:] = channel
        if len(pieces) > 1:
            first = 0
            for piece in pieces:
                place = both[piece]
                place.copy_(target[first : first + len(place)])
                first += len(place)


def restore_in_bands(network: nn.Module, x: Tensor, execution: Execution | None = None) -> Tensor:
    """Return what `RAMiT.forward` returns for a batch, each image in bands, in any context."""
    network = cast("RAMiT", network)
    network.check(x)
    run = ImagePass(network, execution or Execution(), product_type(x))
    with autocast_off(x):
        out = torch.stack([run.run(image) for image in (x - network.mean) / network.std])
        return torch.addcmul(network.mean, out, network.std)


class ImagePass:
    """A RAMiT on one image, in bands.

    Args:
        network: The network.
        execution: Context and bands.
        dtype: Of the blocks' products; all else, and all of the first and the last stage, is in the image's own.
    """

    def __init__(self, network: RAMiT, execution: Execution, dtype: torch.dtype) -> None:
        self.network, self.execution, self.dtype = network, execution, dtype
        self.unit = network.config.window_size

    def run(self, image: Tensor) -> Tensor:
        """Restore a normalised image (channels, H, W) to (channels, scale * H, scale * W), normalised."""
        network = self.network
        shallow = _rows_first(network.shallow.conv(F.pixel_unshuffle(image[None], network.config.fold)))
        o1, a1 = self._stage(network.stage1, new_map(shallow, *shallow.shape).copy_(shallow), 1)
        o2, a2 = self._stage(network.stage2, self._shrink(network.down1, o1), 2)
        o3, a3 = self._stage(network.stage3, self._shrink(network.down2, o2), 4)
        joined = self._join(shallow, o1, o2, o3)
        del o1, o2, o3
        o4, a4 = self._stage(network.stage4, joined, 1)
        return self._reconstruct(image, shallow, o4, (a1, a2, a3, a4))

    def _stage(self, stage: Stage, x: Tensor, down: int) -> tuple[Tensor, Tensor]:
        """Run a stage on features (H, W, C) that are its own now; return them and the last mixed attention."""
        height, width = x.shape[:2]
        pixels, grain = down * self.network.config.fold, self.network.config.unit
        cells = Cells(self.execution, (height * pixels, width * pixels), down=pixels, grain=grain, like=x)
        both, attention = new_map(x, *x.shape), new_map(x, *x.shape)
        modules, rows = cast("Iterable[DRAMiTransformer]", stage.blocks.values()), self._rows_at(down)
        blocks = [BlockPass(block, rows, self.dtype) for block in modules]
        parts = blocks[0].cut(height, width, x.device)
        for block in blocks:
            # The sums of a block are gathered while the block before mixes, of rows that are still in cache.
            block.attend(x, both, cells, parts, first=block is blocks[0])
            parts = block.mix(x, both, attention if block is blocks[-1] else None)
        for _ in parts:
            pass
        return x, attention

    def _rows_at(self, down: int) -> int | None:
        return None if self.execution.rows is None else max(1, self.execution.rows // (down * self.network.config.fold))

    def _bands(self, x: Tensor, *, down: int = 1) -> Iterator[Band]:
        return bands(*x.shape[:2], unit=self.unit, rows=self._rows_at(down), device=x.device)

    def _shrink(self, down: nn.Module, x: Tensor) -> Tensor:
        """Halve features (H, W, C)."""
        height, width, channels = x.shape
        smaller = new_map(x, height // 2, width // 2, channels)
        mobivari = MobiVariPass(cast("nn.Module", down.reduction), x.dtype)
        for band in self._bands(smaller, down=2):
            wide = band.widened(1)
            squares = wide.scaled(2).of(x).view(-1, 2, width // 2, 2, channels).transpose(1, 2)
            phases = layer_norm(cast("ReshapeLayerNorm", down.norm), squares.flatten(2))
            band.of(smaller).copy_(band.within(wide.narrowed(), mobivari.mix(phases, wide)))
        return smaller

    def _join(self, shallow: Tensor, *scales: Tensor) -> Tensor:
        """Bring the three scales back to full size (`network.Bottleneck`)."""
        joined = new_map(shallow, *shallow.shape)
        bottleneck = self.network.bottleneck
        mobivari = MobiVariPass(bottleneck.mobivari, shallow.dtype)
        for band in self._bands(joined):
            wide = band.widened(1, step=1 << (len(scales) - 1))
            pooled, parts = wide.of(shallow), []
            for i, features in enumerate(scales):
                if i:
                    pooled = _rows_first(F.max_pool2d(_channels_first(pooled), 2))
                rows = features[wide.first >> i : wide.last >> i]
                parts.append(_pixel_shuffle(F.leaky_relu(pooled, NEGATIVE_SLOPE).add_(rows), 1 << i))
            mixed = band.within(wide.narrowed(), mobivari.mix(torch.cat(parts, 2), wide))
            band.of(joined).copy_(layer_norm(bottleneck.norm, mixed))
        return joined

    def _reconstruct(self, image: Tensor, shallow: Tensor, o4: Tensor, attentions: tuple[Tensor, ...]) -> Tensor:
        """Mix the attentions (`network.HRAMi`) and turn features into the image (`network.Reconstruction`)."""
        network, scale = self.network, self.network.config.scale
        target = network.to_target
        factor = target.factor
        mixer = MobiVariPass(network.attn_mix.mobivari, shallow.dtype)
        mobivaris = [MobiVariPass(layer, shallow.dtype) for layer in target.mobivari]
        if scale == 1:
            result = image.clone()
        elif network.config.image_skip:
            result = F.interpolate(image[None], scale_factor=scale, mode="bicubic", antialias=True)[0]
        else:
            result = image.new_zeros(image.shape[0], scale * image.shape[1], scale * image.shape[2])
        for band in self._bands(shallow):
            wide = band.widened(len(mobivaris) + 3, step=4)
            parts = [
                _pixel_shuffle(a[wide.first // down : wide.last // down], down)
                for a, down in zip(attentions, (1, 2, 4, 1), strict=True)
            ]
            x = mixer.mix(torch.cat(parts, 2), wide)
            wide = wide.narrowed()
            x.mul_(wide.of(o4)).add_(wide.of(shallow))
            for mobivari in mobivaris:
                x, wide = mobivari.mix(x, wide), wide.narrowed()
            x, wide = conv3x3(x, wide, target.conv.weight, target.conv.bias), wide.narrowed().scaled(factor)
            x = conv3x3(_pixel_shuffle(x, factor), wide, target.final_conv.weight, target.final_conv.bias)
            rows = band.scaled(factor)
            result[:, rows.first : rows.last].add_(rows.within(wide.narrowed(), x).permute(2, 0, 1))
        return result


def layer_norm(module: ReshapeLayerNorm, x: Tensor) -> Tensor:
    """Normalise each position of (..., C) over its channels."""
    norm = module.norm
    return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _by_head(qkv: nn.Conv2d, head_dim: int) -> tuple[Tensor, Tensor]:
    """Return weights (h, 3, d, C) and biases (h, 3, d) of a projection to queries, keys and values."""
    weight = qkv.weight.view(-1, 3, head_dim, qkv.in_channels)
    bias = weight.new_zeros(weight.shape[:3]) if qkv.bias is None else qkv.bias.view(-1, 3, head_dim)
    return weight, bias


def _pointwise(conv: nn.Conv2d, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Return a 1x1 convolution's weight (out, in) and bias."""
    return conv.weight.flatten(1).to(dtype), None if conv.bias is None else conv.bias.to(dtype)


def _rows(x: Tensor, pieces: tuple[slice, ...]) -> Tensor:
    """Return rows of (H, ...): a view of one piece, a copy of several."""
    return x[pieces[0]] if len(pieces) == 1 else torch.cat([x[piece] for piece in pieces])


def _channels_first(x: Tensor) -> Tensor:
    """Return (R, W, C) as (1, C, R, W), a view."""
    return x[None].permute(0, 3, 1, 2)


def _rows_first(x: Tensor) -> Tensor:
    """Return (1, C, R, W) as (R, W, C), contiguous."""
    return x[0].permute(1, 2, 0).contiguous()


def _pixel_shuffle(x: Tensor, factor: int) -> Tensor:
    """Turn (R, W, factor**2 * C) into (factor * R, factor * W, C)."""
    return x if factor == 1 else _rows_first(F.pixel_shuffle(_channels_first(x), factor))

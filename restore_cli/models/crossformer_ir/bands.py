"""Blocks of CrossFormer-IR over whole maps in parts that stay in the processor's cache.

Stage 5, RUN; `layers.cross_scale` and `network` have the layers. For inference on the CPU alone: nothing in here
can be differentiated. A block sweeps over the map twice. Groups attend some hundred at a time; the feed-forward layer
runs over bands of rows, with a row more on either side for its convolution. Bias and GELU come with the products, and
what the layer adds to its convolution's result is a weight of the middle tap. On 480x320 pixels crossformer-lite takes
1.55 times as long written plainly, crossformer-ir 1.6 times.

Letters: H W size of the map, R rows of a band, C channels, L tokens a group, B groups, h heads, d = C / h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)

from restore_cli.layers.bands import Execution
from restore_cli.layers.cross_scale import Grouping
from restore_cli.layers.tensors import depthwise3x3, linear

if TYPE_CHECKING:
    from restore_cli.models.crossformer_ir.network import Block, CrossFormerIR

# Positions of a part: with 64 channels widened threefold some 12 MiB.
_PART_POSITIONS = 1 << 14
_LEAST_ROWS = 16  # a band computes two rows of its neighbours anew


def restore_in_parts(network: nn.Module, x: Tensor, _: Execution | None = None) -> Tensor:
    """Return what `CrossFormerIR.forward` returns for a batch; its groups look nowhere else, so it has one context."""

    def run(stage: nn.Module, maps: Tensor) -> Tensor:
        for block in stage.children():
            maps = torch.stack([run_block(cast("Block", block), each) for each in maps])
        return maps

    return cast("CrossFormerIR", network).restore(x, run)


def run_block(block: Block, x: Tensor) -> Tensor:
    """Run a block on one map (H, W, C) and return its map."""
    height, width = x.shape[:2]
    grouping = Grouping(height=height, width=width, size=block.group_size, interval=block.interval)
    groups = grouping.cut(x[None])
    if groups.data_ptr() == x.data_ptr():  # a map of one group is cut by a mere view
        groups = groups.clone()
    _attend(block, groups, grouping.mask(x.device))
    return _feed_forward(block, grouping.merge(groups)[0].add_(x))


def _attend(block: Block, groups: Tensor, mask: Tensor | None) -> None:
    """Replace groups (B, L, C) by their attention."""
    attention, size = block.attn, block.group_size
    tokens, channels = groups.shape[1:]
    heads = attention.heads
    bias = attention.pos(size)[None]
    step = max(1, _PART_POSITIONS // tokens)
    for first in range(0, len(groups), step):
        part = groups[first : first + step]
        qkv = linear(_normalised(block.norm1, part), attention.qkv.weight, attention.qkv.bias)
        q, k, v = qkv.view(len(part), tokens, 3, heads, channels // heads).permute(2, 0, 3, 1, 4).unbind()
        seen = bias if mask is None else bias + mask[first : first + step]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=attention.scale)
        mixed = mixed.transpose(1, 2).reshape(len(part), tokens, channels)
        part.copy_(linear(mixed, attention.proj.weight, attention.proj.bias))


def _feed_forward(block: Block, x: Tensor) -> Tensor:
    """Return a map (H, W, C) with what the feed-forward layer makes of it added."""
    height, width = x.shape[:2]
    layer, result = block.ffn, torch.empty_like(x)
    taps = layer.local.weight.clone()
    taps[:, :, 1, 1] += 1  # the layer's own residual
    hidden, out = ((conv.weight.flatten(1), conv.bias) for conv in (layer.hidden, layer.out))
    step = max(_LEAST_ROWS, _PART_POSITIONS // width)
    for first in range(0, height, step):
        last = min(first + step, height)
        above, below = min(1, first), min(1, height - last)
        rows = _normalised(block.norm2, x[first - above : last + below])
        widened = linear(rows, *hidden, gelu=True)
        if not (above and below):
            widened = F.pad(widened, (0, 0, 0, 0, 1 - above, 1 - below))
        narrowed = linear(depthwise3x3(widened, taps, layer.local.bias), *out)
        torch.add(x[first:last], narrowed, out=result[first:last])
    return result


def _normalised(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)

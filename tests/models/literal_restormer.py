"""One Restormer block position by position in float64 NumPy: slow, and sharing nothing with ours but the keys."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


Edges = tuple[list[int], list[int]]


def literal_block(state: dict[str, Array], x: Array, *, heads: int, edges: Edges | None = None) -> Array:
    """Return what a block makes of one image (C, H, W).

    Args:
        state: The block's tensors by their keys.
        x: The image.
        heads: Heads of the attention.
        edges: Of the strips of rows and of columns two of which make a cell, each as [0, ..., length]; None for
            statistics of the whole image.
    """
    edges = edges or ([0, x.shape[1]], [0, x.shape[2]])
    x = x + attention(state, normalised(state, "norm1.body", x), heads, edges)
    return x + feed_forward(state, normalised(state, "norm2.body", x))


def normalised(state: dict[str, Array], name: str, x: Array) -> Array:
    """Normalise each position over its channels; without a bias in the state the mean stays."""
    mean = x.mean(0)
    deviation = np.sqrt(((x - mean) ** 2).mean(0) + 1e-5)
    weight = state[f"{name}.weight"][:, None, None]
    if f"{name}.bias" not in state:
        return x / deviation * weight
    return (x - mean) / deviation * weight + state[f"{name}.bias"][:, None, None]


def attention(state: dict[str, Array], x: Array, heads: int, edges: Edges) -> Array:
    """Attend over channels, each a unit vector of a cell's positions; between the middles of cells blend linearly."""
    channels, c = len(x), len(x) // heads
    q, k, v = np.split(convolved(state, "attn.qkv_dwconv", convolved(state, "attn.qkv", x)), 3)
    mixed = np.zeros_like(x)
    for rows, row_shares in cells_along(edges[0]):
        for columns, column_shares in cells_along(edges[1]):
            share = row_shares[:, None] * column_shares
            for head in range(heads):
                own = range(head * c, (head + 1) * c)
                temperature = float(state["attn.temperature"][head, 0, 0])
                for i in own:
                    unit_q = unit(q[i, rows, columns])
                    logits = [temperature * float((unit_q * unit(k[j, rows, columns])).sum()) for j in own]
                    powers = [math.exp(logit - max(logits)) for logit in logits]
                    attended = sum(power / sum(powers) * v[j] for power, j in zip(powers, own, strict=True))
                    mixed[i] += share * attended
    assert mixed.shape[0] == channels
    return convolved(state, "attn.project_out", mixed)


def cells_along(edges: list[int]) -> list[tuple[slice, Array]]:
    """Return the cells of an axis, and how much each counts at every place: all at its middle, none at the next's."""
    if len(edges) < 4:
        return [(slice(None), np.ones(edges[-1]))]
    middles, places = edges[1:-1], np.arange(edges[-1]) + 0.5
    return [
        (slice(edges[i], edges[i + 2]), np.interp(places, middles, np.eye(len(middles))[i]))
        for i in range(len(middles))
    ]


def unit(a: Array) -> Array:
    return a / max(math.sqrt(float((a * a).sum())), 1e-12)


def feed_forward(state: dict[str, Array], x: Array) -> Array:
    """Let the first half of the hidden channels gate the second."""
    gate, carried = np.split(convolved(state, "ffn.dwconv", convolved(state, "ffn.project_in", x)), 2)
    return convolved(state, "ffn.project_out", gate * 0.5 * (1 + np.vectorize(math.erf)(gate / math.sqrt(2))) * carried)


def convolved(state: dict[str, Array], name: str, x: Array) -> Array:
    """Apply a 1x1 convolution, or a 3x3 one channel by channel with zeros around the image."""
    weight = state[f"{name}.weight"]
    bias = state.get(f"{name}.bias", np.zeros(len(weight)))[:, None, None]
    if weight.shape[-1] == 1:
        return np.asarray(np.einsum("oi,ihw->ohw", weight[:, :, 0, 0], x) + bias)
    height, width = x.shape[1:]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    out = np.zeros_like(x)
    for i, j in itertools.product(range(3), range(3)):
        out += weight[:, 0, i, j, None, None] * padded[:, i : i + height, j : j + width]
    return out + bias

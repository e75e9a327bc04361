"""One Restormer block position by position in float64 NumPy: slow, and sharing nothing with ours but the keys."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def literal_block(state: dict[str, Array], x: Array, *, heads: int) -> Array:
    """Return what a block makes of one image (C, H, W)."""
    x = x + attention(state, normalised(state, "norm1.body", x), heads)
    return x + feed_forward(state, normalised(state, "norm2.body", x))


def normalised(state: dict[str, Array], name: str, x: Array) -> Array:
    """Normalise each position over its channels; without a bias in the state the mean stays."""
    mean = x.mean(0)
    deviation = np.sqrt(((x - mean) ** 2).mean(0) + 1e-5)
    weight = state[f"{name}.weight"][:, None, None]
    if f"{name}.bias" not in state:
        return x / deviation * weight
    return (x - mean) / deviation * weight + state[f"{name}.bias"][:, None, None]


def attention(state: dict[str, Array], x: Array, heads: int) -> Array:
    """Attend over channels, each a unit vector of all positions."""
    channels, c = len(x), len(x) // heads
    q, k, v = np.split(convolved(state, "attn.qkv_dwconv", convolved(state, "attn.qkv", x)), 3)
    mixed = np.empty_like(x)
    for head in range(heads):
        own = range(head * c, (head + 1) * c)
        temperature = float(state["attn.temperature"][head, 0, 0])
        for i in own:
            logits = [temperature * float((unit(q[i]) * unit(k[j])).sum()) for j in own]
            powers = [math.exp(logit - max(logits)) for logit in logits]
            mixed[i] = sum(power / sum(powers) * v[j] for power, j in zip(powers, own, strict=True))
    assert mixed.shape[0] == channels
    return convolved(state, "attn.project_out", mixed)


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

"""One D-RAMiT block token by token in float64 NumPy: slow, and sharing nothing with ours but the keys."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def literal_block(
    state: dict[str, Array],
    x: Array,
    *,
    heads: int,
    channel_heads: int,
    window: int,
    shift: int,
    mv_ver: int,
    sp: Array | None = None,
    ch: Array | None = None,
) -> tuple[Array, Array, Array, Array]:
    """Return (out, sp, ch, attn) of one image.

    Args:
        state: The block's state dict.
        x: (C, H, W).
        heads: All heads.
        channel_heads: How many of them, the last ones, attend over channels.
        window: Side of a window.
        shift: Cyclic shift.
        mv_ver: Version of MobiVari, 2 with four groups.
        sp: Spatial attention of the block before.
        ch: Channel attention of the block before.
    """
    dim, d = x.shape[0], x.shape[0] // heads
    qkv = linear(state, "qkv_proj.qkv", x)
    spatial_heads = heads - channel_heads
    outputs = []
    for head in range(heads):
        q, k, v = (qkv[3 * d * head + part * d : 3 * d * head + (part + 1) * d] for part in range(3))
        if head < spatial_heads:
            if ch is not None:
                v = v * sum(ch[i * d : (i + 1) * d] for i in range(channel_heads)) / channel_heads
            scale = math.exp(min(float(state["sp_attn.logit_scale"][head, 0, 0]), math.log(100)))
            table = state["sp_attn.relative_position_bias_table"][:, head]
            outputs.append(window_attention(q, k, v, scale, table, window, shift))
        else:
            if sp is not None:
                v = v * sp.mean(0)
            scale = math.exp(min(float(state["ch_attn.logit_scale"][head - spatial_heads, 0, 0]), math.log(100)))
            outputs.append(channel_attention(q, k, v, scale))
    spatial = linear(state, "sp_attn.proj", np.concatenate(outputs[:spatial_heads]))
    channel = linear(state, "ch_attn.proj", np.concatenate(outputs[spatial_heads:]))
    mixed = mobivari(state, np.concatenate((spatial, channel)), mv_ver)
    x = x + layer_norm(state, "norm1.norm", mixed)
    hidden = linear(state, "ffn.hidden", x)
    hidden = hidden * 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
    x = x + layer_norm(state, "norm2.norm", linear(state, "ffn.out", hidden))
    assert len(x) == dim
    return x, spatial, channel, mixed


def cosine(a: Array, b: Array) -> float:
    """Return the cosine of two vectors whose lengths count as at least 1e-12."""
    return float(a @ b) / max(math.sqrt(a @ a), 1e-12) / max(math.sqrt(b @ b), 1e-12)


def softmax(logits: list[float]) -> Array:
    powers = np.exp(np.array(logits) - max(logits))
    return powers / powers.sum()


def window_attention(q: Array, k: Array, v: Array, scale: float, table: Array, window: int, shift: int) -> Array:
    """Attend within windows whose corner lies at `shift` modulo the window, wrapping around at the border."""
    height, width = q.shape[1:]
    out = np.empty_like(v)
    tokens = list(itertools.product(range(window), range(window)))
    for top, left in itertools.product(range(0, height, window), range(0, width, window)):
        places = [((top + y + shift) % height, (left + x + shift) % width) for y, x in tokens]
        for (qy, qx), (row, column) in zip(tokens, places, strict=True):
            logits = [
                scale * cosine(q[:, row, column], k[:, r, c])
                + table[(qy - ky + window - 1) * (2 * window - 1) + qx - kx + window - 1]
                for (ky, kx), (r, c) in zip(tokens, places, strict=True)
            ]
            weights = softmax(logits)
            out[:, row, column] = sum(w * v[:, r, c] for w, (r, c) in zip(weights, places, strict=True))
    return out


def channel_attention(q: Array, k: Array, v: Array, scale: float) -> Array:
    """Attend over channels, each a vector of all positions."""
    flat = [part.reshape(len(part), -1) for part in (q, k, v)]
    rows = [softmax([scale * cosine(one, other) for other in flat[1]]) @ flat[2] for one in flat[0]]
    return np.stack(rows).reshape(v.shape)


def linear(state: dict[str, Array], name: str, x: Array) -> Array:
    """Apply a 1x1 convolution, grouped where its weight is narrower than `x`."""
    weight, bias = state[f"{name}.weight"][:, :, 0, 0], state[f"{name}.bias"]
    groups = len(x) // weight.shape[1]
    parts = zip(np.split(weight, groups), np.split(x, groups), strict=True)
    return np.concatenate([np.einsum("oi,ihw->ohw", w, part) for w, part in parts]) + bias[:, None, None]


def depthwise(state: dict[str, Array], name: str, x: Array) -> Array:
    """Apply a depthwise 3x3 convolution with zeros around the image."""
    weight, bias = state[f"{name}.weight"][:, 0], state[f"{name}.bias"]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    height, width = x.shape[1:]
    taps: Any = (
        weight[:, i, j, None, None] * padded[:, i : i + height, j : j + width]
        for i, j in itertools.product(range(3), range(3))
    )
    return np.asarray(sum(taps) + bias[:, None, None])


def leaky(x: Array) -> Array:
    return np.where(x > 0, x, 0.01 * x)


def mobivari(state: dict[str, Array], x: Array, mv_ver: int) -> Array:
    """Apply MobiVari with as many channels out as in."""
    if mv_ver == 1:
        return leaky(linear(state, "mobivari.pw_conv", leaky(depthwise(state, "mobivari.dw_conv", x)) + x)) + x
    e = leaky(linear(state, "mobivari.exp_conv", x))
    return linear(state, "mobivari.pw_conv", leaky(depthwise(state, "mobivari.dw_conv", e) + e)) + x


def layer_norm(state: dict[str, Array], name: str, x: Array) -> Array:
    """Normalise each position over its channels."""
    centred = x - x.mean(0)
    normalised = centred / np.sqrt((centred**2).mean(0) + 1e-5)
    return normalised * state[f"{name}.weight"][:, None, None] + state[f"{name}.bias"][:, None, None]

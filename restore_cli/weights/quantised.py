"""Weights in int8 with a scale for each output channel: a quarter of the bytes, for files and not for arithmetic.

Stage 5, RUN, used by `load`, which reads such files as any others, and by `exporting`, which writes them. A weight w of
output channel c is stored as round(w / s_c), within -127 and 127, and s_c is the channel's largest magnitude / 127.
What has few numbers a channel (biases, norms, tables) would lose by its scales what it gains, and is kept in float16.
RAMiT-1 x4 loses 0.008 dB of PSNR on Set5 this way (32.513 of 32.521), in 0.95 MB of file in place of 4.2. SPAN x4 loses
0.32 (of 32.203): its fused filters have weights of ten times the usual in few places, which set the scale of all; 0.13
would be left with its first and its joining convolution in float16, 0.04 with a scale for each tap besides. Products in
int8 are another matter, and no quicker for networks this narrow, so the file is read back into float32.

The form, in any format: int8 tensors under their own names, and one bfloat16 tensor `SCALES` with the scales of all of
them, one tensor after the other in the order of their names. A tensor of scales for each would double the header. The
scales are rounded up before the weights are divided by them, so that their own rounding costs no exactness.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

SCALES = "int8_scales"
_LARGEST = 127
_LEAST_NUMBERS_A_CHANNEL = 8  # fewer numbers than this cost their scale, four bytes, more than int8 saves

StoredAs = Literal["float32", "float16", "int8"]


def stored(state_dict: Mapping[str, Tensor], dtype: StoredAs) -> dict[str, Tensor]:
    """Return a state dict as a file is to hold it.

    Args:
        state_dict: Tensors of a network; what is not of floats is left as it is.
        dtype: "float32", "float16", or "int8" with scales.

    Raises:
        ValueError: If a number is too large for float16.
    """
    kept: dict[str, Tensor] = {}
    scales: list[Tensor] = []
    for name, tensor in sorted(state_dict.items()):
        if not tensor.is_floating_point():
            kept[name] = tensor
        elif dtype == "int8" and _is_worth_it(tensor):
            kept[name], scale = _quantised(tensor)
            scales.append(scale)
        else:
            kept[name] = tensor.float() if dtype == "float32" else _half(name, tensor)
    return {**kept, SCALES: torch.cat(scales)} if scales else kept


def restored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict of floats from one that holds int8 tensors and their scales.

    Raises:
        ValueError: If the scales are not one bfloat16 for each channel of the int8 tensors.
    """
    coded = sorted(name for name, tensor in tensors.items() if tensor.dtype == torch.int8)
    channels = [tensors[name].shape[0] if tensors[name].ndim else 0 for name in coded]
    scales = tensors.get(SCALES)
    if scales is None or scales.dtype != torch.bfloat16 or scales.shape != (sum(channels),) or 0 in channels:
        msg = f"it holds int8 tensors without {SCALES}, one bfloat16 for each of their {sum(channels)} channels"
        raise ValueError(msg)
    floats = {name: tensor for name, tensor in tensors.items() if name != SCALES}
    for name, scale in zip(coded, torch.split(scales, channels), strict=True):
        floats[name] = tensors[name].float() * _a_channel(scale.float(), tensors[name])
    return floats


def _is_worth_it(tensor: Tensor) -> bool:
    return tensor.ndim >= 2 and tensor[0].numel() >= _LEAST_NUMBERS_A_CHANNEL


def _quantised(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Return (out, ...) as int8 and the scales (out,) in bfloat16; a channel of zeros has the scale 1."""
    numbers = tensor.detach().float()
    scale = numbers.flatten(1).abs().amax(1) / _LARGEST
    scale = _rounded_up(torch.where(scale > 0, scale, torch.ones_like(scale)))
    steps = (numbers / _a_channel(scale.float(), numbers)).round_().clamp_(-_LARGEST, _LARGEST)
    return steps.to(torch.int8), scale


def _rounded_up(numbers: Tensor) -> Tensor:
    """Return positive float32 numbers as the nearest bfloat16 that are not smaller."""
    near = numbers.bfloat16()
    return torch.where(near.float() < numbers, torch.nextafter(near, torch.full_like(near, float("inf"))), near)


def _a_channel(scale: Tensor, tensor: Tensor) -> Tensor:
    return scale.view(-1, *[1] * (tensor.ndim - 1))


def _half(name: str, tensor: Tensor) -> Tensor:
    half = tensor.detach().half()
    if not bool(half.isfinite().all()):
        msg = f"{name} holds numbers that float16 cannot: {tensor.abs().max():g}"
        raise ValueError(msg)
    return half

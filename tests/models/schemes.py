"""State dicts under the names that others' programs give them; written from their files, not from our readers."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

GAIN = 2  # how many times as wide the chain of a trained SPAN's convolution is within


def as_kair(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return an RRDBNet as KAIR and the second ESRGAN name it."""
    renamed = {}
    for key, tensor in ours.items():
        name = re.sub(r"^body\.(\d+)\.rdb(\d)\.", r"RRDB_trunk.\1.RDB\2.", key)
        name = re.sub(r"^conv_up(\d)\.", r"upconv\1.", name)
        name = name.replace("conv_body.", "trunk_conv.").replace("conv_hr.", "HRconv.")
        renamed[name] = tensor
    return renamed


def as_esrgan(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return an RRDBNet as the first ESRGAN numbers it: x4 ends in model.3, 6, 8 and 10, x1 in model.2 and 4."""
    blocks = 1 + max(int(key.split(".")[1]) for key in ours if key.startswith("body."))
    doublings = sum(re.fullmatch(r"conv_up\d\.weight", key) is not None for key in ours)
    place = {"conv_first": "model.0", "conv_body": f"model.1.sub.{blocks}"}
    place |= {f"conv_up{number}": f"model.{3 * number}" for number in range(1, doublings + 1)}
    place |= {"conv_hr": f"model.{3 * doublings + 2}", "conv_last": f"model.{3 * doublings + 4}"}
    renamed = {}
    for key, tensor in ours.items():
        layer, _, part = key.rpartition(".")
        dense = re.fullmatch(r"body\.(\d+)\.rdb(\d)\.conv(\d)", layer)
        name = place[layer] if dense is None else f"model.1.sub.{dense[1]}.RDB{dense[2]}.conv{dense[3]}.0"
        renamed[f"{name}.{part}"] = tensor
    return renamed


def as_trained_span(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a SPAN whose 3x3 convolutions in the body are two ways each, of random numbers."""
    generator = torch.Generator().manual_seed(0)
    trained: dict[str, Tensor] = {}
    for key, tensor in ours.items():
        layer, _, part = key.rpartition(".")
        if layer in {"conv_cat", "upsampler.0"}:
            trained[key] = tensor
        elif part == "weight":
            out, into = tensor.shape[:2]
            sizes = {
                "sk": (out, into, 1, 1),
                "conv.0": (GAIN * into, into, 1, 1),
                "conv.1": (GAIN * out, GAIN * into, 3, 3),
                "conv.2": (out, GAIN * out, 1, 1),
            }
            for way, size in sizes.items():
                trained[f"{layer}.{way}.weight"] = 0.2 * torch.randn(size, generator=generator)
                trained[f"{layer}.{way}.bias"] = 0.2 * torch.randn(size[0], generator=generator)
    return trained

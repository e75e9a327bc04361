"""Weights for tests: those that goldens without a checkpoint were made with, and such that attentions matter."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor, nn

from restore_cli.layers.bands import Execution
from restore_cli.models import get_architecture


def deterministic_fill(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict with every floating tensor drawn from a generator seeded by its key."""
    return {key: _drawn(key, tensor) if tensor.is_floating_point() else tensor for key, tensor in state_dict.items()}


def _drawn(key: str, tensor: Tensor) -> Tensor:
    # The legacy generator on purpose: its stream is frozen, and the goldens were drawn from it.
    draw = np.random.RandomState(zlib.crc32(key.encode()))
    values = draw.standard_normal(tuple(tensor.shape))
    last = key.rpartition(".")[2]
    if last in {"logit_scale", "temperature"} or (values.ndim == 1 and last == "weight"):
        values = 1 + 0.1 * values
    elif last == "relative_position_bias_table" or values.ndim == 1:
        values = 0.1 * values
    else:
        values /= np.sqrt(np.prod(values.shape[1:]))
    return torch.from_numpy(values.astype(np.float32))


def in_bands(network: nn.Module, x: Tensor, execution: Execution | None = None) -> Tensor:
    """Run a network in the form for inference that its folder holds."""
    folder = type(network).__module__.rpartition(".")[0]
    infer = get_architecture(folder.rpartition(".")[2]).infer
    assert infer is not None
    return infer(network, x, execution)


def lively(network: nn.Module) -> nn.Module:
    """Give a network weights large enough for its attentions to matter."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network.eval()

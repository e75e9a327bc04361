"""Treat the blocks of a network one by one: compile them, or forget their activations and compute them again.

Stage of training in which the time is spent. A network repeats one block (`Arch.block`), in which nearly all of its
time and memory goes; what is done to a block is done to the network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

Forward = Callable[..., Any]


def compile_blocks(network: nn.Module, block: type[nn.Module]) -> None:
    """Compile a network's blocks where they stand; copies made before stay as they are.

    One block is some hundred operations, a network thousands: on two CPU cores its compilation took over ten minutes
    where the blocks' took two and a half, and the steps were 1.5 times faster all the same.
    """
    blocks = _blocks(network, block)
    # Every block and size of patch is a compilation of the same code; the default limit is 8.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 8 * len(blocks))
    for module in blocks:
        module.forward = torch.compile(module.forward, dynamic=False)


def recompute_blocks(network: nn.Module, block: type[nn.Module]) -> None:
    """Let a network's blocks keep their inputs alone for the backward pass, which runs each block once more.

    The gradients are the same to the last bit: the random numbers of stochastic depth are drawn again as they were.
    Blocks that are to be compiled are compiled before.
    """
    for module in _blocks(network, block):
        module.forward = _recomputed(module.forward)


def _recomputed(forward: Forward) -> Forward:
    def run(*inputs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*inputs)
        return checkpoint(forward, *inputs, use_reentrant=False)

    return run


def _blocks(network: nn.Module, block: type[nn.Module]) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, block)]

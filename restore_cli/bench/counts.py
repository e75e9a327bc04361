"""Parameters, Mult-Adds and FLOPs of a network: exact integers, found without doing the arithmetic.

Two counts stand side by side because they answer different questions. Mult-Adds follow the paper's own convention, so
that they can be held against its table. FLOPs are torch's count, two a multiply-add, of the convolutions and matrix
products this implementation really issues: a product folded away is not counted, a helper product of the paper's
convention is not either. The network runs on the meta device, where tensors have shapes and no data.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from restore_cli.bench.cases import PAPER_SIZE, Case, Size
from restore_cli.models import Arch, Config, get_architecture


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Tell the sizes one run has, all (height, width).

    Attributes:
        input: Input before padding, the wanted output divided by the scale and rounded down, as papers do.
        padded: What the network sees.
        output: What is kept of its output.
    """

    input: Size
    padded: Size
    output: Size


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Tell what a network holds and what one image costs.

    Attributes:
        params: Trainable values.
        mult_adds: In the paper's convention at the case's own size; None where the paper states none.
        mult_adds_paper_size: The same at `PAPER_SIZE`.
        flops: Torch's count at the case's own size.
        flops_paper_size: The same at `PAPER_SIZE`.
    """

    params: int
    mult_adds: int | None
    mult_adds_paper_size: int | None
    flops: int
    flops_paper_size: int


def geometry_of(size: Size, *, scale: int, multiple_of: int) -> Geometry:
    """Work out what goes in and what comes out for a wanted output of `size` (height, width)."""
    height, width = size[0] // scale, size[1] // scale
    padded = (_round_up(height, multiple_of), _round_up(width, multiple_of))
    return Geometry(input=(height, width), padded=padded, output=(height * scale, width * scale))


def count(case: Case) -> Counts:
    """Count one image of a case, whatever its batch."""
    arch = get_architecture(case.arch)
    config = arch.config.from_json(case.config)
    # Built on the CPU and moved: buffers made with numpy would stay behind under `torch.device("meta")`.
    network = arch.build(config).eval().to("meta")
    sizes = dict.fromkeys((case.size, PAPER_SIZE))
    flops = {size: _flops_at(size, network, arch, config) for size in sizes}
    mult_adds = {size: _mult_adds_at(size, arch, config) for size in sizes}
    return Counts(
        params=sum(parameter.numel() for parameter in network.parameters()),
        mult_adds=mult_adds[case.size],
        mult_adds_paper_size=mult_adds[PAPER_SIZE],
        flops=flops[case.size],
        flops_paper_size=flops[PAPER_SIZE],
    )


def count_flops(network: nn.Module, image: Tensor) -> int:
    """Count the floating point operations of one forward pass, two a multiply-add.

    Attention is forced through plain matrix products: torch 2.13 counts 0 for its fused attention on the CPU.

    Args:
        network: On the device of `image`.
        image: (N, C, H, W), on the meta device if nothing is to be computed.
    """
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), counter:
        network(image)
    return int(counter.get_total_flops())


def _flops_at(size: Size, network: nn.Module, arch: Arch, config: Config) -> int:
    padded = geometry_of(size, scale=config.scale, multiple_of=arch.multiple_of).padded
    return count_flops(network, torch.empty((1, config.channels, *padded), device="meta"))


def _mult_adds_at(size: Size, arch: Arch, config: Config) -> int | None:
    if arch.mult_adds is None:
        return None
    return arch.mult_adds(config, *geometry_of(size, scale=config.scale, multiple_of=arch.multiple_of).input)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple

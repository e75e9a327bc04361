"""Parameters, Mult-Adds, FLOPs and traffic of a network: exact integers, found without doing the arithmetic.

Two counts of work stand side by side because they answer different questions. Mult-Adds follow the paper's own
convention, so that they can be held against its table. FLOPs are torch's count, two a multiply-add, of the convolutions
and matrix products this implementation really issues: a product folded away is not counted, a helper product of the
paper's convention is not either. Traffic is what all operations, each by itself, read and write: what would move if
nothing stayed in a cache. The network runs on the meta device, where tensors have shapes and no data.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from restore_cli.benchmark.cases import ANY_TASK, Case, Size, paper_size
from restore_cli.inference.layout import padded_size
from restore_cli.models import Arch, Config, count_flops, get_architecture
from restore_cli.weights.foreign import entry_of
from restore_cli.weights.load import load_weights


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Tell the sizes one run has, all (height, width).

    Attributes:
        input: Input before padding, the wanted output divided by the scale and rounded down, as papers do.
        padded: What the network sees.
        output: What is kept of its output; of a classifier, which gives no image, its input.
    """

    input: Size
    padded: Size
    output: Size


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Tell what a network holds and what one image costs.

    Attributes:
        params: Trainable values.
        paper_size: (height, width) for which papers state costs: of the output, or of a classifier's input.
        mult_adds: In the paper's convention at the case's own size; None where the paper states none.
        mult_adds_paper_size: The same at `paper_size`.
        flops: Torch's count at the case's own size.
        flops_paper_size: The same at `paper_size`.
        traffic_bytes: Read and written by all operations at the case's own size, in float32.
    """

    params: int
    paper_size: Size
    mult_adds: int | None
    mult_adds_paper_size: int | None
    flops: int
    flops_paper_size: int
    traffic_bytes: int


def geometry_of(size: Size, *, scale: int, multiple_of: int) -> Geometry:
    """Work out what goes in and what comes out for a wanted output of `size` (height, width)."""
    height, width = size[0] // scale, size[1] // scale
    padded = padded_size(height, width, multiple_of)
    return Geometry(input=(height, width), padded=padded, output=(height * scale, width * scale))


def count(case: Case) -> Counts:
    """Count one image of a case, whatever its batch; what was counted for an earlier case is remembered."""
    arch = get_architecture(case.entry.arch)
    config = arch.config.from_json(case.entry.config)
    stated = paper_size(case.entry, arch)
    text = json.dumps(dict(case.entry.config), sort_keys=True)
    here, there = (_costs_at(size, case.entry.arch, text, case.file) for size in (case.size, stated))
    return Counts(
        params=sum(parameter.numel() for parameter in _network_of(case.entry.arch, text, case.file).parameters()),
        paper_size=stated,
        mult_adds=_mult_adds_at(case.size, arch, config),
        mult_adds_paper_size=_mult_adds_at(stated, arch, config),
        flops=here.flops,
        flops_paper_size=there.flops,
        traffic_bytes=here.traffic_bytes,
    )


def build_network(name: str, config: Mapping[str, Any], file: Path | None) -> nn.Module:
    """Return the network of a case: with random weights, or from the file that alone it can be built from."""
    arch = get_architecture(name)
    if file is None:
        return arch.build(arch.config.from_json(config)).eval()
    return load_weights(entry_of(file, task=ANY_TASK), file).network


@dataclass(frozen=True, kw_only=True)
class _Costs:
    flops: int
    traffic_bytes: int


@functools.lru_cache(maxsize=1)  # the cases of a network stay together
def _network_of(name: str, config: str, file: Path | None) -> nn.Module:
    # Built on the CPU and moved: buffers made with numpy would stay behind under `torch.device("meta")`.
    return build_network(name, json.loads(config), file).to("meta")


@functools.lru_cache(maxsize=64)
def _costs_at(size: Size, name: str, config: str, file: Path | None) -> _Costs:
    arch = get_architecture(name)
    known = arch.config.from_json(json.loads(config))
    padded = geometry_of(size, scale=known.scale, multiple_of=arch.of(known).multiple_of).padded
    network, image = _network_of(name, config, file), torch.empty((1, arch.channels_in(known), *padded), device="meta")
    return _Costs(flops=count_flops(network, image), traffic_bytes=count_traffic(network, image))


def count_traffic(network: nn.Module, image: Tensor) -> int:
    """Count the bytes that the operations of one forward pass read and write, each by itself; views move nothing.

    Args:
        network: On the device of `image`.
        image: (N, C, H, W), on the meta device if nothing is to be computed.
    """
    traffic = _Traffic()
    with torch.no_grad(), traffic:
        network(image)
    return traffic.count


class _Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own is untyped
    """Add up the sizes of what operations take and return."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own is untyped
        self.count: int = 0

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        taken, given = _tensors((args, kwargs)), _tensors(result)
        storages = {tensor.untyped_storage()._cdata for tensor in taken}
        is_view = not func._schema.is_mutable and all(t.untyped_storage()._cdata in storages for t in given)
        if not is_view:
            self.count += sum(tensor.numel() * tensor.element_size() for tensor in (*taken, *given))
        return result


def _tensors(values: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _mult_adds_at(size: Size, arch: Arch, config: Config) -> int | None:
    if arch.mult_adds is None:
        return None
    return arch.mult_adds(config, *geometry_of(size, scale=config.scale, multiple_of=1).input)

"""A network as a program of torch.export (.pt2), which runs without this package.

Stage 5, RUN, of `restore export`. Height and width stay open, in multiples of the network's unit. A program takes
(1, channels, H, W) in [0, 1] and, of a network that can be told the level of noise, finds that out itself. Its archive
holds the entry as `entry.json`, with the digest of the weights.
"""

from __future__ import annotations

import io
import json

import torch
from torch import Tensor, nn

from restore_cli.errors import UsageError, WeightsError
from restore_cli.models import get_architecture
from restore_cli.weights.entry import WeightsEntry, entry_to_json
from restore_cli.weights.load import LoadedWeights

ENTRY_FILE = "entry.json"
NETWORKS = ("compact", "fbcnn", "nafnet", "rrdbnet", "span", "unet")
"""Architectures whose arithmetic torch follows for all sizes at once: convolutions, no windows.

DRUNet is none of them, since it must be told the level of noise.
"""

_LARGEST_SIDE = 1 << 14
_TRACED_UNITS = (2, 3)
_LEAST_SIDE = 16


class _Plain(nn.Module):
    """Take the image alone, under a name that the program's input has."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        restored: Tensor = self.network(image)
        return restored


def program_file(weights: LoadedWeights, entry: WeightsEntry) -> tuple[bytes, nn.Module]:
    """Return the bytes of a .pt2 file, and what its own reader makes of them.

    Args:
        weights: The network.
        entry: What the file is to say of itself.

    Raises:
        UsageError: If networks of its kind cannot be exported so.
        WeightsError: If torch cannot follow this one.
    """
    if entry.arch not in NETWORKS:
        msg = f"{weights.entry.id} is of {entry.arch}, whose sizes torch.export cannot leave open"
        raise UsageError(msg, hint=f"those of {', '.join(NETWORKS)} can be exported; --to safetensors takes every one")
    arch = get_architecture(entry.arch).of(weights.config)
    unit = arch.multiple_of
    sides = [torch.export.Dim(name, min=1, max=_LARGEST_SIDE // unit) for name in ("rows", "columns")]
    open_sides = {axis: side if unit == 1 else unit * side for axis, side in zip((2, 3), sides, strict=True)}
    height, width = (count * unit * -(-_LEAST_SIDE // unit) for count in _TRACED_UNITS)
    image = torch.zeros((1, arch.channels_in(weights.config), height, width))
    buffer = io.BytesIO()
    try:
        with torch.no_grad():
            program = torch.export.export(
                _Plain(weights.network), (image,), dynamic_shapes={"image": open_sides}, strict=False
            )
        torch.export.save(program, buffer, extra_files={ENTRY_FILE: json.dumps(entry_to_json(entry), sort_keys=True)})
    except Exception as error:  # torch raises whatever its tracing stumbles over
        first = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise WeightsError(f"torch.export cannot follow {weights.entry.id}: {first}") from error
    data = buffer.getvalue()
    return data, torch.export.load(io.BytesIO(data)).module()

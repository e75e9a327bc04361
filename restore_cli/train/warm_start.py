"""Start a network from another's weights: of another factor, of colour for gray, of the same kind.

What fits is copied. The few tensors whose shape follows the scale or the number of image channels are turned into what
does the same work as nearly as can be, which is a far better start than chance: a body trained for x2 with a head that
already knows where edges are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from restore_cli.errors import TrainingError
from restore_cli.train.checkpoint import BEST, read_checkpoint
from restore_cli.weights.load import entry_from_file, load_weights
from restore_cli.weights.manifest import load_manifest

INPUT, HEAD, FINAL = "shallow.conv", "to_target.conv", "to_target.final_conv"


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """What became of a network's parameters.

    Attributes:
        copied: Names of tensors taken as they were.
        adapted: Names of those turned into another shape.
        left: Names of those that stayed as they were initialised.
    """

    copied: tuple[str, ...]
    adapted: tuple[str, ...]
    left: tuple[str, ...]


def warm_start(network: nn.Module, source: str, *, scale: int, channels: int) -> WarmStart:
    """Fill a network from a weights file, a run's folder or a weights id.

    Raises:
        TrainingError: If the source is none of these, or fits in less than half of the tensors.
    """
    found = read_source(source)
    own = network.state_dict()
    copied: list[str] = []
    adapted: list[str] = []
    left: list[str] = []
    for name, tensor in own.items():
        given = found.get(name)
        if given is None:
            left.append(name)
        elif given.shape == tensor.shape:
            tensor.copy_(given)
            copied.append(name)
        elif (turned := _adapt(name, given, tensor.shape, scale, channels)) is not None:
            tensor.copy_(turned)
            adapted.append(name)
        else:
            left.append(name)
    if 2 * len(left) > len(own):
        raise TrainingError(
            f"{source} is of another network: {len(left)} of {len(own)} tensors do not fit, {left[0]} for one",
            hint="start from weights of the same recipe family",
        )
    network.load_state_dict(own, strict=True)
    return WarmStart(copied=tuple(copied), adapted=tuple(adapted), left=tuple(left))


def read_source(source: str) -> Mapping[str, torch.Tensor]:
    """Return the state dict of a weights file, of a run's best checkpoint, or of a weights id.

    Raises:
        TrainingError: If the source is none of these.
        WeightsError: If the weights cannot be loaded.
    """
    path = Path(source)
    if path.is_dir() or path.suffix == ".pt":
        content = read_checkpoint(path / BEST if path.is_dir() else path)
        network: Mapping[str, torch.Tensor] = content.get("averaged", content["network"])
        return network
    if path.is_file():
        entry = entry_from_file(path)
        if entry is None:
            raise TrainingError(
                f"{path} does not say which network it is of", hint="give a file that `restore train export` wrote"
            )
        return load_weights(entry, path).network.state_dict()
    return load_weights(load_manifest().get(source)).network.state_dict()


def _adapt(name: str, given: torch.Tensor, shape: torch.Size, scale: int, channels: int) -> torch.Tensor | None:
    """Turn a tensor that follows the scale or the channels into `shape`, None where nobody knows how."""
    stem = name.rsplit(".", 1)[0]
    if stem not in {INPUT, HEAD, FINAL}:
        return None
    turned = given
    if turned.dim() == 4 and stem in {INPUT, FINAL} and turned.shape[1] != shape[1]:
        # A gray picture is three equal channels: their weights add up. The other way each channel has its share.
        turned = turned.sum(1, keepdim=True) if shape[1] == 1 else turned.expand(-1, shape[1], -1, -1) / shape[1]
    if stem == FINAL and turned.shape[0] != shape[0]:
        turned = turned.mean(0, keepdim=True) if shape[0] == 1 else turned.repeat(shape[0], *[1] * (turned.dim() - 1))
    if stem == HEAD:
        turned = _adapt_head(turned, shape[0], scale, channels)
    return turned if turned.shape == shape else None


def _adapt_head(given: torch.Tensor, outputs: int, scale: int, channels: int) -> torch.Tensor:
    """Give each subpixel of the new factor the filter of the old subpixel nearest to it."""
    old_channels = 3 if given.shape[0] % 3 == 0 else 1
    old_scale = round((given.shape[0] // old_channels) ** 0.5)
    if old_channels * old_scale**2 != given.shape[0] or channels * scale**2 != outputs:
        return given
    grid = given.view(old_channels, old_scale, old_scale, *given.shape[1:])
    if old_channels != channels:
        grid = grid.mean(0, keepdim=True) if channels == 1 else grid.repeat(channels, *[1] * (grid.dim() - 1))
    nearest = (torch.arange(scale) * old_scale) // scale
    return grid[:, nearest][:, :, nearest].reshape(outputs, *given.shape[1:])

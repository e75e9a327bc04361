"""Small networks with known answers, in place of trained ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)

from restore_cli.layers.bands import Execution
from restore_cli.models import Arch
from restore_cli.models.ramit.config import Config

UNIT = 8


def toy_arch(*, global_attention: bool = False, in_bands: bool = False, dtypes: tuple[str, ...] = ("float32",)) -> Arch:
    """Facts of a toy; configuration and builder are not asked for by the engine."""
    return Arch(
        name="toy",
        config=Config,
        build=lambda _: nn.Identity(),
        multiple_of=UNIT,
        global_attention=global_attention,
        in_bands=in_bands,
        infer=_infer if in_bands else None,
        dtypes=dtypes,
        paper="none",
    )


def _infer(network: nn.Module, x: Tensor, execution: Execution | None) -> Tensor:
    restored: Tensor = network(x) if execution is None else network(x, execution)
    return restored


class Convolutions(nn.Module):
    """A stack of 3x3 convolutions that keeps to [0, 1]; its receptive field reaches `depth` pixels to each side."""

    def __init__(self, *, depth: int = 2, channels: int = 3, scale: int = 1) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(depth)
        self.scale = scale
        self.weights = [
            torch.rand(channels, channels, 3, 3, generator=generator) / (9 * channels / 2) for _ in range(depth)
        ]

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-1] % UNIT == x.shape[-2] % UNIT == 0
        for weight in self.weights:
            x = F.conv2d(x, weight.to(x), padding=1)
        return x.clamp(0, 1).repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)


class ImageMean(nn.Module):
    """Answers with the mean of what it sees, as global statistics do."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3), keepdim=True).expand_as(x).clone()


class Recorder(nn.Module):
    """Returns its input and remembers the shapes it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.shapes.append(tuple(x.shape))
        return x.clone()


class OutOfMemoryAbove(Recorder):
    """Returns its input, but runs out of memory on more than `pixels` at once, or once `after` runs have succeeded."""

    def __init__(self, pixels: int, error: Exception, *, after: int = 0) -> None:
        super().__init__()
        self.pixels = pixels
        self.error = error
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        restored: Any = super().forward(x)
        if x.shape[-2] * x.shape[-1] > self.pixels and len(self.shapes) > self.after:
            raise self.error
        return restored


class InBands(nn.Module):
    """Returns its input, remembers how it was run, and runs out of memory in bands of more than `rows`."""

    def __init__(self, *, rows: int = 10**9, pixels: int = 10**9) -> None:
        super().__init__()
        self.rows, self.pixels = rows, pixels
        self.runs: list[Execution | None] = []

    def forward(self, x: Tensor, execution: Execution | None = None) -> Tensor:
        self.runs.append(execution)
        too_large = (
            x.shape[-2] * x.shape[-1] > self.pixels
            if execution is None
            else execution.rows is None or execution.rows > self.rows
        )
        if too_large:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return x.clone()

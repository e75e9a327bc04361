"""SRVGGNetCompact, the small upscaler of Real-ESRGAN's general and anime video models, and of many made after it.

Stage 5, RUN. Paper: Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data"
(arXiv 2107.10833), whose authors released the network later: convolutions at the input's size, one after the other, and
one that gives all pixels of the output, added to the enlarged input. Origin of the published checkpoints:
xinntao/Real-ESRGAN, BSD-3-Clause; this file is written from a description and keeps the checkpoints' keys, so that they
load without conversion.

What differs from the origin, and why: in inference an image stays whole and is run in bands, few layers at a time.

Letters: N batch, C = `dim` channels, H W size of the input.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)

from restore_cli.layers.bands import Execution
from restore_cli.layers.stages import over_bands
from restore_cli.layers.tensors import require_images
from restore_cli.models import Arch, JsonConfig, Shapes

Activation = Literal["prelu", "relu", "leakyrelu"]

_ACTIVATIONS = ("prelu", "relu", "leakyrelu")
_SLOPE = 0.1
_TOGETHER = 4  # convolutions that a band goes through before the next: as many rows are computed twice


@dataclass(frozen=True, kw_only=True)
class Config(JsonConfig):
    """Describe one network completely.

    Attributes:
        dim: Channels C.
        convolutions: How many there are between the first and the last.
        activation: What stands behind all but the last: "prelu", "relu" or "leakyrelu".
        scale: Factor from input to output size.
        channels: Image channels, 1 or 3.
    """

    NETWORK: ClassVar[str] = "SRVGGNetCompact"

    dim: int = 64
    convolutions: int = 32
    activation: Activation = "prelu"
    scale: int = 4
    channels: int = 3

    def __post_init__(self) -> None:
        """Refuse what no network can be built from.

        Raises:
            ValueError: If a number is not positive, the activation unknown, or the channels are not 1 or 3.
        """
        self._require(
            (min(self.dim, self.convolutions, self.scale) > 0, "dim, convolutions and scale must be positive"),
            (self.activation in _ACTIVATIONS, f"activation must be one of {', '.join(_ACTIVATIONS)}"),
            (self.channels in (1, 3), "channels must be 1 or 3"),
        )

    @classmethod
    def tiny(cls) -> Self:
        """Return a configuration that builds and runs in milliseconds."""
        return cls(dim=8, convolutions=5, scale=2)


class SRVGGNetCompact(nn.Module):
    """Enlarge an image by plain convolutions at its own size.

    Args:
        config: All that describes it.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        dim = config.dim
        layers: list[nn.Module] = []
        for number in range(config.convolutions + 1):
            layers += [nn.Conv2d(dim if number else config.channels, dim, 3, padding=1), _activation(config)]
        self.body = nn.ModuleList([*layers, nn.Conv2d(dim, config.channels * config.scale**2, 3, padding=1)])

    def forward(self, x: Tensor) -> Tensor:
        """Restore a batch.

        Args:
            x: (N, channels, H, W) in [0, 1].

        Returns:
            (N, channels, scale * H, scale * W), not clipped.

        Raises:
            ValueError: If the channels do not fit or there are no pixels.
        """
        features = self.start(x)
        for layer in list(self.body)[2:-1]:
            features = layer(features)
        return self.finish(features, x)

    def start(self, x: Tensor) -> Tensor:
        """Return the first features of a batch as `forward` takes it, (N, C, H, W)."""
        require_images(x, "SRVGGNetCompact", self.config.channels)
        features: Tensor = self.body[1](self.body[0](x.contiguous(memory_format=torch.channels_last)))
        return features

    def finish(self, features: Tensor, x: Tensor) -> Tensor:
        """Turn the last features into the image, on top of the enlarged input."""
        scale = self.config.scale
        out = F.pixel_shuffle(self.body[-1](features), scale)
        return out + F.interpolate(x, scale_factor=float(scale), mode="nearest")


def restore_in_bands(network: nn.Module, x: Tensor, execution: Execution | None) -> Tensor:
    """Run the network a few layers at a time in bands of rows: the pixels of `forward` from one map of features.

    Args:
        network: An `SRVGGNetCompact`.
        x: As `forward` takes it.
        execution: The rows of a band; None for the usual ones.
    """
    if not isinstance(network, SRVGGNetCompact):
        raise TypeError("this runs SRVGGNetCompacts only")
    rows = None if execution is None else execution.rows
    features = network.start(x)
    layers = list(network.body)[2:-1]
    for first in range(0, len(layers), 2 * _TOGETHER):
        stage = nn.Sequential(*layers[first : first + 2 * _TOGETHER])
        over_bands(stage, features, halo=_TOGETHER, rows=rows, into=features)
    return over_bands(network.finish, features, x, halo=1, rows=rows, scale=network.config.scale)


def footprint(config: Config) -> tuple[float, float, float]:
    """Return what a float32 run in bands holds, see `Arch.footprint`."""
    pixels = config.channels * config.scale**2
    return 0.0, 4.0 * (2 * config.dim + config.channels + pixels), 4.0 * (3 * config.dim + 4 * pixels)


def recognise(shapes: Shapes, task: str | None) -> Config | None:
    """Return the configuration of the network whose file holds tensors of these names and shapes, None for another.

    Args:
        shapes: Of all tensors of a file.
        task: Without meaning here: the network is the same for all.
    """
    del task
    numbers = {key.split(".")[1] for key in shapes if key.startswith("body.")}
    if len(numbers) < 2 or not all(number.isdecimal() for number in numbers):
        return None
    if any(key.split(".")[2:] not in (["weight"], ["bias"]) for key in shapes):
        return None
    weights = {int(number): shapes.get(f"body.{number}.weight", ()) for number in numbers}
    first, last = weights.get(0, ()), weights[max(weights)]
    if len(first) != 4 or len(last) != 4 or max(weights) % 2:
        return None
    return Config(
        dim=first[0],
        convolutions=max(weights) // 2 - 1,
        activation="prelu" if len(weights.get(1, ())) == 1 else "relu",  # a leaky one leaves no trace either
        scale=math.isqrt(last[0] // first[1]),
        channels=first[1],
    )


def _activation(config: Config) -> nn.Module:
    if config.activation == "prelu":
        return nn.PReLU(config.dim)
    return nn.ReLU() if config.activation == "relu" else nn.LeakyReLU(_SLOPE)


ARCH = Arch(
    name="compact",
    config=Config,
    build=SRVGGNetCompact,
    multiple_of=1,
    global_attention=False,
    infer=restore_in_bands,
    in_bands=True,
    footprint=footprint,
    paper="Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data, arXiv 2107.10833",
    recognise=recognise,
)

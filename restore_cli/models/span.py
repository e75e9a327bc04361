"""SPAN, a small upscaler whose attention has no parameters: the published checkpoints and what others trained.

Stage 5, RUN. Paper: Wan et al., "Swift Parameter-free Attention Network for Efficient Super-Resolution" (arXiv
2311.12770, section 3 and figure 2). Origin of the published checkpoints: hongyuanyu/SPAN, Apache-2.0; this file is
written from the paper and the files' keys.

What differs from the origin, and why:
- Each convolution was trained as a sum of two ways, a 1x1 one and a chain of 1x1, 3x3 and 1x1. Both are linear, so they
  are fused into one 3x3 convolution when a file is read, not at every call. Files that hold the fused form alone are
  read too; where both are there, the branches count, since the fused form may be older than the last step.
- In inference an image stays whole and is run in bands, block by block.

Some files were trained on pixels in [0, 1], others less a mean and times 255, and most do not say which: `mean` and
`img_range` are fields of the configuration.

Letters: N batch, C = `dim` channels, H W size of the input.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)

from restore_cli.layers.bands import Execution
from restore_cli.layers.stages import over_bands
from restore_cli.layers.tensors import require_images
from restore_cli.models import Arch, JsonConfig, Shapes

_BLOCKS = 6
_BLOCK_HALO = 3
_TAIL_HALO = _BLOCK_HALO + 2  # the last block, conv_2 and the upsampler
_UNNORMALISED = "no_norm"  # a tensor of this name in a file says that its network takes pixels as they are
_MEAN = (0.4488, 0.4371, 0.4040)


@dataclass(frozen=True, kw_only=True)
class Config(JsonConfig):
    """Describe one network completely.

    Attributes:
        dim: Channels C.
        scale: Factor from input to output size.
        channels: Image channels, 1 or 3.
        mean: What is taken off each channel of the input.
        img_range: What the input is multiplied by then.
    """

    NETWORK: ClassVar[str] = "SPAN"

    dim: int = 48
    scale: int = 4
    channels: int = 3
    mean: tuple[float, ...] = _MEAN
    img_range: float = 255.0

    def __post_init__(self) -> None:
        """Refuse what no network can be built from.

        Raises:
            ValueError: If a number is not positive, the channels are not 1 or 3, or the mean has not one a channel.
        """
        self._require(
            (min(self.dim, self.scale, self.img_range) > 0, "dim, scale and img_range must be positive"),
            (self.channels in (1, 3), "channels must be 1 or 3"),
            (len(self.mean) == self.channels, "mean must have one number a channel"),
        )

    @classmethod
    def tiny(cls) -> Self:
        """Return a configuration that builds and runs in milliseconds."""
        return cls(dim=8, scale=2, img_range=1.0)


class Block(nn.Module):
    """Run three convolutions and weigh their sum with the input by what they found, without parameters (SPAB)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.c1_r, self.c2_r, self.c3_r = (nn.Conv2d(dim, dim, 3, padding=1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, H, W) of the same shape."""
        return self.rest(x, self.first(x))

    def first(self, x: Tensor) -> Tensor:
        """Return what the first convolution gives, activated."""
        return F.silu(self.c1_r(x))

    def rest(self, x: Tensor, first: Tensor) -> Tensor:
        """Return what the block makes of its input and of `first`."""
        out = self.c3_r(F.silu(self.c2_r(first)))
        weighed: Tensor = (out + x) * (torch.sigmoid(out) - 0.5)
        return weighed


class SPAN(nn.Module):
    """Enlarge an image by six blocks of parameter-free attention.

    Args:
        config: All that describes it.
    """

    mean: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        dim = config.dim
        self.register_buffer("mean", torch.tensor(config.mean).view(1, -1, 1, 1), persistent=False)
        self.conv_1 = nn.Conv2d(config.channels, dim, 3, padding=1)
        for number in range(1, _BLOCKS + 1):
            self.add_module(f"block_{number}", Block(dim))
        self.conv_2 = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv_cat = nn.Conv2d(4 * dim, dim, 1)
        self.upsampler = nn.Sequential(
            nn.Conv2d(dim, config.channels * config.scale**2, 3, padding=1), nn.PixelShuffle(config.scale)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Restore a batch.

        Args:
            x: (N, channels, H, W) in [0, 1].

        Returns:
            (N, channels, scale * H, scale * W), not clipped.

        Raises:
            ValueError: If the channels do not fit or there are no pixels.
        """
        shallow = self.start(x)
        first = features = self.block(1)(shallow)
        for number in range(2, _BLOCKS):
            features = self.block(number)(features)
        return self.finish(features, first, shallow)

    def block(self, number: int) -> Block:
        """Return a block, counted from 1."""
        block: Block = self.get_submodule(f"block_{number}")  # type: ignore[assignment]  # that is what was added
        return block

    def start(self, x: Tensor) -> Tensor:
        """Return the first features of a batch as `forward` takes it, (N, C, H, W)."""
        require_images(x, "SPAN", self.config.channels)
        normalised = (x - self.mean) * self.config.img_range
        features: Tensor = self.conv_1(normalised.contiguous(memory_format=torch.channels_last))
        return features

    def finish(self, features: Tensor, first: Tensor, shallow: Tensor) -> Tensor:
        """Run the last block and join all into the image; `first` is what the first block gave."""
        last = self.block(_BLOCKS)
        within = last.first(features)
        out = self.conv_2(last.rest(features, within))
        restored: Tensor = self.upsampler(self.conv_cat(torch.cat((shallow, out, first, within), 1)))
        return restored


def restore_in_bands(network: nn.Module, x: Tensor, execution: Execution | None) -> Tensor:
    """Run the network block by block in bands of rows: the pixels of `forward` from three maps of features.

    Args:
        network: A `SPAN`.
        x: As `forward` takes it.
        execution: The rows of a band; None for the usual ones.
    """
    if not isinstance(network, SPAN):
        raise TypeError("this runs SPANs only")
    rows = None if execution is None else execution.rows
    shallow = network.start(x)
    first = over_bands(network.block(1), shallow, halo=_BLOCK_HALO, rows=rows)
    features = first.clone()
    for number in range(2, _BLOCKS):
        over_bands(network.block(number), features, halo=_BLOCK_HALO, rows=rows, into=features)
    maps = (features, first, shallow)
    return over_bands(network.finish, *maps, halo=_TAIL_HALO, rows=rows, scale=network.config.scale)


def footprint(config: Config) -> tuple[float, float, float]:
    """Return what a float32 run in bands holds, see `Arch.footprint`."""
    pixels = config.channels * config.scale**2
    return 0.0, 4.0 * (3 * config.dim + 3 * config.channels + pixels), 4.0 * (12 * config.dim + 3 * pixels)


def convert_state_dict(official: Mapping[str, Any]) -> dict[str, Any]:
    """Fuse the ways of every convolution that a file holds apart, and name it as ours.

    Raises:
        ValueError: If only some of a convolution's ways are there.
    """
    ways = sorted({key.removesuffix(".sk.weight") for key in official if key.endswith(".sk.weight")})
    fused = {f"{name}.{part}": tensor for name in ways for part, tensor in _fused(official, name).items()}
    names = {key.replace(".eval_conv.", "."): key for key in official if _is_plain(key) and key != _UNNORMALISED}
    return {**{name: official[key] for name, key in names.items()}, **fused}


def recognise(shapes: Shapes, task: str | None) -> Config | None:
    """Return the configuration of the SPAN whose file holds tensors of these names and shapes, None for no SPAN.

    Args:
        shapes: Of all tensors of a file.
        task: Without meaning here: the network is the same for all.
    """
    del task
    names = {key.replace(".eval_conv.", ".").replace(".sk.", "."): shape for key, shape in shapes.items()}
    first, last = names.get("conv_1.weight", ()), names.get("upsampler.0.weight", ())
    is_span = all(f"block_{number}.c3_r.weight" in names for number in range(1, _BLOCKS + 1))
    if not is_span or "conv_cat.weight" not in names or len(first) != 4 or len(last) != 4:
        return None
    plain = _UNNORMALISED in shapes
    channels = first[1]
    return Config(
        dim=first[0],
        scale=math.isqrt(last[0] // channels),
        channels=channels,
        mean=(0.0,) * channels if plain or channels != len(_MEAN) else _MEAN,
        img_range=1.0 if plain else 255.0,
    )


def _is_plain(key: str) -> bool:
    """Return whether a tensor is of no way of a convolution that is fused."""
    return ".sk." not in key and ".conv." not in key


def _fused(official: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return weight and bias of the 3x3 convolution that does what a convolution's two ways do together.

    The chain sees zeros around the image before its first 1x1 convolution, so the biases need no care at the border.
    """
    try:
        (w0, b0), (w1, b1), (w2, b2), (shortcut, bias) = (
            (official[f"{name}.{way}.weight"].double(), official[f"{name}.{way}.bias"].double())
            for way in ("conv.0", "conv.1", "conv.2", "sk")
        )
    except KeyError as error:
        raise ValueError(f"it lacks {error.args[0]}") from error
    weight = torch.einsum("om,mnyx,ni->oiyx", w2[:, :, 0, 0], w1, w0[:, :, 0, 0])
    weight[:, :, 1, 1] += shortcut[:, :, 0, 0]
    chained = w2[:, :, 0, 0] @ (w1.sum((2, 3)) @ b0 + b1) + b2
    return {"weight": weight.float(), "bias": (chained + bias).float()}


ARCH = Arch(
    name="span",
    config=Config,
    build=SPAN,
    multiple_of=1,
    global_attention=False,
    infer=restore_in_bands,
    in_bands=True,
    footprint=footprint,
    paper="Swift Parameter-free Attention Network for Efficient Super-Resolution, arXiv 2311.12770",
    block=Block,
    convert_state_dict=convert_state_dict,
    recognise=recognise,
)

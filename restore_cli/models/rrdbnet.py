"""RRDBNet, the network of ESRGAN, BSRGAN and Real-ESRGAN, which most published upscalers of photos and drawings are.

Stage 5, RUN. Papers: Wang et al., "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks" (arXiv
1809.00219, section 3.1 and figure 4) and "Real-ESRGAN" (arXiv 2107.10833, section 3.3, where x2 and x1 fold squares of
pixels into channels first). Origins of published checkpoints: xinntao/Real-ESRGAN, BSD-3-Clause; cszn/KAIR, Apache-2.0;
this file is written from the papers and the files' keys.

What differs from the origin, and why:
- Files come in three key schemes (Real-ESRGAN's, KAIR's and the first ESRGAN's `model.N`); all are read as the first.
- Sizes must be multiples of `fold`; padding is the caller's, so that one padder serves every network.
- In inference an image stays whole and is run in bands, block by block: training against a critic amplifies small
  differences, and tiles of it would differ visibly where they meet.

Letters: N batch, C = `dim` channels, G = `growth` channels, H W size of the features.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)

from restore_cli.layers.bands import Execution, usual_rows
from restore_cli.layers.stages import over_bands
from restore_cli.layers.tensors import cat_channels, require_images
from restore_cli.models import Arch, JsonConfig, Shapes

_SLOPE = 0.2  # of every leaky ReLU
_RESIDUAL = 0.2  # share of what a dense block, and a block of three, add to their input
_DENSE = 5  # convolutions of a dense block
_MOST_DOUBLINGS = 3
_TAIL_HALO = 3  # conv_body looks at one row, what follows at less than two: the larger the map, the shorter its rows


@dataclass(frozen=True, kw_only=True)
class Config(JsonConfig):
    """Describe one network completely.

    Attributes:
        dim: Channels between the blocks.
        growth: Channels that each convolution of a dense block adds.
        blocks: Blocks of three dense blocks each.
        fold: Side of the squares of pixels that become channels before the first layer; 1 for none.
        doublings: How many times the features are enlarged by 2 behind the blocks.
        channels: Image channels, 1 or 3.
    """

    NETWORK: ClassVar[str] = "RRDBNet"

    dim: int = 64
    growth: int = 32
    blocks: int = 23
    fold: int = 1
    doublings: int = 2
    channels: int = 3

    def __post_init__(self) -> None:
        """Refuse what no network can be built from.

        Raises:
            ValueError: If a number is not positive, the channels are not 1 or 3, or the output were smaller.
        """
        self._require(
            (min(self.dim, self.growth, self.blocks) > 0, "dim, growth and blocks must be positive"),
            (self.fold in (1, 2, 4), "fold must be 1, 2 or 4"),
            (0 <= self.doublings <= _MOST_DOUBLINGS, f"doublings must be 0 to {_MOST_DOUBLINGS}"),
            (1 << max(0, self.doublings) >= self.fold, "the output must not be smaller"),
            (self.channels in (1, 3), "channels must be 1 or 3"),
        )

    @property
    def scale(self) -> int:
        """Return the factor from input to output size."""
        return (1 << self.doublings) // self.fold

    @classmethod
    def tiny(cls) -> Self:
        """Return a configuration that builds and runs in milliseconds."""
        return cls(dim=8, growth=4, blocks=2, fold=2)


class DenseBlock(nn.Module):
    """Run five 3x3 convolutions, each on all that came before it, and add a share of the last to the input."""

    def __init__(self, dim: int, growth: int) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3, self.conv4, self.conv5 = (
            nn.Conv2d(dim + i * growth, growth if i < _DENSE - 1 else dim, 3, padding=1) for i in range(_DENSE)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, H, W) of the same shape."""
        known = x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            known = cat_channels((known, _leaky(conv(known))))
        out: Tensor = self.conv5(known) * _RESIDUAL + x
        return out


class Block(nn.Module):
    """Run three dense blocks and add a share of the last to the input (residual in residual dense block)."""

    def __init__(self, dim: int, growth: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (DenseBlock(dim, growth) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, H, W) of the same shape."""
        out: Tensor = self.rdb3(self.rdb2(self.rdb1(x))) * _RESIDUAL + x
        return out


class RRDBNet(nn.Module):
    """Enlarge an image by dense blocks at its own size and convolutions at the sizes on the way up.

    Args:
        config: All that describes it.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        dim = config.dim
        self.conv_first = nn.Conv2d(config.channels * config.fold**2, dim, 3, padding=1)
        self.body = nn.ModuleList(Block(dim, config.growth) for _ in range(config.blocks))
        self.conv_body = nn.Conv2d(dim, dim, 3, padding=1)
        for number in range(1, config.doublings + 1):
            self.add_module(f"conv_up{number}", nn.Conv2d(dim, dim, 3, padding=1))
        self.conv_hr = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv_last = nn.Conv2d(dim, config.channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Restore a batch.

        Args:
            x: (N, channels, H, W) in [0, 1], H and W multiples of `config.fold`.

        Returns:
            (N, channels, scale * H, scale * W), not clipped.

        Raises:
            ValueError: If the channels or the size do not fit.
        """
        shallow = features = self.head(x)
        for block in self.blocks():
            features = block(features)
        return self.tail(features, shallow)

    def blocks(self) -> list[Block]:
        """Return the blocks in their order."""
        return [block for block in self.body if isinstance(block, Block)]

    def head(self, x: Tensor) -> Tensor:
        """Return the first features of a batch as `forward` takes it, (N, C, H / fold, W / fold)."""
        require_images(x, "RRDBNet", self.config.channels, self.config.fold)
        squares = F.pixel_unshuffle(x, self.config.fold)
        features: Tensor = self.conv_first(squares.contiguous(memory_format=torch.channels_last))
        return features

    def tail(self, features: Tensor, shallow: Tensor) -> Tensor:
        """Turn what the blocks and the first convolution gave into the image."""
        out = shallow + self.conv_body(features)
        for number in range(1, self.config.doublings + 1):
            larger = F.interpolate(out, scale_factor=2.0, mode="nearest")
            out = _leaky(self.get_submodule(f"conv_up{number}")(larger))
        restored: Tensor = self.conv_last(_leaky(self.conv_hr(out)))
        return restored


def restore_in_bands(network: nn.Module, x: Tensor, execution: Execution | None) -> Tensor:
    """Run the network block by block in bands of rows: the pixels of `forward` from four maps of features.

    Args:
        network: An `RRDBNet`.
        x: As `forward` takes it.
        execution: The rows of a band; None for the usual ones.
    """
    if not isinstance(network, RRDBNet):
        raise TypeError("this runs RRDBNets only")
    # Of the features, also where squares of pixels became one of them.
    rows = None if execution is None else execution.rows
    shallow = network.head(x)
    features, inner = shallow.clone(), torch.empty_like(shallow)
    for block in network.blocks():
        over_bands(block.rdb1, features, halo=_DENSE, rows=rows, into=inner)
        over_bands(block.rdb2, inner, halo=_DENSE, rows=rows, into=inner)
        over_bands(block.rdb3, inner, halo=_DENSE, rows=rows, into=inner)
        features.add_(inner, alpha=_RESIDUAL)
    del inner
    # What follows works on maps of so many times as many columns and rows: lower bands hold as much.
    larger = 1 << network.config.doublings
    rows = max(1, (usual_rows(shallow.shape[3]) if rows is None else rows) // larger)
    return over_bands(network.tail, features, shallow, halo=_TAIL_HALO, rows=rows, scale=larger)


def footprint(config: Config) -> tuple[float, float, float]:
    """Return what a float32 run in bands holds, see `Arch.footprint`."""
    number = 4.0
    cells = 1.0 / config.fold**2  # positions of the features a pixel
    maps = 3 * config.dim * cells + config.channels * (1 + config.scale**2)
    # Halos count: a third of a usual band's rows, half of what is enlarged.
    dense = 1.3 * (2 * (config.dim + _DENSE * config.growth) + config.dim) / config.fold
    enlarged = 1.5 * 3 * config.dim * (1 << config.doublings) / config.fold
    return 0.0, number * maps, number * max(dense, enlarged)


def convert_state_dict(official: Mapping[str, Any]) -> dict[str, Any]:
    """Rename the tensors of any of the key schemes to ours, which is Real-ESRGAN's; a name of none stays as it is."""
    names = _old_names(official) if any(key.startswith("model.") for key in official) else _KAIR
    return {_renamed(key, names): tensor for key, tensor in official.items()}


def recognise(shapes: Shapes, task: str | None) -> Config | None:
    """Return the configuration of the RRDBNet whose file holds tensors of these names and shapes, None for no RRDBNet.

    Args:
        shapes: Of all tensors of a file, in any of the key schemes.
        task: Without meaning here: the network is the same for all.
    """
    del task
    found = convert_state_dict(shapes)
    first, last, dense = (found.get(f"{key}.weight") for key in ("conv_first", "conv_last", "body.0.rdb1.conv1"))
    if first is None or last is None or dense is None or any(len(shape) != 4 for shape in (first, last, dense)):
        return None
    return Config(
        dim=first[0],
        growth=dense[0],
        blocks=len({key.split(".")[1] for key in found if key.startswith("body.")}),
        fold=math.isqrt(first[1] // last[0]),
        doublings=sum(re.fullmatch(r"conv_up\d\.weight", key) is not None for key in found),
        channels=last[0],
    )


_KAIR = {
    "RRDB_trunk": "body", "trunk_conv": "conv_body", "HRconv": "conv_hr",
    **{f"upconv{number}": f"conv_up{number}" for number in range(1, _MOST_DOUBLINGS + 1)},
}  # fmt: skip


def _old_names(official: Mapping[str, Any]) -> dict[str, str]:
    """Return the new names of ESRGAN's first scheme, whose layers are numbered; activations count too."""
    numbers = sorted({int(n[1]) for key in official if (n := re.match(r"model\.(\d+)\.(weight|bias)$", key))})
    trunk = max((int(n[1]) for key in official if (n := re.match(r"model\.1\.sub\.(\d+)\.weight$", key))), default=-1)
    ways = [f"conv_up{number}" for number in range(1, max(1, len(numbers) - 2))]
    names = dict(zip((f"model.{n}" for n in numbers), ("conv_first", *ways, "conv_hr", "conv_last"), strict=False))
    return {**names, f"model.1.sub.{trunk}": "conv_body", "model.1.sub": "body"}


def _renamed(key: str, names: Mapping[str, str]) -> str:
    old = max((name for name in names if key.startswith(f"{name}.")), key=len, default=None)
    if old is None:
        return key
    # RDB1.conv1.0.weight in the first scheme, RDB1.conv1.weight in KAIR's
    rest = re.sub(r"\.RDB(\d)\.conv(\d)(\.0)?\.", r".rdb\1.conv\2.", key.removeprefix(old))
    return names[old] + rest


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, _SLOPE, inplace=True)


def _unit_of(config: Config) -> int:
    return config.fold


ARCH = Arch(
    name="rrdbnet",
    config=Config,
    build=RRDBNet,
    multiple_of=Config().fold,
    unit=_unit_of,
    global_attention=False,
    infer=restore_in_bands,
    in_bands=True,
    footprint=footprint,
    paper="Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data, arXiv 2107.10833",
    block=Block,
    convert_state_dict=convert_state_dict,
    recognise=recognise,
)

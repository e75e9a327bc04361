"""What a CrossFormer-IR is, in numbers.

Stage 5, RUN; the network itself is in `network`. A file of its own because nothing in here needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from typing import ClassVar, Self

from restore_cli.models import JsonConfig

MOST_LEVELS = 3
MULTIPLE_OF = 1 << (MOST_LEVELS - 1)
MERGING_KERNELS = (2, 4)


@dataclass(frozen=True, kw_only=True)
class Config(JsonConfig):
    """Describe one CrossFormer-IR completely.

    Attributes:
        dims: Channels C of each level, each level half the size of the one before; at most three.
        depths: Blocks of each stage, down through the levels and up again: one number less than twice the levels.
        num_heads: Heads of each level.
        group_size: Side of an attention group in tokens.
        intervals: Distance of the tokens of a far group, one number a level; 1 leaves only near groups there.
        kernels: Sides of the embedding's kernels, odd, the first with half of the channels.
        fold: Side of the squares of pixels that become channels before the embedding (space to depth); 1 for none. The
            first level is so many times smaller than the input; with the levels below at most four times.
        hidden_ratio: Hidden channels of the feed-forward layer per channel.
        scale: Factor from input to output size.
        channels: Image channels, 1 or 3.
        mean: Mean of each image channel.
        std: Standard deviation of each image channel.
        drop_path: Rate of stochastic depth at the last block, rising linearly from 0; training only.
        image_skip: Start from the identity: the input, enlarged bicubically where `scale` > 1, is added to the output
            and the last convolution starts at zero.
    """

    NETWORK: ClassVar[str] = "CrossFormer-IR"
    LATER: ClassVar[frozenset[str]] = frozenset({"fold"})

    dims: tuple[int, ...] = (64, 96, 128)
    depths: tuple[int, ...] = (4, 2, 2, 2, 4)
    num_heads: tuple[int, ...] = (2, 3, 4)
    group_size: int = 8
    intervals: tuple[int, ...] = (4, 2, 1)
    kernels: tuple[int, ...] = (3, 5, 7, 9)
    fold: int = 1
    hidden_ratio: float = 2.0
    scale: int = 1
    channels: int = 3
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.25, 0.25, 0.25)
    drop_path: float = 0.0
    image_skip: bool = True

    def __post_init__(self) -> None:
        levels = len(self.dims)
        fine = 1 << (max(len(self.kernels), len(MERGING_KERNELS)) - 1)
        self._require(
            (0 < levels <= MOST_LEVELS, f"dims must be 1 to {MOST_LEVELS} numbers"),
            (all(dim > 0 and dim % fine == 0 for dim in self.dims), f"dims must be positive multiples of {fine}"),
            (len(self.depths) == 2 * levels - 1, "depths must be one number less than twice as many as dims"),
            (all(depth > 0 for depth in self.depths), "depths must be positive"),
            (len(self.num_heads) == len(self.intervals) == levels, "num_heads and intervals must be as many as dims"),
            (self._heads_divide(), "num_heads must divide dims"),
            (self.group_size > 1, "group_size must be at least 2"),
            (all(interval > 0 for interval in self.intervals), "intervals must be positive"),
            (all(kernel > 0 and kernel % 2 for kernel in self.kernels), "kernels must be odd"),
            (len(self.kernels) > 0, "kernels must name at least one"),
            (self.fold in (1, 2, 4), "fold must be 1, 2 or 4"),
            (self.unit <= MULTIPLE_OF, f"fold, doubled from level to level, must come to {MULTIPLE_OF} at most"),
            (self.hidden_ratio > 0, "hidden_ratio must be positive"),
            (self.scale >= 1, "scale must be at least 1"),
            (self.channels in (1, 3), "channels must be 1 or 3"),
            (len(self.mean) == len(self.std) == self.channels, "mean and std must have one number a channel"),
            (all(std > 0 for std in self.std), "std must be positive"),
            (0 <= self.drop_path < 1, "drop_path must lie in [0, 1)"),
        )

    @property
    def unit(self) -> int:
        """Return the number that height and width must be multiples of."""
        return self.fold << (len(self.dims) - 1)

    @property
    def region(self) -> int:
        """Return the number of pixels that the regions of all far and near groups divide: none is padded then."""
        sides = (self.fold * self.group_size * interval << level for level, interval in enumerate(self.intervals))
        return lcm(*sides)

    def _heads_divide(self) -> bool:
        pairs = zip(self.dims, self.num_heads, strict=False)
        return all(heads > 0 and dim % heads == 0 for dim, heads in pairs)

    @classmethod
    def tiny(cls) -> Self:
        """Return a configuration that builds and runs in milliseconds."""
        return cls(
            dims=(32, 32, 48), depths=(2, 2, 1, 1, 1), num_heads=(1, 2, 2), group_size=4, intervals=(2, 2, 1),
            scale=2, image_skip=False,
        )  # fmt: skip

"""Everything that describes a U-Net, as a manifest entry holds it.

Stage 5, RUN. No torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, Self, get_args

from restore_cli.models import JsonConfig

Padding = Literal["zeros", "replicate"]
_SCALES = (1, 2, 3, 4)


@dataclass(frozen=True, kw_only=True)
class Config(JsonConfig):
    """Describe one network completely.

    Attributes:
        dims: Channels of each scale, each half the size of the one before.
        depths: Residual blocks of each scale; all but the last have as many on the way down as on the way up.
        fold: Side of the squares of pixels that become channels before the first convolution; 1 for none.
        channels: Image channels, 1 or 3.
        scale: How much larger the output is, 1 to 4.
        image_skip: Start from the identity: the input, enlarged bicubically where `scale` > 1, is added to the output
            and the last convolution starts at zero.
        scene: Lighten the input by curves that follow from how bright the whole image is.
        padding: What convolutions meet beyond the border: "zeros", or "replicate", which leaves a flat image flatter.
        limit: Highest magnitude of a feature behind a residual block, 0 for none. See `network`.
    """

    NETWORK: ClassVar[str] = "UNet"
    LATER: ClassVar[frozenset[str]] = frozenset({"scale", "scene", "padding", "limit"})

    dims: tuple[int, ...] = (64, 96, 128)
    depths: tuple[int, ...] = (2, 2, 4)
    fold: int = 2
    channels: int = 3
    scale: int = 1
    image_skip: bool = True
    scene: bool = False
    padding: Padding = "zeros"
    limit: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no network can be built from.

        Raises:
            ValueError: If a number is not positive, or dims and depths differ in length.
        """
        self._require(
            (len(self.dims) == len(self.depths) > 0, "dims and depths must have the same length"),
            (min((self.fold, *self.dims, *self.depths)) > 0, "fold, dims and depths must be positive"),
            (self.scale in _SCALES, "scale must be 1 to 4"),
            (self.padding in get_args(Padding), "padding must be zeros or replicate"),
            (self.channels in (1, 3), "channels must be 1 or 3"),
            (0.0 <= self.limit < math.inf, "limit must not be negative or infinite"),
        )

    @property
    def unit(self) -> int:
        """Return what height and width must be multiples of."""
        return self.fold << (len(self.dims) - 1)

    @classmethod
    def tiny(cls) -> Self:
        """Return a configuration that builds and runs in milliseconds."""
        return cls(dims=(8, 8, 8), depths=(1, 1, 1), image_skip=False)

"""How CrossFormer-IR is trained: which of its numbers a recipe chooses, and in what sizes.

First stage of training, ASK. A recipe knows its task, factor and channels; together with these numbers they make the
network's whole configuration. Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from restore_cli.models import Preset
from restore_cli.models.crossformer_ir.config import Config


@dataclass(frozen=True, kw_only=True)
class Network:
    """Choose a CrossFormer-IR.

    Attributes:
        arch: Folder in models/.
        dims: Feature channels of each level.
        depths: Blocks of each stage, down and up again.
        num_heads: Attention heads of each level.
        fold: Side of the squares of pixels that become channels at first.
        intervals: Distance of the tokens of each level's far groups.
        drop_path: Rate of stochastic depth at the last block.
    """

    arch: Literal["crossformer_ir"] = "crossformer_ir"
    dims: tuple[int, ...] = (64, 96, 128)
    depths: tuple[int, ...] = (4, 2, 2, 2, 4)
    num_heads: tuple[int, ...] = (2, 3, 4)
    fold: int = 1
    intervals: tuple[int, ...] = (4, 2, 1)
    drop_path: float = 0.0

    def config(self, *, task: str, scale: int, channels: int) -> Config:  # noqa: ARG002  (one signature for all)
        """Return the configuration for a task."""
        return Config(
            dims=self.dims,
            depths=self.depths,
            num_heads=self.num_heads,
            fold=self.fold,
            intervals=self.intervals,
            drop_path=self.drop_path,
            scale=scale,
            channels=channels,
            mean=(0.5,) * channels,
            std=(0.25,) * channels,
        )


# As long a step on one CPU thread as ramit-lite's. For blur, which reaches far, at a quarter of the size alone.
PRESETS = (
    Preset(
        family="crossformer-lite",
        network=Network(dims=(48, 96, 128), depths=(2, 2, 2, 2, 2), num_heads=(1, 2, 4)),
        batch=8,
        patch=32,
        rate=1e-3,
        steps=10_000,
        deblurring=Network(dims=(96,), depths=(6,), num_heads=(2,), fold=4, intervals=(2,)),
    ),
    Preset(family="crossformer-ir", network=Network(), batch=64, patch=64, rate=5e-4, steps=100_000),
)

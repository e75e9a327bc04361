"""How RAMiT is trained: which of its numbers a recipe chooses, and in what sizes.

First stage of training, ASK. A recipe knows its task, factor and channels; together with these numbers they make the
network's whole configuration. Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from restore_cli.models import Preset
from restore_cli.models.ramit.config import Config


@dataclass(frozen=True, kw_only=True)
class Network:
    """Choose a RAMiT.

    Attributes:
        arch: Folder in models/.
        variant: A published variant ("ramit", "ramit-1", "ramit-slim-sr", ...); the fields below are for our own.
        dim: Feature channels.
        depths: Blocks of the four stages.
        num_heads: Attention heads of a block; few wide ones train several times faster on a CPU than many narrow ones.
        chsa_head_ratio: Share of heads that attend over channels.
        mv_ver: Version of MobiVari.
        drop_path: Rate of stochastic depth at the last block.
        fold: Side of the squares of pixels that become channels at first.
    """

    arch: Literal["ramit"] = "ramit"
    variant: str | None = None
    dim: int = 64
    depths: tuple[int, int, int, int] = (2, 1, 1, 2)
    num_heads: int = 2
    chsa_head_ratio: float = 0.5
    mv_ver: int = 1
    drop_path: float = 0.0
    fold: int = 1

    def config(self, *, task: str, scale: int, channels: int) -> Config:
        """Return the configuration for a task."""
        if self.variant is not None:
            return Config.variant(self.variant, task=task, scale=scale, channels=channels)
        return Config(
            dim=self.dim,
            depths=self.depths,
            num_heads=self.num_heads,
            chsa_head_ratio=self.chsa_head_ratio,
            mv_ver=self.mv_ver,
            drop_path=self.drop_path,
            scale=scale,
            channels=channels,
            mean=(0.5,) * channels,
            std=(0.25,) * channels,
            image_skip=True,
            fold=self.fold,
        )


PRESETS = (
    Preset(
        family="ramit-lite",
        network=Network(),
        batch=8,
        patch=32,
        rate=1e-3,
        steps=10_000,
        deblurring=Network(dim=96, fold=4),
        is_default=True,
    ),
)

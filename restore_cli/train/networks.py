"""Which network a recipe trains: the few numbers that tell one from another, one class an architecture.

First stage of training, ASK. A recipe knows its task, factor and channels; together with these numbers they make the
network's whole configuration. Imports no torch until that is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from restore_cli.models import Config


@dataclass(frozen=True, kw_only=True)
class RamitNetwork:
    """Choose a RAMiT.

    Attributes:
        arch: File in models/.
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
        """Return the configuration for a task (imports torch)."""
        from restore_cli.models.ramit.config import Config

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


@dataclass(frozen=True, kw_only=True)
class CrossFormerNetwork:
    """Choose a CrossFormer-IR.

    Attributes:
        arch: File in models/.
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
        """Return the configuration for a task (imports torch)."""
        from restore_cli.models.crossformer_ir.config import Config

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


Network = RamitNetwork | CrossFormerNetwork


def network_from_json(values: Mapping[str, Any]) -> Network:
    """Build from the object that `dataclasses.asdict` made, read back from JSON; RAMiT where no `arch` is named.

    Raises:
        TypeError: If a field is unknown.
    """
    plain: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in values.items()}
    return CrossFormerNetwork(**plain) if plain.get("arch") == "crossformer_ir" else RamitNetwork(**plain)

"""What a CrossFormer is, in numbers: its configuration, the published ones, and its cost in multiply-adds.

Stage 5, RUN; the network itself is in `network`. A file of its own because nothing in here needs torch.

Letters: C = channels of a stage, H W size of its map, G side of a group, h heads, p width of the position bias's MLP.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from restore_cli.layers.cross_scale import share_channels
from restore_cli.models import JsonConfig


@dataclass(frozen=True, kw_only=True)
class Config(JsonConfig):
    """Describe one CrossFormer completely; the names are those of the origin's constructor.

    Attributes:
        img_size: Side of the images it was trained on; any size of at least `least_size` goes in.
        patch_size: Sides of the embedding's kernels; all step by the first.
        in_chans: Image channels, 1 or 3.
        num_classes: Classes told apart; 0 leaves the features.
        embed_dim: Channels of the first stage, doubled from stage to stage.
        depths: Blocks of each stage.
        num_heads: Heads of each stage.
        group_size: Side G of each stage's groups.
        crs_interval: Interval I of each stage's far groups.
        mlp_ratio: Hidden channels of each stage's MLP per channel.
        qkv_bias: Bias of the query, key and value projection.
        qk_scale: Factor of the logits; 0 for d^-0.5.
        drop_rate: Rate of dropout behind the embedding, the attention and the MLP's layers; training only.
        attn_drop_rate: Rate of dropout on the attention; training only.
        drop_path_rate: Rate of stochastic depth at the last block, rising linearly from 0; training only.
        patch_norm: Normalise the embedding.
        use_checkpoint: Compute each block again in the backward pass, to save memory.
        merge_size: Sides of the kernels between each two stages.
        use_acl: Cool activations by a depthwise convolution in every third block but a stage's last (the ++ networks).
        pad_type: Where maps are padded: 0 below and to the right, 1 half above and to the left.
        no_mask: Let tokens attend to the padding.
    """

    NETWORK: ClassVar[str] = "CrossFormer"

    img_size: int = 224
    patch_size: tuple[int, ...] = (4, 8, 16, 32)
    in_chans: int = 3
    num_classes: int = 1000
    embed_dim: int = 48
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    group_size: tuple[int, ...] = (7, 7, 7, 7)
    crs_interval: tuple[int, ...] = (8, 4, 2, 1)
    mlp_ratio: tuple[float, ...] = (4.0, 4.0, 4.0, 4.0)
    qkv_bias: bool = True
    qk_scale: float = 0.0
    drop_rate: float = 0.0
    attn_drop_rate: float = 0.0
    drop_path_rate: float = 0.1
    patch_norm: bool = True
    use_checkpoint: bool = False
    merge_size: tuple[tuple[int, ...], ...] = ((2, 4), (2, 4), (2, 4))
    use_acl: bool = False
    pad_type: int = 0
    no_mask: bool = False

    def __post_init__(self) -> None:
        stages = len(self.depths)
        per_stage = (self.num_heads, self.group_size, self.crs_interval, self.mlp_ratio)
        numbers = (*self.depths, *self.num_heads, *self.group_size, *self.crs_interval, *self.mlp_ratio)
        rates = (self.drop_rate, self.attn_drop_rate, self.drop_path_rate)
        self._require(
            (stages > 0, "depths must name at least one stage"),
            (all(len(values) == stages for values in per_stage), f"every stage needs its number: {stages} of each"),
            (len(self.merge_size) == stages - 1, "merge_size must have one entry between each two stages"),
            (all(number > 0 for number in numbers), "depths, heads, groups, intervals and ratios must be positive"),
            (self.embed_dim > 0 and self.embed_dim % 16 == 0, "embed_dim must be a positive multiple of 16"),
            (all(dim % heads == 0 for dim, heads in zip(self.dims, self.num_heads, strict=False)),
             "num_heads must divide the channels"),
            (_kernels_fit(self.patch_size, self.embed_dim), "patch_size: each of the first's parity, none smaller"),
            (all(_kernels_fit((2, *sides), 2 * self.embed_dim) for sides in self.merge_size),
             "merge_size: even, at least 2"),
            (self.in_chans in (1, 3), "in_chans must be 1 or 3"),
            (self.num_classes >= 0, "num_classes must not be negative"),
            (self.qk_scale >= 0, "qk_scale must not be negative"),
            (all(0 <= rate < 1 for rate in rates), "rates must lie in [0, 1)"),
            (self.pad_type in (0, 1), "pad_type must be 0 or 1"),
            (self.img_size >= self.least_size, f"img_size must be at least {self.least_size}"),
        )  # fmt: skip

    @property
    def channels(self) -> int:
        """Return the number of image channels."""
        return self.in_chans

    @property
    def scale(self) -> int:
        """Return 1: a classifier enlarges nothing."""
        return 1

    @property
    def dims(self) -> tuple[int, ...]:
        """Return the channels C of each stage."""
        return tuple(self.embed_dim << stage for stage in range(len(self.depths)))

    @property
    def least_size(self) -> int:
        """Return the smallest height and width that leave a token in the last stage."""
        return self.patch_size[0] << (len(self.depths) - 1)

    def cools(self, stage: int, block: int) -> bool:
        """Return whether a block has an activation cooling layer."""
        return self.use_acl and block % 3 == 2 and block < self.depths[stage] - 1

    @classmethod
    def tiny(cls) -> Self:
        """Return a configuration that builds and runs in milliseconds, with padding and a cooling layer."""
        return cls(
            img_size=64, patch_size=(4, 8), num_classes=10, embed_dim=48, depths=(2, 2, 4, 1), num_heads=(2, 2, 2, 2),
            group_size=(3, 3, 2, 2), crs_interval=(2, 2, 1, 1), mlp_ratio=(1.0, 1.0, 1.0, 1.0), use_acl=True,
        )  # fmt: skip


def _kernels_fit(sides: tuple[int, ...], channels: int) -> bool:
    """Return whether kernels can be centred on the steps of the first and can share the channels by halves."""
    centred = all(side >= sides[0] > 0 and (side - sides[0]) % 2 == 0 for side in sides)
    return centred and len(sides) > 0 and channels % (1 << (len(sides) - 1)) == 0


_B = Config(embed_dim=96, depths=(2, 2, 18, 2))
_PP_B = replace(_B, group_size=(4, 4, 14, 7), crs_interval=(4, 2, 1, 1), use_acl=True)
PUBLISHED = {
    "crossformer-t": Config(embed_dim=64, depths=(1, 1, 8, 6), num_heads=(2, 4, 8, 16)),
    "crossformer-s": Config(embed_dim=96),
    "crossformer-b": _B,
    "crossformer-l": Config(embed_dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32)),
    "crossformer-pp-s": replace(_PP_B, embed_dim=64, num_heads=(2, 4, 8, 16)),
    "crossformer-pp-b": _PP_B,
}
"""The networks of both papers that weights were shared of, by their -m name."""


def stage_sizes(config: Config, height: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield (height, width) of each stage's map for an input of so many pixels."""
    height, width = height // config.patch_size[0], width // config.patch_size[0]
    for _ in config.depths:
        yield height, width
        height, width = height // 2, width // 2


def mult_adds(config: Config, height: int, width: int) -> int:
    """Count as the origin does, for one input of (height, width) pixels: what its table calls FLOPs.

    Multiply-adds and one for each value of a LayerNorm. The position bias counts once a token, where it is worked out
    once an offset; padding, cooling layers and the norms within the position bias do not count.
    """
    sizes = list(stage_sizes(config, height, width))
    tokens = [rows * columns for rows, columns in sizes]
    total = tokens[0] * _kernels_mult_adds(config.in_chans, config.patch_size, config.embed_dim)
    total += tokens[0] * config.embed_dim if config.patch_norm else 0
    for stage, (dim, depth) in enumerate(zip(config.dims, config.depths, strict=True)):
        total += depth * _block_mult_adds(config, stage, sizes[stage])
        if stage + 1 < len(config.depths):
            kernels = _kernels_mult_adds(dim, config.merge_size[stage], 2 * dim)
            total += tokens[stage] * dim + tokens[stage + 1] * kernels
    last = config.dims[-1]
    return total + last * tokens[0] // (1 << len(config.depths)) + last * config.num_classes


def position_dim(dim: int) -> int:
    """Return the width p of the position bias's MLP in a stage of C channels."""
    return dim // 4 // 4


def _kernels_mult_adds(channels: int, sides: tuple[int, ...], dim: int) -> int:
    """Count the kernels of a cross-scale convolution, a place."""
    shares = share_channels(dim, len(sides))
    return sum(channels * side**2 * share for side, share in zip(sides, shares, strict=True))


def _block_mult_adds(config: Config, stage: int, size: tuple[int, int]) -> int:
    dim, heads = config.dims[stage], config.num_heads[stage]
    group = min(config.group_size[stage], *size)
    p = position_dim(dim)
    attention = 4 * dim * dim + 2 * group**2 * dim + 2 * p + 2 * p * p + p * heads
    mlp = int(2 * dim * dim * config.mlp_ratio[stage])
    return size[0] * size[1] * (attention + mlp + 2 * dim)

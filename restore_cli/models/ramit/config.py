"""What a RAMiT is, in numbers: its configuration, the published ones, and its cost in multiply-adds.

Stage 5, RUN; the network itself is in `network`. A file of its own because nothing in here needs torch.

Letters: C = `dim` channels, h heads in all, d = C / h channels a head, h2 heads that attend over channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from restore_cli.models import JsonConfig

STAGES = 4


@dataclass(frozen=True, kw_only=True)
class Config(JsonConfig):
    """Describe one RAMiT completely.

    Attributes:
        dim: Feature channels C, a multiple of 16 and of `num_heads`.
        depths: Blocks of the four stages.
        num_heads: Heads h of every block.
        chsa_head_ratio: Share of the heads that attend over channels; int(h * ratio) of them.
        window_size: Side of an attention window in feature pixels.
        mv_ver: Version of MobiVari, 1 or 2.
        hidden_ratio: Hidden channels of the feed-forward layer per channel.
        exp_factor: Expansion of MobiVari 2.
        exp_groups: Groups of its expanding convolution.
        mix_exp_factor: The same factor in the bottleneck and H-RAMi.
        mix_exp_groups: The same groups there.
        helper: Let each attention be weighted by the other kind's output of the block before.
        qkv_bias: Bias of the query, key and value projection.
        scale: Factor from input to output size; 1 adds the input to the output.
        channels: Image channels, 1 or 3.
        mean: Mean of each image channel.
        std: Standard deviation of each image channel.
        drop_path: Rate of stochastic depth at the last block, rising linearly from 0; training only.
        image_skip: Start from the identity: the input, enlarged bicubically where `scale` > 1, is added to the output
            and the last convolution starts at zero. The published networks have no such skip.
        fold: Side of the squares of pixels that become channels before the first layer (space to depth); 1 for none, as
            published. The features are so many times smaller than the input, and the same arithmetic reaches farther.
    """

    NETWORK: ClassVar[str] = "RAMiT"
    LATER: ClassVar[frozenset[str]] = frozenset({"fold"})

    dim: int = 64
    depths: tuple[int, ...] = (6, 4, 4, 6)
    num_heads: int = 4
    chsa_head_ratio: float = 0.25
    window_size: int = 8
    mv_ver: int = 2
    hidden_ratio: float = 2.0
    exp_factor: float = 1.2
    exp_groups: int = 4
    mix_exp_factor: float = 1.2
    mix_exp_groups: int = 4
    helper: bool = True
    qkv_bias: bool = True
    scale: int = 1
    channels: int = 3
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.25, 0.25, 0.25)
    drop_path: float = 0.0
    image_skip: bool = False
    fold: int = 1

    def __post_init__(self) -> None:
        self._require(
            (self.dim > 0 and self.dim % 16 == 0, "dim must be a positive multiple of 16"),
            (self.num_heads > 0 and self.dim % self.num_heads == 0, "num_heads must divide dim"),
            (0 < self.channel_heads < self.num_heads, "chsa_head_ratio must leave heads of both kinds"),
            (len(self.depths) == STAGES and min(self.depths) > 0, f"depths must be {STAGES} positive numbers"),
            (self.window_size > 1, "window_size must be at least 2"),
            (self.mv_ver in (1, 2), "mv_ver must be 1 or 2"),
            (self.mv_ver == 1 or self._groups_divide(), "exp_groups and mix_exp_groups must divide what they expand"),
            (self.scale >= 1, "scale must be at least 1"),
            (self.fold >= 1, "fold must be at least 1"),
            (self.channels in (1, 3), "channels must be 1 or 3"),
            (len(self.mean) == len(self.std) == self.channels, "mean and std must have one number a channel"),
            (all(std > 0 for std in self.std), "std must be positive"),
            (0 <= self.drop_path < 1, "drop_path must lie in [0, 1)"),
        )

    @property
    def channel_heads(self) -> int:
        """Return h2, the number of heads that attend over channels."""
        return int(self.num_heads * self.chsa_head_ratio)

    @property
    def unit(self) -> int:
        """Return the number that height and width must be multiples of."""
        return self.fold * self.window_size << (STAGES - 2)

    def _groups_divide(self) -> bool:
        if min(self.exp_groups, self.mix_exp_groups) < 1:
            return False
        quarters = self.dim // 4 + self.dim // 16
        mixed = (self.dim + quarters, 2 * self.dim + quarters)
        return self.dim % self.exp_groups == 0 and all(dim % self.mix_exp_groups == 0 for dim in mixed)

    @classmethod
    def tiny(cls) -> Self:
        """Return a configuration that builds and runs in milliseconds."""
        return cls(dim=16, depths=(2, 1, 1, 2), mix_exp_groups=1, scale=2)

    @classmethod
    def variant(cls, name: str, *, task: str, scale: int = 1, channels: int = 3) -> Config:
        """Return a published configuration; `PUBLISHED` lists them all.

        Args:
            name: "ramit", "ramit-1", "ramit-slim-sr" or "ramit-slim-lle".
            task: "sr", "denoise", "derain" or "lowlight": what the checkpoint was trained for.
            scale: 2, 3 or 4 for "sr", else 1.
            channels: 1 for the gray denoiser, else 3.

        Raises:
            ValueError: If no checkpoint of that kind was published.
        """
        if (name, task, scale, channels) not in PUBLISHED:
            msg = f"no published RAMiT {(name, task, scale, channels)}; known: {', '.join(map(str, PUBLISHED))}"
            raise ValueError(msg)
        mean, std = _STATISTICS[task, scale, channels]
        helper = task in {"sr", "lowlight"}
        return replace(_SHAPES[name], scale=scale, channels=channels, mean=mean, std=std, helper=helper)


_SHAPES = {
    "ramit": Config(mv_ver=2),
    "ramit-1": Config(mv_ver=1),
    "ramit-slim-sr": Config(dim=48, depths=(8, 2, 2, 8), mix_exp_factor=2.0, mix_exp_groups=1),
    "ramit-slim-lle": Config(dim=48, depths=(4, 2, 2, 4), mix_exp_factor=1.2, mix_exp_groups=3),
}
# Task, scale, channels: mean and standard deviation of the training images. The x1 networks add their input behind
# the last layer, so a wrong digit here shifts every pixel.
_STATISTICS = {
    ("sr", 2, 3): ((0.4485, 0.4375, 0.4045), (0.2397, 0.2290, 0.2389)),
    ("sr", 3, 3): ((0.4485, 0.4375, 0.4045), (0.2373, 0.2265, 0.2367)),
    ("sr", 4, 3): ((0.4485, 0.4375, 0.4045), (0.2352, 0.2244, 0.2349)),
    ("denoise", 1, 3): ((0.4775, 0.4515, 0.4047), (0.2442, 0.2367, 0.2457)),
    ("denoise", 1, 1): ((0.4539,), (0.2326,)),
    ("derain", 1, 3): ((0.5110, 0.5105, 0.4877), (0.2313, 0.2317, 0.2397)),
    ("lowlight", 1, 3): ((0.1687, 0.1599, 0.1526), (0.1142, 0.1094, 0.1094)),
}
PUBLISHED = (
    *((name, "sr", scale, 3) for name in ("ramit", "ramit-1", "ramit-slim-sr") for scale in (2, 3, 4)),
    ("ramit", "denoise", 1, 3),
    ("ramit", "denoise", 1, 1),
    ("ramit", "derain", 1, 3),
    ("ramit", "lowlight", 1, 3),
    ("ramit-1", "denoise", 1, 3),
    ("ramit-slim-lle", "lowlight", 1, 3),
)
"""The published checkpoints as (name, task, scale, channels)."""


def published_like(task: str, scale: int, channels: int) -> Config:
    """Return a published configuration for a task, or for one like it where there is none: factor, channels, size."""
    alike = ((task, scale, channels), ("sr", 4, channels) if scale > 1 else ("denoise", 1, channels))
    mean, std = next((_STATISTICS[like] for like in alike if like in _STATISTICS), _STATISTICS["denoise", 1, 1])
    helper = task in {"sr", "lowlight"}
    return replace(Config(), scale=scale, channels=channels, mean=mean, std=std, helper=helper)


def expanded_channels(dim: int, exp_factor: float, exp_groups: int) -> int:
    """Return the width of MobiVari 2; a width that already divides gets a whole further group, as published."""
    expanded = int(dim * exp_factor)
    return expanded + exp_groups - expanded % exp_groups


def mult_adds(config: Config, height: int, width: int) -> int:
    """Count multiply-adds as the paper does, for one input of (height, width) pixels before padding.

    Attention's two products, convolutions without bias, LayerNorm, pooling and products of features count; norms,
    softmax, activations and sums do not.
    """
    dim = config.dim
    full = -(-height // config.unit) * -(-width // config.unit) * (config.unit // config.fold) ** 2
    areas = (full, full // 4, full // 16, full)
    quarter = dim // 4 + dim // 16
    blocks = sum(depth * area for depth, area in zip(config.depths, areas, strict=True)) * _block_mult_adds(config)
    downsizing = (areas[1] + areas[2]) * (4 * dim + _mobivari_mult_adds(config, 4 * dim))
    pooling = 2 * dim * areas[0] + dim * areas[1]
    bottleneck = pooling + full * (dim + _mobivari_mult_adds(config, dim + quarter, mix=True))
    mixing = full * (dim + _mobivari_mult_adds(config, 2 * dim + quarter, mix=True))
    folded = config.channels * config.fold**2
    convolutions = dim * folded * (1 + config.scale**2) + config.channels * folded
    reconstruction = full * (2 * _mobivari_mult_adds(config, dim) + 9 * convolutions)  # shallow conv included
    return blocks + downsizing + bottleneck + mixing + reconstruction


def _mobivari_mult_adds(config: Config, dim: int, *, mix: bool = False) -> int:
    """Count one MobiVari from `dim` to C channels, a position."""
    if config.mv_ver == 1:
        return dim * 9 + dim * config.dim
    groups = config.mix_exp_groups if mix else config.exp_groups
    expanded = expanded_channels(dim, config.mix_exp_factor if mix else config.exp_factor, groups)
    return expanded * (dim // groups + 9 + config.dim)


def _block_mult_adds(config: Config) -> int:
    """Count one D-RAMiT block, a position; its helper product counts even where there is nothing to multiply."""
    dim, head_dim = config.dim, config.dim // config.num_heads
    channel = config.channel_heads * head_dim
    spatial = dim - channel
    attention = 2 * config.window_size**2 * spatial + 2 * head_dim * channel
    projections = 3 * dim * dim + spatial**2 + channel**2 + 2 * dim * int(dim * config.hidden_ratio)
    return attention + projections + _mobivari_mult_adds(config, dim) + (3 if config.helper else 2) * dim

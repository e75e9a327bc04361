"""CrossFormer and CrossFormer++, a backbone with its classifier: all published networks.

Stage 5, RUN, for `restore bench` and for whoever wants features; the network that restores is `crossformer_ir`. Papers:
"CrossFormer: A Versatile Vision Transformer Hinging on Cross-scale Attention" (ICLR 2022, arXiv 2108.00154) and
"CrossFormer++: A Versatile Vision Transformer Hinging on Cross-scale Attention" (TPAMI, arXiv 2303.06908). Origin:
cheerss/CrossFormer@7952010, MIT. This file is written from a description of the network and keeps the checkpoints'
keys.

What differs from the origin, and why:
- Sizes are worked out from the image at hand, not from `img_size`: any height and width of at least 32 pixels, groups
  padded and masked. At the size of training the results are the same.
- The position bias needs no buffers; those of older checkpoints are left out when they are loaded.
- What the origin only tries out (`group_type`, `use_cpe`, `adaptive_interval`, `ape`) is taken at its default alone.

Letters: N batch, C channels of a stage, H W size of its map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)
from torch.utils.checkpoint import checkpoint

from restore_cli.layers.cross_scale import CrossScaleConv, GroupAttention, Grouping, layer_norm
from restore_cli.layers.tensors import DropPath, channels_first, channels_last
from restore_cli.models.crossformer.config import Config, position_dim

_OLD_BUFFERS = (".biases", ".relative_position_index", ".attn_mask")


class PatchEmbed(nn.Module):
    """Turn an image into tokens, each of patches of several sizes (section 3.1)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.projs = CrossScaleConv(config.in_chans, config.embed_dim, config.patch_size, config.patch_size[0])
        self.norm = nn.LayerNorm(config.embed_dim) if config.patch_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, height, width) to (N, H, W, C)."""
        return layer_norm(self.norm, channels_last(self.projs(x)))


class PatchMerging(nn.Module):
    """Halve height and width and double the channels, by kernels of several sizes."""

    def __init__(self, dim: int, sides: Sequence[int]) -> None:
        super().__init__()
        self.reductions = CrossScaleConv(dim, 2 * dim, sides, 2)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, H, W, C) to (N, H / 2, W / 2, 2C), rounded down."""
        reduced: Tensor = self.reductions(channels_first(layer_norm(self.norm, x)))
        return channels_last(reduced)


class Mlp(nn.Module):
    """Widen the channels, apply the exact GELU, narrow them again."""

    def __init__(self, dim: int, hidden: int, drop: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to the same shape."""
        out: Tensor = self.drop(self.fc2(self.drop(F.gelu(self.fc1(x)))))
        return out


class Block(nn.Module):
    """Attend within groups, then feed forward, each normalised before and added to its input (section 3.2).

    Args:
        config: Of the network.
        stage: Index of the stage.
        index: Index of the block in it: even ones attend near (SDA), odd ones far (LDA).
        drop_path: Rate of stochastic depth.
    """

    def __init__(self, config: Config, stage: int, index: int, drop_path: float) -> None:
        super().__init__()
        dim = config.dims[stage]
        self.group_size = config.group_size[stage]
        self.interval = config.crs_interval[stage] if index % 2 else 1
        self.centred, self.masked = config.pad_type == 1, not config.no_mask
        self.norm1 = nn.LayerNorm(dim)
        self.attn = GroupAttention(
            dim,
            config.num_heads[stage],
            position_dim(dim),
            qkv_bias=config.qkv_bias,
            qk_scale=config.qk_scale or None,
            attn_drop=config.attn_drop_rate,
            proj_drop=config.drop_rate,
        )
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * config.mlp_ratio[stage]), config.drop_rate)
        self.drop_path = DropPath(drop_path)
        self.cools = config.cools(stage, index)
        if self.cools:
            self.ex_conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
            self.ex_ln = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape."""
        grouping = self._grouping(x.shape[1], x.shape[2])
        mask = grouping.mask(x.device) if self.masked else None
        groups = self.attn(grouping.cut(layer_norm(self.norm1, x)), grouping.size, mask)
        x = x + self.drop_path(grouping.merge(groups))
        x = x + self.drop_path(self.mlp(layer_norm(self.norm2, x)))
        if self.cools:
            x = layer_norm(self.ex_ln, channels_last(self.ex_conv(channels_first(x))))
        return x

    def _grouping(self, height: int, width: int) -> Grouping:
        """Group a map; one no larger than a group has near groups alone, as large as fit."""
        if min(height, width) <= self.group_size:
            return Grouping(height=height, width=width, size=min(height, width), centred=self.centred)
        return Grouping(
            height=height, width=width, size=self.group_size, interval=self.interval, centred=self.centred
        )  # fmt: skip


class Stage(nn.Module):
    """Run blocks in a row and hand a smaller map to the next stage."""

    def __init__(self, config: Config, stage: int, drop_paths: Sequence[float]) -> None:
        super().__init__()
        self.use_checkpoint = config.use_checkpoint
        self.blocks = nn.ModuleList(Block(config, stage, index, rate) for index, rate in enumerate(drop_paths))
        is_last = stage == len(config.depths) - 1
        self.downsample = None if is_last else PatchMerging(config.dims[stage], config.merge_size[stage])

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, H, W, C) to the input of the next stage."""
        for block in self.blocks:
            if self.use_checkpoint and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return x if self.downsample is None else self.downsample(x)


class CrossFormer(nn.Module):
    """Classify an image by attention near and far over tokens of several scales.

    The arguments are the origin's, in its order. One mlp_ratio may stand for all stages; qk_scale None is d^-0.5.

    Raises:
        ValueError: If arguments contradict each other, or one that is taken at its default alone is another.

    Example:
        >>> CrossFormer(embed_dim=48, depths=[1, 1, 2, 1], num_classes=10)(torch.zeros(1, 3, 64, 96)).shape
        torch.Size([1, 10])
    """

    def __init__(
        self,
        img_size: int = 224,
        patch_size: Sequence[int] = (4, 8, 16, 32),
        in_chans: int = 3,
        num_classes: int = 1000,
        embed_dim: int = 48,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        group_size: Sequence[int] = (7, 7, 7, 7),
        mlp_ratio: float | Sequence[float] = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        ape: bool = False,
        patch_norm: bool = True,
        use_checkpoint: bool = False,
        merge_size: Sequence[Sequence[int]] = ((2, 4), (2, 4), (2, 4)),
        *,
        crs_interval: Sequence[int] = (8, 4, 2, 1),
        use_acl: bool = False,
        pad_type: int = 0,
        no_mask: bool = False,
        group_type: str = "constant",
        use_cpe: bool = False,
        adaptive_interval: bool = False,
    ) -> None:
        super().__init__()
        if (ape, group_type, use_cpe, adaptive_interval) != (False, "constant", False, False):
            msg = "CrossFormer: ape, group_type, use_cpe and adaptive_interval are taken at their defaults only"
            raise ValueError(msg)
        ratios = [mlp_ratio] * len(depths) if isinstance(mlp_ratio, int | float) else mlp_ratio
        self._build(
            Config(
                img_size=img_size,
                patch_size=tuple(patch_size),
                in_chans=in_chans,
                num_classes=num_classes,
                embed_dim=embed_dim,
                depths=tuple(depths),
                num_heads=tuple(num_heads),
                group_size=tuple(group_size),
                crs_interval=tuple(crs_interval),
                mlp_ratio=tuple(map(float, ratios)),
                qkv_bias=qkv_bias,
                qk_scale=qk_scale or 0.0,
                drop_rate=drop_rate,
                attn_drop_rate=attn_drop_rate,
                drop_path_rate=drop_path_rate,
                patch_norm=patch_norm,
                use_checkpoint=use_checkpoint,
                merge_size=tuple(map(tuple, merge_size)),
                use_acl=use_acl,
                pad_type=pad_type,
                no_mask=no_mask,
            )
        )

    def _build(self, config: Config) -> None:
        self.config = config
        total = sum(config.depths)
        rates = [config.drop_path_rate * index / max(total - 1, 1) for index in range(total)]
        self.patch_embed = PatchEmbed(config)
        self.pos_drop = nn.Dropout(config.drop_rate)
        self.layers = nn.ModuleList()
        for stage, depth in enumerate(config.depths):
            self.layers.append(Stage(config, stage, rates[:depth]))
            rates = rates[depth:]
        self.norm = nn.LayerNorm(config.dims[-1])
        self.head = nn.Linear(config.dims[-1], config.num_classes) if config.num_classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the mean of the last stage's normalised tokens.

        Args:
            x: (N, channels, height, width), normalised as in training; any size from `config.least_size` on.

        Returns:
            (N, C of the last stage).

        Raises:
            ValueError: If the channels or the size do not fit.
        """
        channels, least = self.config.in_chans, self.config.least_size
        if x.ndim != 4 or x.shape[1] != channels or min(x.shape[2:]) < least or x.shape[0] == 0:
            msg = f"CrossFormer takes (N, {channels}, H, W) with H and W of at least {least}, not {tuple(x.shape)}"
            raise ValueError(msg)
        x = self.pos_drop(self.patch_embed(x))
        for layer in self.layers:
            x = layer(x)
        return layer_norm(self.norm, x).mean((1, 2))

    def forward(self, x: Tensor) -> Tensor:
        """Return the classes' logits, (N, num_classes), of what `forward_features` takes."""
        logits: Tensor = self.head(self.forward_features(x))
        return logits


def from_config(config: Config) -> CrossFormer:
    """Build the network that a configuration describes."""
    return CrossFormer(**asdict(config))


def without_old_buffers(state_dict: dict[str, Any]) -> dict[str, Any]:
    """Leave out tables that early checkpoints hold and that follow from the configuration."""
    return {key: tensor for key, tensor in state_dict.items() if not key.endswith(_OLD_BUFFERS)}

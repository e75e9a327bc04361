"""SwinIR, restoration by attention within shifted windows: light and classical upscalers, photos, noise and JPEG.

Stage 5, RUN. Paper: Liang et al., "SwinIR: Image Restoration Using Swin Transformer" (arXiv 2108.10257, section 3 and
figure 2). Origin of the published checkpoints: JingyunLiang/SwinIR, Apache-2.0; this file is written from the paper and
keeps the checkpoints' keys, but for tables that follow from the size of a window.

What differs from the origin, and why:
- Sizes must be multiples of a window; padding is the caller's, so that one padder serves every network.
- Attention is torch's own, with the position bias and the mask of shifted windows added to its logits; the mask is made
  for the image at hand and not kept.

Letters: N batch, C = `dim` channels, H W size of the input, B windows of the whole batch, L tokens a window, h heads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)

from restore_cli.layers.tensors import channels_first, channels_last, require_images
from restore_cli.layers.windows import relative_places, unseen
from restore_cli.models import Arch, JsonConfig, Shapes, count_of

Upsampler = Literal["none", "direct", "shuffle", "nearest"]

_UPSAMPLERS = ("none", "direct", "shuffle", "nearest")
_FEATURES = 64  # channels behind the blocks of the larger upscalers
_MEAN = (0.4488, 0.4371, 0.4040)
_JPEG_WINDOW = 7  # of networks against JPEG, whose blocks are of 8; they take pixels in 0..255
_TABLES = (".relative_position_index", ".attn_mask")


@dataclass(frozen=True, kw_only=True)
class Config(JsonConfig):
    """Describe one network completely.

    Attributes:
        dim: Channels C.
        depths: Blocks of each group.
        num_heads: Heads of every block.
        window_size: Side of a window.
        hidden_ratio: Hidden channels of the feed-forward layer per channel.
        convolutions: At the end of each group: 1, or 3 of which two are narrow.
        upsampler: How the output grows: "none", "direct" (one convolution), "shuffle" (twice by shuffled channels) or
            "nearest" (by repeated pixels and convolutions).
        scale: Factor from input to output size.
        channels: Image channels, 1 or 3.
        img_range: What the input, less the mean of its kind, is multiplied by.
    """

    NETWORK: ClassVar[str] = "SwinIR"

    dim: int = 60
    depths: tuple[int, ...] = (6, 6, 6, 6)
    num_heads: int = 6
    window_size: int = 8
    hidden_ratio: float = 2.0
    convolutions: int = 1
    upsampler: Upsampler = "direct"
    scale: int = 4
    channels: int = 3
    img_range: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what no network can be built from.

        Raises:
            ValueError: If a number is not positive, heads do not divide the channels, or upsampler and scale differ.
        """
        grows = self.scale > 1
        self._require(
            (len(self.depths) > 0 and min((*self.depths, self.dim)) > 0, "depths and dim must be positive"),
            (self.num_heads > 0 and self.dim % self.num_heads == 0, "num_heads must divide dim"),
            (self.window_size > 1 and self.hidden_ratio > 0, "window_size must be 2 or more, hidden_ratio positive"),
            (self.convolutions in (1, 3), "convolutions must be 1 or 3"),
            (self.upsampler in _UPSAMPLERS, f"upsampler must be one of {', '.join(_UPSAMPLERS)}"),
            (self.scale in (1, 2, 3, 4, 8) and grows == (self.upsampler != "none"), "scale must suit the upsampler"),
            (self.upsampler != "nearest" or self.scale in (2, 4), "scale must be 2 or 4 for nearest"),
            (self.channels in (1, 3) and self.img_range > 0, "channels must be 1 or 3, img_range positive"),
        )

    @classmethod
    def tiny(cls) -> Self:
        """Return a configuration that builds and runs in milliseconds."""
        return cls(dim=12, depths=(2, 1), num_heads=2, window_size=4, scale=2)


class WindowAttention(nn.Module):
    """Attend over the tokens of each window, shifted or not, with a learned bias for each relative position."""

    def __init__(self, config: Config, shift: int) -> None:
        super().__init__()
        self.heads, self.window_size, self.shift = config.num_heads, config.window_size, shift
        span = 2 * config.window_size - 1
        self.relative_position_bias_table = nn.Parameter(torch.empty(span * span, config.num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.qkv = nn.Linear(config.dim, 3 * config.dim)
        self.proj = nn.Linear(config.dim, config.dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape."""
        n, height, width, _ = x.shape
        side, shift = self.window_size, self.shift
        if shift:
            x = torch.roll(x, (-shift, -shift), (1, 2))
        windows = "n (r y) (c x) (p h d) -> p (n r c) h (y x) d"
        q, k, v = rearrange(self.qkv(x), windows, y=side, x=side, p=3, h=self.heads)
        logits = self._position_bias()[None].to(q.dtype)  # (1, h, L, L)
        if shift:
            hidden = unseen(height // side, width // side, side, shift, x.device).repeat(n, 1, 1)[:, None]
            logits = torch.where(hidden, -torch.inf, logits)  # (B, h, L, L)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=logits)
        merged = rearrange(mixed, "(n r c) h (y x) d -> n (r y) (c x) (h d)", n=n, r=height // side, y=side)
        out: Tensor = self.proj(merged)
        return torch.roll(out, (shift, shift), (1, 2)) if shift else out

    def _position_bias(self) -> Tensor:
        """Return the bias of every query and key, (h, L, L)."""
        place = relative_places(self.window_size, self.relative_position_bias_table.device)
        span = 2 * self.window_size - 1
        return self.relative_position_bias_table[place[..., 0] * span + place[..., 1]].permute(2, 0, 1)


class FeedForward(nn.Module):
    """Widen the channels, apply the exact GELU, narrow them again."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to the same shape."""
        narrowed: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return narrowed


class Block(nn.Module):
    """Attend within windows, then a feed-forward layer, each after a norm and added to what came in."""

    def __init__(self, config: Config, shift: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim)
        self.attn = WindowAttention(config, shift)
        self.norm2 = nn.LayerNorm(config.dim)
        self.mlp = FeedForward(config.dim, int(config.dim * config.hidden_ratio))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Group(nn.Module):
    """Run blocks, every second one shifted by half a window, and add a convolution of the last to the input (RSTB)."""

    def __init__(self, config: Config, depth: int) -> None:
        super().__init__()
        shifts = (config.window_size // 2 * (number % 2) for number in range(depth))
        self.residual_group = nn.ModuleDict({"blocks": nn.ModuleList(Block(config, shift) for shift in shifts)})
        self.conv = _group_end(config)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape."""
        out = x
        for block in self.residual_group["blocks"].children():
            out = block(out)
        return x + channels_last(self.conv(channels_first(out)))


class SwinIR(nn.Module):
    """Restore an image by groups of blocks that attend within windows.

    Args:
        config: All that describes it.
    """

    mean: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        dim, channels = config.dim, config.channels
        mean = _MEAN if channels == len(_MEAN) else (0.0,)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.conv_first = _conv(channels, dim)
        self.patch_embed = nn.ModuleDict({"norm": nn.LayerNorm(dim)})
        self.layers = nn.ModuleList(Group(config, depth) for depth in config.depths)
        self.norm = nn.LayerNorm(dim)
        self.conv_after_body = _group_end(config)
        if config.upsampler == "direct":
            self.upsample = nn.Sequential(_conv(dim, channels * config.scale**2), nn.PixelShuffle(config.scale))
            return
        self.conv_last = _conv(dim if config.upsampler == "none" else _FEATURES, channels)
        if config.upsampler != "none":
            self.conv_before_upsample = nn.Sequential(_conv(dim, _FEATURES), nn.LeakyReLU())
        if config.upsampler == "shuffle":
            factors = [3] if config.scale == 3 else [2] * int(math.log2(config.scale))
            steps = [(_conv(_FEATURES, _FEATURES * factor**2), nn.PixelShuffle(factor)) for factor in factors]
            self.upsample = nn.Sequential(*(layer for step in steps for layer in step))
        if config.upsampler == "nearest":
            self.conv_up1 = _conv(_FEATURES, _FEATURES)
            if config.scale == 4:
                self.conv_up2 = _conv(_FEATURES, _FEATURES)
            self.conv_hr = _conv(_FEATURES, _FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        """Restore a batch.

        Args:
            x: (N, channels, H, W) in [0, 1], H and W multiples of `config.window_size`.

        Returns:
            (N, channels, scale * H, scale * W), not clipped.

        Raises:
            ValueError: If the channels or the size do not fit.
        """
        require_images(x, "SwinIR", self.config.channels, self.config.window_size)
        normalised = (x - self.mean) * self.config.img_range
        shallow = self.conv_first(normalised)
        tokens = self.patch_embed["norm"](channels_last(shallow))
        for group in self.layers:
            tokens = group(tokens)
        features = shallow + self.conv_after_body(channels_first(self.norm(tokens)))
        return self._image(features, normalised) / self.config.img_range + self.mean

    def _image(self, features: Tensor, normalised: Tensor) -> Tensor:
        """Turn features into the image, still without its mean."""
        upsampler = self.config.upsampler
        if upsampler == "direct":
            direct: Tensor = self.upsample(features)
            return direct
        if upsampler == "none":
            residual: Tensor = self.conv_last(features)
            return normalised + residual
        out: Tensor = self.conv_before_upsample(features)
        if upsampler == "shuffle":
            out = self.upsample(out)
        else:
            for up in (self.conv_up1, *([self.conv_up2] if self.config.scale == 4 else [])):
                out = F.leaky_relu(up(F.interpolate(out, scale_factor=2.0, mode="nearest")), 0.2)
            out = F.leaky_relu(self.conv_hr(out), 0.2)
        image: Tensor = self.conv_last(out)
        return image


def convert_state_dict(official: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the tables that follow from the size of a window and of the images that were trained on."""
    return {key: tensor for key, tensor in official.items() if not key.endswith(_TABLES)}


def _recognise(shapes: Shapes, task: str | None) -> Config | None:
    """Return the configuration of the SwinIR that a file's tensors are of; None for another network."""
    del task
    block = "layers.0.residual_group.blocks.0"
    first, table = (shapes.get(k, ()) for k in ("conv_first.weight", f"{block}.attn.relative_position_bias_table"))
    if len(first) != 4 or len(table) != 2 or not {"conv_after_body.weight", "conv_after_body.0.weight"} & shapes.keys():
        return None
    dim, channels = first[:2]
    if f"{block}.conv_block.cab.0.weight" in shapes:  # HAT names all else alike
        return None
    upsampler, scale = _way_up(shapes, channels)
    window_size = (math.isqrt(table[0]) + 1) // 2
    groups = range(count_of(shapes, "layers."))
    return Config(
        dim=dim,
        depths=tuple(count_of(shapes, f"layers.{group}.residual_group.blocks.") for group in groups),
        num_heads=table[1],
        window_size=window_size,
        hidden_ratio=shapes[f"{block}.mlp.fc1.weight"][0] / dim,
        convolutions=3 if "conv_after_body.0.weight" in shapes else 1,
        upsampler=upsampler,
        scale=scale,
        channels=channels,
        img_range=255.0 if window_size == _JPEG_WINDOW else 1.0,
    )


def _way_up(shapes: Shapes, channels: int) -> tuple[Upsampler, int]:
    """Return how the output grows, and how much."""
    if "conv_up1.weight" in shapes:
        return "nearest", 4 if "conv_up2.weight" in shapes else 2
    if "upsample.0.weight" not in shapes:
        return "none", 1
    wide = shapes["upsample.0.weight"][0]
    if "conv_before_upsample.0.weight" not in shapes:
        return "direct", math.isqrt(wide // channels)
    return "shuffle", 3 if wide == 9 * _FEATURES else 1 << count_of(shapes, "upsample.")


def _group_end(config: Config) -> nn.Module:
    """Return the convolution at the end of a group, or three of which two are narrow."""
    dim, narrow = config.dim, config.dim // 4
    if config.convolutions == 1:
        return _conv(dim, dim)
    slope = 0.2
    return nn.Sequential(
        _conv(dim, narrow), nn.LeakyReLU(slope), nn.Conv2d(narrow, narrow, 1), nn.LeakyReLU(slope), _conv(narrow, dim)
    )


def _conv(dim: int, out_dim: int) -> nn.Conv2d:
    return nn.Conv2d(dim, out_dim, 3, padding=1)


def _unit_of(config: Config) -> int:
    return config.window_size


ARCH = Arch(
    name="swinir",
    config=Config,
    build=SwinIR,
    multiple_of=Config().window_size,
    unit=_unit_of,
    global_attention=False,
    paper="SwinIR: Image Restoration Using Swin Transformer, arXiv 2108.10257",
    block=Block,
    convert_state_dict=convert_state_dict,
    recognise=_recognise,
)

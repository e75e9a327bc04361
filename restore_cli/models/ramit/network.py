"""RAMiT, the Reciprocal Attention Mixing Transformer: all published variants, and small ones of our own.

Stage 5, RUN. Paper: "Reciprocal Attention Mixing Transformer for Lightweight Image Restoration" (CVPRW 2024, arXiv
2305.11474). Origin of the published checkpoints: rami0205/RAMiT@193ead6, which states no licence; this file is written
from a description of the network and keeps the checkpoints' keys, so that they load without conversion.

What differs from the origin, and why:
- Padding is the caller's: sizes must be multiples of four windows, so that one padder serves every network.
- The blocks work in channels-last memory and project after cutting windows (see `block`), for speed.
- Squares of pixels may become channels first (`Config.fold`), for blur that reaches farther than a window; ours only.
- In inference the network goes over an image in bands (see `bands`), with statistics of cells if wanted.
- Under autocast everything but the blocks stays in float32: a tenth of the arithmetic, and half of the rounding error.

Letters: N batch, C = `dim` channels, H W size of the input; of the features too where nothing is folded.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)

from restore_cli.layers.tensors import at_least_float32, autocast_off, channels_first, channels_last, require_images
from restore_cli.models.ramit.block import (
    NEGATIVE_SLOPE,
    DRAMiTransformer,
    ReshapeLayerNorm,
    mobivari,
)
from restore_cli.models.ramit.config import Config


class ShallowModule(nn.Module):
    """Lift the image to C channels by a 3x3 convolution."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to (N, C, H, W)."""
        features: Tensor = self.conv(x)
        return features


class Stage(nn.Module):
    """Run blocks in a row, each helped by the one before, every second one with shifted windows."""

    def __init__(self, config: Config, drop_paths: list[float]) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict(
            {
                f"block{i}": DRAMiTransformer(
                    config.dim,
                    config.num_heads,
                    config.chsa_head_ratio,
                    config.window_size,
                    config.window_size // 2 if i % 2 else 0,
                    qkv_bias=config.qkv_bias,
                    mv_ver=config.mv_ver,
                    hidden_ratio=config.hidden_ratio,
                    exp_factor=config.exp_factor,
                    exp_groups=config.exp_groups,
                    helper=config.helper,
                    drop_path=drop_path,
                )
                for i, drop_path in enumerate(drop_paths)
            }
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, C, H, W) to the features and the last block's mixed attention, the same shape each."""
        sp = ch = None
        attn = x
        for block in self.blocks.values():
            x, sp, ch, attn = block(x, sp, ch)
        return x, attn


class Downsizing(nn.Module):
    """Halve height and width: the four phases of each 2x2 square become channels and are mixed down to C."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.norm = ReshapeLayerNorm(4 * config.dim)
        self.reduction = mobivari(4 * config.dim, config.dim, config.mv_ver, config.exp_factor, config.exp_groups)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H / 2, W / 2)."""
        n, channels, height, width = x.shape
        squares = channels_last(x).reshape(n, height // 2, 2, width // 2, 2, channels).transpose(2, 3)
        phases = squares.reshape(n, height // 2, width // 2, 4 * channels)
        reduced: Tensor = self.reduction(self.norm(channels_first(phases)))
        return reduced


class Bottleneck(nn.Module):
    """Bring the three scales back to full size, each joined with the pooled shallow features."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        dim = config.dim + config.dim // 4 + config.dim // 16
        self.mobivari = mobivari(dim, config.dim, config.mv_ver, config.mix_exp_factor, config.mix_exp_groups)
        self.norm = ReshapeLayerNorm(config.dim)

    def forward(self, shallow: Tensor, *scales: Tensor) -> Tensor:
        """Map the shallow features and the first stages' outputs (at 1, 1/2, 1/4) to (N, C, H, W)."""
        parts = []
        pooled = shallow
        for i, features in enumerate(scales):
            if i:
                pooled = F.max_pool2d(pooled, 2)
            parts.append(F.pixel_shuffle(features + F.leaky_relu(pooled, NEGATIVE_SLOPE), 2**i))
        normalised: Tensor = self.norm(self.mobivari(torch.cat(parts, 1)))
        return normalised


class HRAMi(nn.Module):
    """Mix the attentions of all stages at full size (hierarchical reciprocal attention mixer, section 3.4)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        dim = 2 * config.dim + config.dim // 4 + config.dim // 16
        self.mobivari = mobivari(dim, config.dim, config.mv_ver, config.mix_exp_factor, config.mix_exp_groups)

    def forward(self, a1: Tensor, a2: Tensor, a3: Tensor, a4: Tensor) -> Tensor:
        """Map the four stages' attentions to (N, C, H, W)."""
        mixed: Tensor = self.mobivari(torch.cat((a1, F.pixel_shuffle(a2, 2), F.pixel_shuffle(a3, 4), a4), 1))
        return mixed


class Reconstruction(nn.Module):
    """Turn features into the image at its final size."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        layers = (
            (f"mobivari{i}", mobivari(config.dim, config.dim, config.mv_ver, config.exp_factor, config.exp_groups))
            for i in range(2)
        )
        self.mobivari = nn.Sequential(OrderedDict(layers))
        self.factor = config.scale * config.fold
        self.conv = nn.Conv2d(config.dim, config.channels * self.factor**2, 3, padding=1)
        self.final_conv = nn.Conv2d(config.channels, config.channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H / fold, W / fold) to (N, channels, scale * H, scale * W)."""
        image: Tensor = self.final_conv(F.pixel_shuffle(self.conv(self.mobivari(x)), self.factor))
        return image


def _in_float32(module: nn.Module, *inputs: Tensor) -> Tensor:
    """Run a module in float32 (or better) even under autocast."""
    with autocast_off(inputs[0]):
        output: Tensor = module(*map(at_least_float32, inputs))
    return output


class RAMiT(nn.Module):
    """Restore an image by local and global attention in parallel at three scales (section 3).

    Args:
        config: All that it is built from.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.tensor(config.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(1, -1, 1, 1), persistent=False)
        total = sum(config.depths)
        rates = [config.drop_path * i / max(total - 1, 1) for i in range(total)]
        stages = []
        for depth in config.depths:
            stages.append(Stage(config, rates[:depth]))
            rates = rates[depth:]
        self.shallow = ShallowModule(config.channels * config.fold**2, config.dim)
        self.stage1 = stages[0]
        self.down1 = Downsizing(config)
        self.stage2 = stages[1]
        self.down2 = Downsizing(config)
        self.stage3 = stages[2]
        self.bottleneck = Bottleneck(config)
        self.stage4 = stages[3]
        self.attn_mix = HRAMi(config)
        self.to_target = Reconstruction(config)
        self._initialise()

    def _initialise(self) -> None:
        """Start attention and feed-forward projections small; MobiVari and 3x3 convolutions keep torch's start."""
        for module in self.modules():
            if isinstance(module, DRAMiTransformer):
                projections = (module.qkv_proj.qkv, module.sp_attn.proj, module.ch_attn.proj)
                for conv in (*projections, module.ffn.hidden, module.ffn.out):
                    nn.init.trunc_normal_(conv.weight, std=0.02)
                    if conv.bias is not None:
                        nn.init.zeros_(conv.bias)
        if self.config.image_skip:
            for parameter in self.to_target.final_conv.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Restore a batch layer by layer: what training differentiates and compilers see.

        Args:
            x: (N, channels, H, W) in [0, 1], H and W multiples of `config.unit` (32 for windows of 8, unfolded).

        Returns:
            (N, channels, scale * H, scale * W), float32 or better, not clipped.

        Raises:
            ValueError: If the channels or the size do not fit.
        """
        self.check(x)
        out = self._restore((x - self.mean) / self.std)
        return torch.addcmul(self.mean, out, self.std)

    def check(self, x: Tensor) -> None:
        """Raise ValueError unless a batch is what `forward` takes."""
        require_images(x, "RAMiT", self.config.channels, self.config.unit)

    def _restore(self, x: Tensor) -> Tensor:
        x = channels_first(channels_last(x).contiguous())
        shallow = _in_float32(self.shallow, F.pixel_unshuffle(x, self.config.fold))
        o1, a1 = self.stage1(shallow)
        o2, a2 = self.stage2(_in_float32(self.down1, o1))
        o3, a3 = self.stage3(_in_float32(self.down2, o2))
        o4, a4 = self.stage4(_in_float32(self.bottleneck, shallow, o1, o2, o3))
        out = _in_float32(self.to_target, o4 * _in_float32(self.attn_mix, a1, a2, a3, a4) + shallow)
        if self.config.scale == 1:
            out = out + x
        elif self.config.image_skip:
            # The antialiased form has the field's cubic (a = -0.5); enlarging, it smooths nothing.
            out = out + F.interpolate(x, scale_factor=self.config.scale, mode="bicubic", antialias=True)
        return out

"""SCUNet, blind denoising by convolutions and shifted windows side by side: the published checkpoints for real noise.

Stage 5, RUN. Paper: Zhang et al., "Practical Blind Image Denoising via Swin-Conv-UNet and Data Synthesis" (arXiv
2203.13278, section 3 and figure 2). Origin of the published checkpoints: cszn/KAIR, Apache-2.0; this file is written
from the paper and keeps the checkpoints' keys, so that they load without conversion.

What differs from the origin, and why:
- Sizes must be multiples of 64 (a window at the smallest of four scales); padding is the caller's, so that one padder
  serves every network.
- Attention is torch's own, with the position bias and the mask of shifted windows added to its logits.

Letters: N batch, C channels of a scale, H W size of the input, B windows of the whole batch, L tokens a window, h heads
of 32 channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Self

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)

from restore_cli.layers.tensors import channels_first, channels_last, require_images
from restore_cli.layers.windows import relative_places, unseen
from restore_cli.models import Arch, JsonConfig, Shapes, count_of

_SCALES = 4
_STAGES = 2 * _SCALES - 1


@dataclass(frozen=True, kw_only=True)
class Config(JsonConfig):
    """Describe one network completely.

    Attributes:
        dim: Channels at full size, half of them for attention; twice as many at each smaller scale.
        depths: Blocks of the three stages down, the middle and the three stages up.
        head_dim: Channels of a head.
        window_size: Side of a window.
        channels: Image channels, 1 or 3.
    """

    NETWORK: ClassVar[str] = "SCUNet"

    dim: int = 64
    depths: tuple[int, ...] = (4, 4, 4, 4, 4, 4, 4)
    head_dim: int = 32
    window_size: int = 8
    channels: int = 3

    def __post_init__(self) -> None:
        """Refuse what no network can be built from.

        Raises:
            ValueError: If there are not seven stages, a number is not positive, or heads do not fit half of `dim`.
        """
        twice = 2 * max(1, self.head_dim)
        self._require(
            (len(self.depths) == _STAGES, f"depths must be {_STAGES} numbers"),
            (min(self.dim, self.head_dim, *self.depths) > 0, "dim, head_dim and depths must be positive"),
            (self.dim % twice == 0, "dim must be a multiple of twice head_dim"),
            (self.window_size > 1, "window_size must be at least 2"),
            (self.channels in (1, 3), "channels must be 1 or 3"),
        )

    @property
    def scale(self) -> int:
        """Return 1: the output has the size of the input."""
        return 1

    @property
    def unit(self) -> int:
        """Return what height and width must be multiples of."""
        return self.window_size << (_SCALES - 1)

    @classmethod
    def tiny(cls) -> Self:
        """Return a configuration that builds and runs in milliseconds."""
        return cls(dim=16, depths=(2, 1, 1, 1, 1, 1, 1), head_dim=4)


class WindowAttention(nn.Module):
    """Attend over the tokens of each window, shifted or not, with a learned bias for each relative position."""

    def __init__(self, dim: int, head_dim: int, window_size: int, *, shifted: bool) -> None:
        super().__init__()
        self.head_dim, self.window_size = head_dim, window_size
        self.shift = window_size // 2 if shifted else 0
        span = 2 * window_size - 1
        self.embedding_layer = nn.Linear(dim, 3 * dim)
        self.relative_position_params = nn.Parameter(torch.empty(dim // head_dim, span, span))
        nn.init.trunc_normal_(self.relative_position_params, std=0.02)
        self.linear = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape."""
        n, height, width, _ = x.shape
        side, shift = self.window_size, self.shift
        if shift:
            x = torch.roll(x, (-shift, -shift), (1, 2))
        qkv = rearrange(
            self.embedding_layer(x),
            "n (r y) (c x) (p h d) -> p (n r c) h (y x) d",
            y=side,
            x=side,
            p=3,
            d=self.head_dim,
        )
        logits = self._position_bias()[None].to(qkv.dtype)  # (1, h, L, L)
        if shift:
            hidden = unseen(height // side, width // side, side, shift, x.device).repeat(n, 1, 1)[:, None]
            logits = torch.where(hidden, -torch.inf, logits)  # (B, h, L, L)
        mixed = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], attn_mask=logits)
        rows = height // side
        merged = rearrange(mixed, "(n r c) h (y x) d -> n (r y) (c x) (h d)", n=n, r=rows, y=side)
        out: Tensor = self.linear(merged)
        return torch.roll(out, (shift, shift), (1, 2)) if shift else out

    def _position_bias(self) -> Tensor:
        """Return the bias of every query and key, (h, L, L)."""
        offset = relative_places(self.window_size, self.relative_position_params.device)  # query minus key
        return self.relative_position_params[:, offset[..., 0], offset[..., 1]]


class TransformerBlock(nn.Module):
    """Attend within windows, then a feed-forward layer, each after a norm and added to what came in."""

    def __init__(self, dim: int, config: Config, *, shifted: bool) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(dim)
        self.msa = WindowAttention(dim, config.head_dim, config.window_size, shifted=shifted)
        self.ln2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape."""
        x = x + self.msa(self.ln1(x))
        out: Tensor = x + self.mlp(self.ln2(x))
        return out


class Block(nn.Module):
    """Run half of the channels through convolutions and half through attention, and mix them (SC block)."""

    def __init__(self, dim: int, config: Config, *, shifted: bool) -> None:
        super().__init__()
        half = dim // 2
        self.trans_block = TransformerBlock(half, config, shifted=shifted)
        self.conv1_1 = nn.Conv2d(dim, dim, 1)
        self.conv1_2 = nn.Conv2d(dim, dim, 1)
        self.conv_block = nn.Sequential(_conv(half, half), nn.ReLU(), _conv(half, half))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, H, W) of the same shape."""
        near, far = self.conv1_1(x).chunk(2, dim=1)
        near = near + self.conv_block(near)
        far = channels_first(self.trans_block(channels_last(far)))
        out: Tensor = x + self.conv1_2(torch.cat([near, far], 1))
        return out


class SCUNet(nn.Module):
    """Take noise of unknown kind and level out of an image.

    Args:
        config: All that describes it.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        dims, depths = [config.dim << scale for scale in range(_SCALES)], config.depths
        self.m_head = nn.Sequential(_conv(config.channels, dims[0]))
        self.m_down1, self.m_down2, self.m_down3 = (
            nn.Sequential(*_blocks(fine, depth, config), nn.Conv2d(fine, coarse, 2, stride=2, bias=False))
            for (fine, coarse), depth in zip(pairwise(dims), depths[:3], strict=True)
        )
        self.m_body = nn.Sequential(*_blocks(dims[3], depths[3], config))
        self.m_up3, self.m_up2, self.m_up1 = (
            nn.Sequential(nn.ConvTranspose2d(coarse, fine, 2, stride=2, bias=False), *_blocks(fine, depth, config))
            for (fine, coarse), depth in zip(reversed(list(pairwise(dims))), depths[4:], strict=True)
        )
        self.m_tail = nn.Sequential(_conv(dims[0], config.channels))

    def forward(self, x: Tensor) -> Tensor:
        """Restore a batch.

        Args:
            x: (N, channels, H, W) in [0, 1], H and W multiples of `config.unit` (64).

        Returns:
            (N, channels, H, W), not clipped.

        Raises:
            ValueError: If the channels or the size do not fit.
        """
        require_images(x, "SCUNet", self.config.channels, self.config.unit)
        skips = [self.m_head(x)]
        for down in (self.m_down1, self.m_down2, self.m_down3):
            skips.append(down(skips[-1]))
        out = self.m_body(skips[-1])
        for up in (self.m_up3, self.m_up2, self.m_up1):
            out = up(out + skips.pop())
        restored: Tensor = self.m_tail(out + skips.pop())
        return restored


def _conv(dim: int, out_dim: int) -> nn.Conv2d:
    return nn.Conv2d(dim, out_dim, 3, padding=1, bias=False)


def _blocks(dim: int, depth: int, config: Config) -> list[nn.Module]:
    """Return blocks, every second one with shifted windows."""
    return [Block(dim, config, shifted=bool(i % 2)) for i in range(depth)]


def _unit_of(config: Config) -> int:
    return config.unit


def _recognise(shapes: Shapes, task: str | None) -> Config | None:
    """Return the configuration of the SCUNet that a file's tensors are of; None for another network."""
    del task
    head, bias = (
        shapes.get(key, ()) for key in ("m_head.0.weight", "m_body.0.trans_block.msa.relative_position_params")
    )
    if len(head) != 4 or len(bias) != 3:
        return None
    down = tuple(count_of(shapes, f"m_down{scale}.") - 1 for scale in (1, 2, 3))  # one is the way to the next scale
    up = tuple(count_of(shapes, f"m_up{scale}.") - 1 for scale in (3, 2, 1))
    return Config(
        dim=head[0],
        depths=(*down, count_of(shapes, "m_body."), *up),
        head_dim=(head[0] << (_SCALES - 2)) // bias[0],
        window_size=(bias[1] + 1) // 2,
        channels=head[1],
    )


ARCH = Arch(
    name="scunet",
    config=Config,
    build=SCUNet,
    multiple_of=Config().unit,
    unit=_unit_of,
    global_attention=False,
    paper="Practical Blind Image Denoising via Swin-Conv-UNet and Data Synthesis, arXiv 2203.13278",
    block=Block,
    recognise=_recognise,
)

"""A small convolutional U-Net that is told how noisy its input is, or finds out itself; it enlarges and lightens too.

Stage 5, RUN. The form is DRUNet's (Zhang et al., Plug-and-Play Image Restoration with Deep Denoiser Prior, arXiv
2008.13751, section 4): plain residual blocks of two 3x3 convolutions on three scales, and the noise level as a further
input plane (the idea is FFDNet's, arXiv 1710.04026, section 3.2). No attention and no statistics over the image, so a
tile sees what the whole image would show it and batches cost what their pixels cost.

What is different, and why:
- A second plane says whether the level is known. Half of the training samples leave it open, so that one network is
  blind and steerable.
- Squares of 2x2 pixels become channels first (`fold`), as in FFDNet: a quarter of the positions, twice the reach.
- Skips are added, not joined, and the ways down and up are a strided and a shuffled convolution: a third less work.
- The last convolution may give `scale` times the size, shuffled as in ESPCN (arXiv 1609.05158, section 3.2).
- Where light is missing (`scene`), a tone curve for each colour comes first. It follows from how bright the whole image
  is, which no tile shows (the idea is Zero-DCE's, arXiv 2001.06826, section 3.1; ours is one rational curve in place of
  eight quadratic ones), and the rest of the network is told.
- Features are kept within a limit (`limit`), as nothing normalises them. In images that training never showed (clean
  ones, said to be noisy) they drive each other up from block to block, until garish colours burst over part of the
  image. Images as in training come out as without a limit, to 0.004 dB.
- Under autocast the tone curves, the first and the last convolution stay in float32. With bfloat16 between them results
  change by 0.04 to 0.17 levels in the root mean square and lose at most 0.003 dB; with all in bfloat16 0.010 dB.
- SiLU in place of ReLU; biases in place of none; the input is added to the output and the last convolution starts at
  zero, so that training starts from the identity.

Letters: N batch, C channels of a scale, H W size of the input.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)

from restore_cli.layers.tensors import at_least_float32, autocast_off, require_images, silu
from restore_cli.models.unet.config import Config, Padding

LEVEL_PLANES = 2
_SCENE_DIM = 64
_QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
_SAMPLES = 256  # rows and columns of an image that its quantiles are taken from
_DARKEST = 1 / 255
_LOG_GAINS = (-1.0, 5.0)
_MIDDLE = 0.5  # what is taken off pixels in [0, 1], so that zero padding at the border means gray and not black


class ResidualBlock(nn.Module):
    """Add two 3x3 convolutions with a SiLU between them to what comes in.

    Args:
        dim: Channels.
        padding: What lies beyond the border.
        limit: Highest magnitude of what goes out, 0 for none.
    """

    def __init__(self, dim: int, padding: Padding = "zeros", limit: float = 0.0) -> None:
        super().__init__()
        self.limit = limit
        self.first = nn.Conv2d(dim, dim, 3, padding=1, padding_mode=padding)
        self.second = nn.Conv2d(dim, dim, 3, padding=1, padding_mode=padding)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, H, W) of the same shape."""
        out: Tensor = x + self.second(silu(self.first(x)))
        return out.clamp(-self.limit, self.limit) if self.limit else out


class Curves(nn.Module):
    """Lighten each colour by a curve that follows from the brightness of the whole image.

    Args:
        channels: Image channels.
        features: Channels of the first convolution, which the scene is added to.
    """

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        facts = 2 * channels * len(_QUANTILES)
        self.channels = channels
        self.look = nn.Sequential(nn.Linear(facts, _SCENE_DIM), nn.SiLU(), nn.Linear(_SCENE_DIM, _SCENE_DIM), nn.SiLU())
        self.curve = nn.Linear(_SCENE_DIM, 2 * channels)
        self.bias = nn.Linear(_SCENE_DIM, features)
        for parameter in (*self.curve.parameters(), *self.bias.parameters()):
            nn.init.zeros_(parameter)

    def scene(self, x: Tensor) -> Tensor:
        """Return (N, K): quantiles of every colour of (N, C, H, W), and their logarithms."""
        rows, columns = (max(1, length // _SAMPLES) for length in x.shape[-2:])
        sample = x[..., ::rows, ::columns].flatten(2).float().clamp(0.0, 1.0)
        quantiles = sample.quantile(sample.new_tensor(_QUANTILES), dim=2).permute(1, 2, 0).flatten(1)
        return torch.cat([quantiles, (quantiles + _DARKEST).log()], 1)

    def forward(self, x: Tensor, scene: Tensor) -> tuple[Tensor, Tensor]:
        """Return (N, C, H, W) lightened, and (N, features, 1, 1) to be added to the first features."""
        seen = self.look(scene)
        log_gain, bend = self.curve(seen)[..., None, None].split(self.channels, dim=1)
        gain = log_gain.clamp(*_LOG_GAINS).exp()
        x = x.clamp(0.0, 1.0)
        lightened = gain * x / (1.0 + bend.sigmoid() * (gain - 1.0) * x)
        return lightened, self.bias(seen)[..., None, None]


class UNet(nn.Module):
    """Take noise, compression and grain out of an image.

    Args:
        config: All that describes it.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        dims, cells = config.dims, config.fold**2
        mode = config.padding
        self.head = nn.Conv2d((config.channels + LEVEL_PLANES) * cells, dims[0], 3, padding=1, padding_mode=mode)
        self.enc = nn.ModuleList(_stage(*stage, config) for stage in zip(dims[:-1], config.depths[:-1], strict=True))
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in pairwise(dims))
        self.mid = _stage(dims[-1], config.depths[-1], config)
        self.up = nn.ModuleList(nn.Conv2d(coarse, 4 * fine, 1) for fine, coarse in pairwise(dims))
        self.dec = nn.ModuleList(_stage(*stage, config) for stage in zip(dims[:-1], config.depths[:-1], strict=True))
        outputs = config.channels * cells * config.scale**2
        self.tail = nn.Conv2d(dims[0], outputs, 3, padding=1, padding_mode=mode)
        self.curves = Curves(config.channels, dims[0]) if config.scene else None
        if config.image_skip:
            for parameter in self.tail.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, level: Tensor | None = None, scene: Tensor | None = None) -> Tensor:
        """Restore a batch.

        Args:
            x: (N, channels, H, W) in [0, 1], or beyond by unclipped noise; H and W multiples of `config.unit` (8).
            level: (N,) standard deviation of each image's noise on the scale of `x` (sigma / 255), negative where it is
                unknown; None for unknown everywhere.
            scene: What `Curves.scene` found in the whole images of which `x` are tiles; None where they are whole.

        Returns:
            (N, channels, scale * H, scale * W), not clipped.

        Raises:
            ValueError: If the channels or the size do not fit.
        """
        require_images(x, "UNet", self.config.channels, self.config.unit)
        bias: Tensor | float = 0.0
        with autocast_off(x):
            if self.curves is not None:
                x, bias = self.curves(x, self.curves.scene(x) if scene is None else scene)
            folded = F.pixel_unshuffle(torch.cat([x - _MIDDLE, _level_planes(x, level)], 1), self.config.fold)
            features = self.head(folded.contiguous(memory_format=torch.channels_last)) + bias
        skips: list[Tensor] = []
        for stage, down in zip(self.enc, self.down, strict=True):
            features = stage(features)
            skips.append(features)
            features = down(features)
        features = self.mid(features)
        for up, stage in zip(reversed(self.up), reversed(self.dec), strict=True):
            features = stage(F.pixel_shuffle(up(features), 2) + skips.pop())
        with autocast_off(x):
            out = F.pixel_shuffle(self.tail(at_least_float32(features)), self.config.fold * self.config.scale)
        return _enlarge(x, self.config.scale) + out if self.config.image_skip else out


def _stage(dim: int, depth: int, config: Config) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(dim, config.padding, config.limit) for _ in range(depth)))


def _enlarge(x: Tensor, scale: int) -> Tensor:
    """Return (N, C, scale * H, scale * W) by bicubic interpolation, in float32 as narrower formats round pixels."""
    if scale == 1:
        return x
    return F.interpolate(x.float(), scale_factor=scale, mode="bicubic", align_corners=False).to(x.dtype)


def _level_planes(x: Tensor, level: Tensor | None) -> Tensor:
    """Return (N, 2, H, W): the level, 0 where it is unknown, and 1 where it is known."""
    count, _, height, width = x.shape
    if level is None:
        return x.new_zeros(count, LEVEL_PLANES, height, width)
    known = level >= 0.0
    planes = torch.stack([torch.where(known, level, torch.zeros_like(level)), known.to(level.dtype)], 1).to(x.dtype)
    return planes[:, :, None, None].expand(-1, -1, height, width)

"""Restormer over a whole image in bands of rows: the same pixels as at once, in a few feature maps, cells if wanted.

Stage 5, RUN; `passes` goes over a block, `network` has the network. For inference alone. At its peak, at
full size on the way up, the network holds features and values of 2C channels, four maps of C, and what a band needs.

Letters: as in `block`; R rows of a band.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own spelling)

from restore_cli.layers.bands import Band, Cells, Execution, conv3x3, usual_rows
from restore_cli.layers.tensors import autocast_off, channels_first, new_map, product_type
from restore_cli.models.restormer.block import Block
from restore_cli.models.restormer.passes import AttentionPass, FeedForwardPass, bands_of

if TYPE_CHECKING:
    from restore_cli.models.restormer.network import Downsample, Restormer, Upsample


def restore_in_bands(network: nn.Module, x: Tensor, execution: Execution | None = None) -> Tensor:
    """Return what `Restormer.forward` returns for a batch, each image in bands, in any context."""
    network = cast("Restormer", network)
    network.check(x)
    run = ImagePass(network, execution or Execution())
    return torch.stack([run.run(image) for image in x])


class ImagePass:
    """A Restormer on one image, in bands.

    Args:
        network: The network.
        execution: Context and bands. A band holds as many numbers at every level, so deep levels have bands of more
            rows.
    """

    def __init__(self, network: Restormer, execution: Execution) -> None:
        self.network, self.execution = network, execution

    def run(self, image: Tensor) -> Tensor:
        """Restore an image (inp_channels, H, W) to (out_channels, H, W)."""
        network, width = self.network, image.shape[2]
        self.numbers = (
            network.config.dim * width * (usual_rows(width) if self.execution.rows is None else self.execution.rows)
        )
        self.dtype = product_type(image)
        # Maps are let go as soon as they have been used: at full size that halves the peak.
        skips: list[Tensor] = []
        with autocast_off(image):
            image = image.permute(1, 2, 0).contiguous()
            x = self._embed(image)
            for level, down in (
                (network.encoder_level1, network.down1_2),
                (network.encoder_level2, network.down2_3),
                (network.encoder_level3, network.down3_4),
            ):
                self._run_level(level, x, len(skips))
                skips.append(x)
                x = self._shrink(down, x)
            self._run_level(network.latent, x, len(skips))
            for up, reduce, level in (
                (network.up4_3, network.reduce_chan_level3, network.decoder_level3),
                (network.up3_2, network.reduce_chan_level2, network.decoder_level2),
                (network.up2_1, None, network.decoder_level1),
            ):
                x = self._grow(up, reduce, x, skips.pop())
                self._run_level(level, x, len(skips))
            self._run_level(network.refinement, x, 0)
            return self._finish(x, image)

    def _run_level(self, blocks: nn.Sequential, x: Tensor, level: int) -> None:
        """Run the blocks of a level, 0 at full size, on features (H, W, C), in place."""
        height, width = (length << level for length in x.shape[:2])
        unit = 1 << len(self.network.config.num_blocks) - 1
        cells = Cells(self.execution, (height, width), down=1 << level, grain=unit, like=x)
        values = new_map(x, *x.shape, dtype=self.dtype)
        for block in blocks:
            AttentionPass(cast("Block", block), self.dtype).add_(x, values, cells, self.numbers)
            FeedForwardPass(cast("Block", block), self.dtype).add_(x, self.numbers)

    def _embed(self, image: Tensor) -> Tensor:
        """Lift an image (H, W, channels) to features (H, W, C)."""
        x = new_map(image, *image.shape[:2], self.network.config.dim)
        for band in bands_of(x, self.numbers):
            band.of(x).copy_(self._convolved(self.network.patch_embed.proj, image, band))
        return x

    def _shrink(self, down: Downsample, x: Tensor) -> Tensor:
        """Halve features (H, W, C) to (H / 2, W / 2, 2C)."""
        smaller = new_map(x, x.shape[0] // 2, x.shape[1] // 2, 2 * x.shape[2])
        conv = cast("nn.Conv2d", down.body[0])
        for band in bands_of(smaller, self.numbers):
            narrow = self._convolved(conv, x, band.scaled(2), dtype=self.dtype)
            band.of(smaller).copy_(_rows_first(F.pixel_unshuffle(channels_first(narrow[None]), 2)))
        return smaller

    def _grow(self, up: Upsample, reduce: nn.Conv2d | None, x: Tensor, skip: Tensor) -> Tensor:
        """Double features (H, W, 2C), join them with the skip (2H, 2W, C) and reduce them to C channels, if so."""
        channels = skip.shape[2]
        joined = new_map(skip, *skip.shape[:2], 2 * channels if reduce is None else channels)
        conv = cast("nn.Conv2d", up.body[0])
        for band in bands_of(x, self.numbers):
            wide = self._convolved(conv, x, band, dtype=self.dtype)
            larger = _rows_first(F.pixel_shuffle(channels_first(wide[None]), 2))
            place, skipped = band.scaled(2).of(joined), band.scaled(2).of(skip)
            if reduce is None:
                place[..., :channels], place[..., channels:] = larger, skipped
            else:
                both = torch.cat((larger, skipped.to(larger.dtype)), 2)
                bias = None if reduce.bias is None else reduce.bias.to(both.dtype)
                place.copy_(F.linear(both, reduce.weight.flatten(1).to(both.dtype), bias))
        return joined

    def _finish(self, x: Tensor, image: Tensor) -> Tensor:
        """Turn features (H, W, 2C) into the image, (out_channels, H, W)."""
        network = self.network
        result = x.new_empty(*x.shape[:2], network.config.out_channels)
        for band in bands_of(x, self.numbers):
            wide = band.widened(1)
            features = wide.of(x)
            if network.config.dual_pixel_task:
                shallow = self._convolved(network.patch_embed.proj, image, wide)
                skip = network.skip_conv
                features = features + F.linear(shallow, skip.weight.flatten(1), skip.bias)
            restored = conv3x3(features, wide, network.output.weight, network.output.bias)
            band.of(result).copy_(band.within(wide.narrowed(), restored))
        if not network.config.dual_pixel_task:
            result += image
        return result.permute(2, 0, 1)

    def _convolved(self, conv: nn.Conv2d, x: Tensor, band: Band, *, dtype: torch.dtype | None = None) -> Tensor:
        """Return a band's rows of a map's (H, W, in) 3x3 convolution, which has no bias: (R, W, out)."""
        wide = band.widened(1)
        rows, weight = (t if dtype is None else t.to(dtype) for t in (wide.of(x), conv.weight))
        return band.within(wide.narrowed(), conv3x3(rows, wide, weight, None))


def _rows_first(x: Tensor) -> Tensor:
    """Return (1, C, R, W) as (R, W, C), a view."""
    return x[0].permute(1, 2, 0)

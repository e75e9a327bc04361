"""A JPEG round trip in torch: what the format loses, without writing a file.

Serves the degradation of real photos. Colour conversion, chroma subsampling by two, 8x8 DCT, the example quantisation
tables of the JPEG standard (ITU-T T.81, annex K) scaled by the quality as libjpeg scales them, and back. Entropy coding
loses nothing and is left out, so a batch of images of different qualities is a handful of matrix products.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

_LEVEL_AT_HALF, _LEVEL_POWER, _LEVEL_MOST = 5.0, 0.75, 50.0

Sampling = Literal["4:4:4", "4:2:2", "4:2:0"]

BLOCK = 8
# How many luma pixels a chroma pixel stands for, down and across, and how often each is met.
FACTORS: dict[Sampling, tuple[int, int]] = {"4:4:4": (1, 1), "4:2:2": (1, 2), "4:2:0": (2, 2)}
SHARES: dict[Sampling, float] = {"4:4:4": 0.3, "4:2:2": 0.15, "4:2:0": 0.55}

LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
)
# Full-range BT.601, rows Y, Cb, Cr from R, G, B (JFIF 1.02).
TO_YCBCR = (
    (0.299, 0.587, 0.114),
    (-0.168735892, -0.331264108, 0.5),
    (0.5, -0.418687589, -0.081312411),
)


def level_of_quality(quality: float) -> float:
    """Return the noise level (0..255 scale) that stands for a JPEG, so that one plane tells a network of both.

    A denoiser that had never been told of a quality gained most on validation images at 25, 15, 9.5, 6, 2.5 and 1 for
    qualities of 5, 10, 20, 40, 75 and 90, which a power of libjpeg's percentage follows.

    Args:
        quality: libjpeg's, 1..100.
    """
    percent = 5000.0 / quality if quality < 50.0 else 200.0 - 2.0 * quality
    return min(_LEVEL_MOST, _LEVEL_AT_HALF * math.pow(percent / 100.0, _LEVEL_POWER))


def compress_jpeg(images: torch.Tensor, quality: torch.Tensor, *, sampling: Sampling = "4:2:0") -> torch.Tensor:
    """Return RGB images as they would come back from JPEG files.

    Args:
        images: float32 (N, 3, H, W) in [0, 1].
        quality: libjpeg's quality 1..100 of each image, shape (N,).
        sampling: Of the colour planes; most cameras and programs halve them both ways (4:2:0).

    Returns:
        float32 (N, 3, H, W) in [0, 1], rounded to 8 bit.
    """
    import torch
    from torch.nn import functional

    height, width = images.shape[-2:]
    unit = 2 * BLOCK
    padding = (0, -width % unit, 0, -height % unit)
    matrix = torch.tensor(TO_YCBCR, device=images.device)
    pixels = functional.pad((images * 255.0).round(), padding, mode="replicate")
    planes = torch.einsum("ij,njhw->nihw", matrix, pixels).round()  # an encoder stores them as whole numbers too
    luma = _quantise_blocks(planes[:, :1] - 128.0, LUMA_TABLE, quality) + 128.0
    chroma = planes[:, 1:]
    down, across = FACTORS[sampling]
    if down * across > 1:
        chroma = functional.avg_pool2d(chroma, (down, across))
    chroma = _quantise_blocks(chroma, CHROMA_TABLE, quality)
    if down * across > 1:
        size = (chroma.shape[-2] * down, chroma.shape[-1] * across)
        chroma = functional.interpolate(chroma, size=size, mode="bilinear", align_corners=False)
    rgb = torch.einsum("ij,njhw->nihw", torch.linalg.inv(matrix), torch.cat([luma, chroma], dim=1))
    return (rgb[..., :height, :width].clamp(0.0, 255.0).round() / 255.0).contiguous()


def compress_at_random(images: torch.Tensor, quality: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return RGB images as they would come back from JPEG files of any sampling, cut out of larger images.

    Args:
        images: float32 (N, 3, H, W) in [0, 1].
        quality: As in `compress_jpeg`.
        generator: Source of samplings and of where the grid of blocks lies, on the device of `images`.

    Returns:
        As `compress_jpeg`.
    """
    import torch
    from torch.nn import functional

    unit = 2 * BLOCK
    top, left = torch.randint(0, unit, (2,), generator=generator, device=generator.device).tolist()
    larger = functional.pad(images, (left, 0, top, 0), mode="replicate")
    shares = torch.tensor(tuple(SHARES.values()), device=generator.device)
    drawn = torch.multinomial(shares, images.shape[0], replacement=True, generator=generator)
    compressed = torch.empty_like(images)
    for number, sampling in enumerate(SHARES):
        chosen = (drawn == number).nonzero().flatten()
        if len(chosen):
            whole = compress_jpeg(larger[chosen], quality[chosen], sampling=sampling)
            compressed[chosen] = whole[..., top:, left:]
    return compressed


def compress_chosen(
    images: torch.Tensor, chosen: torch.Tensor, quality: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Return RGB images of which some were saved as JPEG, as `compress_at_random` does it.

    Args:
        images: float32 (N, 3, H, W) in [0, 1].
        chosen: Which were saved, bool (N,).
        quality: Of each of these, in their order, shape (k,).
        generator: As in `compress_at_random`; nothing is drawn where none is chosen.
    """
    if not chosen.any():
        return images
    images = images.clone()
    images[chosen] = compress_at_random(images[chosen], quality, generator)
    return images


def _quantise_blocks(planes: torch.Tensor, table: tuple[tuple[int, ...], ...], quality: torch.Tensor) -> torch.Tensor:
    import torch

    count, channels, height, width = planes.shape
    transform = _dct_matrix(planes.device)
    blocks = planes.reshape(count, channels, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    spectrum = torch.einsum("ux,ncaxby,vy->ncaubv", transform, blocks, transform)
    steps = _scaled_table(table, quality).view(count, 1, 1, BLOCK, 1, BLOCK)
    spectrum = (spectrum / steps).round() * steps
    return torch.einsum("ux,ncaubv,vy->ncaxby", transform, spectrum, transform).reshape(planes.shape)


def _scaled_table(table: tuple[tuple[int, ...], ...], quality: torch.Tensor) -> torch.Tensor:
    import torch

    base = torch.tensor(table, dtype=torch.float32, device=quality.device)
    percent = torch.where(quality < 50.0, 5000.0 / quality.clamp_min(1.0), 200.0 - 2.0 * quality)
    return ((base * percent.view(-1, 1, 1) + 50.0) / 100.0).floor().clamp(1.0, 255.0)


def _dct_matrix(device: torch.device) -> torch.Tensor:
    import torch

    index = torch.arange(BLOCK, dtype=torch.float32, device=device)
    matrix = torch.cos((2.0 * index.view(1, -1) + 1.0) * index.view(-1, 1) * math.pi / (2 * BLOCK)) * 0.5
    matrix[0] = math.sqrt(1.0 / BLOCK)
    return matrix

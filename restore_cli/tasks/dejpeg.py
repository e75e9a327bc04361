"""Dejpeg: take the blocks, rings and smeared colours of JPEG out of an image; nobody says of which quality it was.

An image that was saved once has its blocks where they started; one that was edited and saved again has two grids of
blocks, one shifted against the other (Jiang et al., FBCNN, arXiv 2109.14573, section 3.3). A file's header says how it
was saved last, which a network that takes a noise level is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from restore_cli.tasks import DegradeOptions, Task
from restore_cli.tasks._grain import LUMA
from restore_cli.tasks._jpeg import compress_at_random, compress_chosen, level_of_quality
from restore_cli.tasks._kernels import draw_chance, draw_uniform
from restore_cli.tasks._levels import half_secret

if TYPE_CHECKING:
    import torch

TWICE_CHANCE = 0.25
FIRST_QUALITY = (10.0, 99.0)


def degrade(clean: torch.Tensor, options: DegradeOptions, generator: torch.Generator) -> torch.Tensor:
    """Compress images, some of them twice; chroma is kept, halved across (4:2:2), or halved both ways (4:2:0).

    Args:
        clean: float32 (N, C, H, W) in [0, 1].
        options: The range of qualities, which of images compressed twice is the last one's.
        generator: Source of qualities, samplings and grids, on the device of `clean`.

    Returns:
        float32 (N, C, H, W) in [0, 1], rounded to 8 bit; R = G = B stays so.
    """
    return _degraded(clean, options, generator)[0]


def degrade_and_measure(
    clean: torch.Tensor, options: DegradeOptions, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compress images as `degrade` does, and say of half of them how strongly they were at last.

    Args:
        clean: As in `degrade`.
        options: As in `degrade`.
        generator: As in `degrade`; the same state gives the same images.

    Returns:
        What `degrade` returns, and (N,): the noise level that stands for the quality it was last saved with, on the
        scale of `clean`; -1 where it is kept secret, as it is where an image is no JPEG any more.
    """
    import torch

    degraded, quality = _degraded(clean, options, generator)
    level = torch.tensor([level_of_quality(each) / 255.0 for each in quality.tolist()], device=clean.device)
    return degraded, half_secret(level, generator)


def _degraded(
    clean: torch.Tensor, options: DegradeOptions, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images as saved, and the quality (N,) they were last saved with."""
    import torch

    count, channels = clean.shape[:2]
    gray = (clean == clean[:, :1]).flatten(1).all(1)
    low, high = options.quality_range
    quality = draw_uniform(count, low, high + 1.0, generator).floor().clamp_max(high)
    first = draw_uniform(count, *FIRST_QUALITY, generator).round()
    twice = draw_chance(count, TWICE_CHANCE, generator).flatten()
    images = clean.clamp(0.0, 1.0).expand(-1, 3, -1, -1)
    images = compress_chosen(images, twice, first[twice], generator)
    images = compress_at_random(images, quality, generator)
    luma = (images * images.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    luma = (luma * 255.0).round() / 255.0  # what has no colour comes back with none, whatever rounding did
    return torch.where(gray.view(-1, 1, 1, 1), luma, images)[:, :channels].contiguous(), quality


TASK = Task(
    name="dejpeg",
    title="removal of JPEG artefacts",
    action="Remove JPEG artefacts",
    metrics=("psnr", "ssim"),
    suffix="_dejpeg",
    crop_border=lambda _scale: 0,
    degrade=degrade,
    degrade_and_measure=degrade_and_measure,
    sigma_of_jpeg=level_of_quality,
)

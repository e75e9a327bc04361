"""Restore each image with each candidate and score it against the truth.

Stage 5 of scoring, RUN. A candidate is anything that turns a degraded image into a restored one: weights, or the
floor that needs none. Each image is read (and degraded) once and given to all of them, so that they see the same
noise; what cannot be read or restored is told and left out, and the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from restore_cli.errors import ImageError
from restore_cli.imaging.decoded_image import DecodedImage
from restore_cli.metrics.psnr import psnr, psnr_y
from restore_cli.metrics.ssim import ssim, ssim_y
from restore_cli.scoring.candidates import Candidate
from restore_cli.scoring.pairs import Pair
from restore_cli.scoring.protocol import Protocol
from restore_cli.scoring.report import Failure, ImageScore
from restore_cli.scoring.sample import Sample, Uint8Image, as_8bit, make_sample

Metric = Callable[[Uint8Image, Uint8Image, int], float]
"""Restored, clean, pixels of border to cut -> score."""

_METRICS: Mapping[str, Metric] = {
    "psnr": lambda restored, clean, border: psnr(restored, clean, crop_border=border),
    "psnr_y": lambda restored, clean, border: psnr_y(restored, clean, crop_border=border),
    "ssim": lambda restored, clean, border: ssim(restored, clean, crop_border=border),
    "ssim_y": lambda restored, clean, border: ssim_y(restored, clean, crop_border=border),
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one image.

    Attributes:
        name: The pair's name.
        sample: Its pixels, or None where it could not be read.
        restored: uint8 (H, W, C) by candidate label; those that failed are missing.
        scores: One for each of `restored`.
        failures: One for each candidate that failed, or a single one for the image.
        warnings: What was decided on the way, a line each.
    """

    name: str
    sample: Sample | None = None
    restored: Mapping[str, Uint8Image] = field(default_factory=dict)
    scores: tuple[ImageScore, ...] = ()
    failures: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()

    def without_pixels(self) -> Self:
        """Return the scores alone: a folder of images need not fit the memory."""
        return replace(self, sample=None, restored={})


def score_images(
    pairs: Iterable[Pair],
    protocol: Protocol,
    candidates: Iterable[Candidate],
    extra_metrics: Mapping[str, Metric],
) -> Iterator[Outcome]:
    """Score images one after the other, each with every candidate.

    Args:
        pairs: What to score.
        protocol: How.
        candidates: What restores; labels are distinct.
        extra_metrics: Metrics of the protocol that this module does not carry, by name.

    Yields:
        One outcome an image, in the order of `pairs`; its pixels are not kept here.
    """
    ways = tuple(candidates)
    metrics = {name: ({**_METRICS, **extra_metrics})[name] for name in protocol.metrics}
    for pair in pairs:
        try:
            sample = make_sample(pair, protocol)
        except ImageError as error:
            yield Outcome(name=pair.name, failures=(Failure(image=pair.name, candidate=None, reason=str(error)),))
            continue
        yield _score_image(sample, protocol, ways, metrics)


def _score_image(
    sample: Sample, protocol: Protocol, candidates: tuple[Candidate, ...], metrics: Mapping[str, Metric]
) -> Outcome:
    restored: dict[str, Uint8Image] = {}
    scores: list[ImageScore] = []
    failures: list[Failure] = []
    warnings = list(sample.warnings)
    degraded = DecodedImage(pixels=sample.degraded, jpeg=sample.jpeg)
    for candidate in candidates:
        label = candidate.facts.label
        start = time.perf_counter()
        try:
            image = candidate.restore(degraded)
        except ImageError as error:
            failures.append(Failure(image=sample.name, candidate=label, reason=str(error)))
            continue
        seconds = time.perf_counter() - start
        pixels = as_8bit(image.pixels)
        warnings += [f"{sample.name}, {label}: {warning}" for warning in image.warnings]
        values = {name: metric(pixels, sample.clean, protocol.crop_border) for name, metric in metrics.items()}
        restored[label] = pixels
        scores.append(ImageScore(image=sample.name, candidate=label, values=values, seconds=seconds))
    return Outcome(
        name=sample.name,
        sample=sample,
        restored=restored,
        scores=tuple(scores),
        failures=tuple(failures),
        warnings=tuple(warnings),
    )

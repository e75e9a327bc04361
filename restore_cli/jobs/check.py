"""What is refused of an image ahead of the network, and what a person should know of its result.

Stage 2, PLAN, and 5, RUN. A file's parts and the size of its result are checked for each image of a dry run, and by the
pipeline once an image is read, so that both refuse the same.

An image that keeps its noise, one whose lights are burnt out, and a small JPEG enlarged with all its blocks are results
as good as any to the program; to the person they are not, and an option would have helped: that is advice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from restore_cli.errors import ImageError
from restore_cli.imaging.decoded_image import DecodedImage, FloatImage
from restore_cli.imaging.encode import check_format, check_pages, check_result, check_size, fitted_size, output_format
from restore_cli.jobs.choose import LARGEST_SIGMA, Choice, WeightsRequest, estimated_noise
from restore_cli.jobs.plan import JobPlan
from restore_cli.jobs.targets import ImageJob
from restore_cli.models import get_architecture
from restore_cli.settings import RunSettings, WriteSettings
from restore_cli.weights.entry import WeightsEntry
from restore_cli.weights.manifest import load_manifest

# Noise is seen from about here on; texture is taken for less of it.
_SEEN_SIGMA = 6.0
# A denoiser that finds the noise changes an image by about as much as there was.
_LEAST_SHARE_OF_NOISE = 0.35
_PHOTO_QUALITY = 85
_MOST_CLIPPED = 0.05
_HALF_A_LEVEL = 0.5 / 255.0


def written_format(source_format: str, job: ImageJob, settings: WriteSettings) -> str:
    """Return the format a result is written in, as Pillow names it."""
    return settings.format or output_format(source_format, job.target.suffix)


def check_output(
    height: int, width: int, source_format: str, job: ImageJob, plan: JobPlan, *, scale: int, pages: int = 1
) -> str:
    """Return the format a result is written in, if a result of its size can be.

    Args:
        height: Of the image as it is read.
        width: The same.
        source_format: As Pillow names it.
        job: Where the result goes.
        plan: How it is made.
        scale: The network's factor.
        pages: How many images go into the result.

    Raises:
        ImageError: If it is larger than allowed, or than the format holds, or cannot be written as requested.
    """
    height, width = height * scale, width * scale
    check_result(height, width, plan.read)
    height, width = fitted_size(height, width, plan.write.size)
    check_result(height, width, plan.read)
    format_name = written_format(source_format, job, plan.write)
    check_format(format_name, lossless=plan.write.lossless)
    check_size(height, width, format=format_name)
    check_pages(pages, format=format_name)
    return format_name


def check_image(job: ImageJob, plan: JobPlan, *, scale: int) -> None:
    """Refuse what a run would refuse of an image ahead of the network; its pixels are not decoded.

    Args:
        job: One whose image does not come from a pipe.
        plan: How it is read and written.
        scale: The network's factor.

    Raises:
        ImageError: With the file's name, if it would be refused.
    """
    from restore_cli.imaging.decode import inspect, read_file

    for path in (job.source, job.right):
        if path is None:
            continue
        header = inspect(read_file(path, plan.read.max_pixels), str(path), plan.read)
        if path != job.source:
            continue
        try:
            size = (header.height, header.width)
            check_output(*size, header.format, job, plan, scale=scale, pages=header.pages)
        except ImageError as error:
            raise ImageError(f"{path}: {error.message}", hint=error.hint) from error


@dataclass(frozen=True, kw_only=True)
class Advice:
    """One thing to know.

    Attributes:
        kind: What it is about; one of a kind is enough for a batch.
        text: The line.
    """

    kind: str
    text: str


def clipping_warning(before: DecodedImage, after: DecodedImage, task: str) -> str | None:
    """Return what to know of a lightened image that became black or white where it was not, None for nothing."""
    if task != "lowlight" or before.pixels.shape != after.pixels.shape:
        return None
    share = float((_is_clipped(after.pixels) & ~_is_clipped(before.pixels)).mean())
    if share <= _MOST_CLIPPED:
        return None
    return f"{share:.0%} of its samples become black or white; a lower strength (--strength 0.5) keeps more of them"


def advice_on(
    before: DecodedImage, after: DecodedImage, choice: Choice, request: WeightsRequest, run: RunSettings
) -> tuple[Advice, ...]:
    """Return what would have helped an image more.

    Args:
        before: The image as it was read.
        after: Its result.
        choice: The weights it got.
        request: The weights that were asked for.
        run: How they ran.
    """
    advice = None
    if request.task == "denoise" and before.pixels.shape == after.pixels.shape:
        advice = _on_noise_that_stayed(before, after, choice, run)
    elif request.task == "sr":
        advice = _on_compression(before, choice.entry, request)
    return () if advice is None else (advice,)


def _on_noise_that_stayed(before: DecodedImage, after: DecodedImage, choice: Choice, run: RunSettings) -> Advice | None:
    change = 255.0 * float(np.sqrt(np.mean((after.pixels - before.pixels).mean(2) ** 2)))
    if change >= _LEAST_SHARE_OF_NOISE * LARGEST_SIGMA:
        return None
    noise = choice.noise or estimated_noise(before)
    if noise.luma < _SEEN_SIGMA or change >= _LEAST_SHARE_OF_NOISE * run.strength * noise.luma:
        return None
    known = run.sigma if choice.noise is None else choice.level
    level = min(LARGEST_SIGMA, max(noise.sigma, 0.0 if known is None else 1.5 * known))
    takes_level = get_architecture(choice.entry.arch).takes_level and level != known
    hint = f"try --sigma {level:.0f}" if takes_level else "try other weights with -m, see `restore models list`"
    text = f"its result hardly differs from it, and it looks noisy (sigma of about {noise.sigma:.0f}): {hint}"
    return Advice(kind="noise", text=text)


def _on_compression(before: DecodedImage, entry: WeightsEntry, request: WeightsRequest) -> Advice | None:
    if before.jpeg is None or before.jpeg.quality >= _PHOTO_QUALITY:
        return None
    if entry.variant is not None or request.path is not None:
        return None
    if not any(
        (other.task, other.scale, other.variant) == ("sr", entry.scale, "photo")
        and (other.bundled if request.model is None else other.model == request.model)
        for other in load_manifest().entries
    ):
        return None
    text = f"it is a JPEG of quality {before.jpeg.quality} or so: --photo takes out what compression left in it"
    return Advice(kind="photo", text=text)


def _is_clipped(pixels: FloatImage) -> npt.NDArray[np.bool_]:
    clipped: npt.NDArray[np.bool_] = (pixels < _HALF_A_LEVEL) | (pixels > 1.0 - _HALF_A_LEVEL)
    return clipped

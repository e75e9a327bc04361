"""What a person should know of a result beside its input: nothing happened, too much did, or another option suits.

Stage 5, RUN. An image that keeps its noise, one whose lights are burnt out, and a small JPEG enlarged with all its
blocks are results as good as any to the program; to the person they are not, and an option would have helped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from restore_cli.imaging.decoded_image import DecodedImage, FloatImage
from restore_cli.jobs.choose import LARGEST_SIGMA, Choice, WeightsRequest, estimated_noise
from restore_cli.models import get_architecture
from restore_cli.settings import RunSettings
from restore_cli.weights.entry import WeightsEntry
from restore_cli.weights.manifest import load_manifest

# Noise is seen from about here on; texture is taken for less of it.
_SEEN_SIGMA = 6.0
# A denoiser that finds the noise changes an image by about as much as there was.
_LEAST_SHARE_OF_NOISE = 0.35
_PHOTO_QUALITY = 85
_MOST_CLIPPED = 0.05
_HALF_A_LEVEL = 0.5 / 255.0


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

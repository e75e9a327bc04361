"""Which weights an image gets: by the request, and where that leaves it open, by the image itself.

Stage 2, PLAN, and asked again for each image once it is read. A request for denoising leaves open whether the gray
network or the one for colour is meant, and `sigma="auto"` which noise level; both are settled for each image by itself,
so that an image comes out the same whatever lies beside it in the folder. Loads no torch, but where a weights file of
others must be recognised by its tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from restore_cli.errors import ImageError, UsageError, WeightsError
from restore_cli.settings import ReadSettings
from restore_cli.tasks import Task, get_task, task_names
from restore_cli.weights.entry import did_you_mean
from restore_cli.weights.manifest import Manifest, load_manifest

if TYPE_CHECKING:
    from restore_cli.imaging.decoded_image import DecodedImage, FloatImage
    from restore_cli.jobs.targets import ImageJob
    from restore_cli.metrics.noise_level import NoiseEstimate
    from restore_cli.weights.manifest import WeightsEntry

LARGEST_SIGMA = 50.0
LEAST_SIGMA_USED = 4.0
"""Less than this may be texture, or the finest part of coarse noise, as compressed images of cameras have it."""
_SIGMAS = range(int(LARGEST_SIGMA) + 1)
# Looked at before all others: where an image is in colour, a few of its rows nearly always say so.
_ROWS_APART = 64


@dataclass(frozen=True, kw_only=True)
class WeightsRequest:
    """Say which weights are wanted.

    Attributes:
        task: Command name of the task.
        model: A model's name or a weights id; None for the bundled weights.
        path: A weights file of the user's own.
        url: The address it is fetched from; None for a file that is here.
        scale: Factor of super-resolution; None leaves it to the weights that are named, or else to the task's default.
        sigma: Noise level on the 0..255 scale, "auto" to estimate it in each image, None where it is unknown or not
            the task.
        gray: Whether the gray network is wanted; None where each image decides.
        variant: Special form of the task ("photo", "real", "motion", ...); None leaves it to the weights that are
            named, or else to the task's default, which is the plain form where it has one.
        offline: Never touch the network.
    """

    task: str
    model: str | None = None
    path: Path | None = None
    url: str | None = None
    scale: int | None = None
    sigma: float | Literal["auto"] | None = None
    gray: bool | None = None
    variant: str | None = None
    offline: bool = False


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The weights of one image.

    Attributes:
        entry: Which weights.
        noise: What was estimated of the noise in the image, None where nobody asked for it.
    """

    entry: WeightsEntry
    noise: NoiseEstimate | None = None

    @property
    def sigma(self) -> float | None:
        """Return the estimated level of the noise on the 0..255 scale, None where nobody asked for it."""
        return None if self.noise is None else self.noise.sigma

    @property
    def level(self) -> float | None:
        """Return the level a network is told, None where it had better find it itself."""
        if self.noise is None or self.noise.sigma < LEAST_SIGMA_USED:
            return None
        return min(self.noise.sigma, LARGEST_SIGMA)


class Chooser:
    """Choose the weights of each image of a request.

    Args:
        request: What is wanted.

    Raises:
        UsageError: If nothing serves the request; what there is is in the message.
        WeightsError: If the weights file is missing or damaged, or nothing is bundled for the request.
    """

    def __init__(self, request: WeightsRequest) -> None:
        _require_sigma(request.sigma)
        self._request = request = _completed(request)
        if request.path is not None and not request.path.is_file():
            raise WeightsError(f"{request.path} is no file", hint="look at --weights")
        self._own = _entry_of_file(request, request.path) if request.path and request.model is None else None
        self._manifest = None if self._own is not None else load_manifest()
        sigma = None if request.sigma == "auto" else request.sigma
        self._default = self._entry(self._channels[0], sigma)
        self._candidates = self._all_candidates()

    @property
    def default(self) -> WeightsEntry:
        """Return the weights of an image that nothing is known of."""
        return self._default

    @property
    def candidates(self) -> tuple[WeightsEntry, ...]:
        """Return all weights that some image could get, the default first."""
        return self._candidates

    @property
    def depends_on_image(self) -> bool:
        """Return whether two images can get different weights, or the same at different levels."""
        return len(self._candidates) > 1 or self._request.sigma == "auto"

    def choose(self, image: DecodedImage) -> Choice:
        """Return the weights of an image.

        An image counts as gray if its file is, or if red, green and blue are equal in every pixel.
        """
        if not self.depends_on_image:
            return Choice(entry=self._default)
        noise = estimated_noise(image) if self._request.sigma == "auto" else None
        channels = self._channels[-1] if len(self._channels) > 1 and is_gray(image.pixels) else self._channels[0]
        level = self._request.sigma if noise is None else min(noise.sigma, LARGEST_SIGMA)
        return Choice(entry=self._entry(channels, None if level == "auto" else level), noise=noise)

    def choose_for(self, job: ImageJob, read: ReadSettings, *, by_header: bool = False) -> Choice | None:
        """Return the weights of an image that is not read yet; None where it cannot be read.

        Args:
            job: Its source is looked at, as little as suffices.
            read: How it would be read.
            by_header: No pixels are decoded, unless the noise is to be estimated: an image counts as gray only if its
                file says so.
        """
        from restore_cli.imaging.decode import decode_bytes, read_file
        from restore_cli.imaging.gray import is_gray as is_gray_file
        from restore_cli.imaging.gray import is_gray_data

        if not self.depends_on_image:
            return Choice(entry=self._default)
        if job.file is None and job.data is None:
            return None
        sigma = self._request.sigma
        if sigma != "auto" and (is_gray_file(job.source) if job.data is None else is_gray_data(job.data)):
            return Choice(entry=self._entry(self._channels[-1], sigma))
        if by_header and sigma != "auto":
            return Choice(entry=self._default)
        try:
            data = read_file(job.source, read.max_pixels) if job.data is None else job.data
            return self.choose(decode_bytes(data, job.source_name, replace(read, strict=False, all_pages=False)))
        except ImageError:  # told when its turn comes
            return None

    @property
    def _channels(self) -> tuple[int, ...]:
        """Return how many channels the network may have, the first where nothing is known of the image."""
        request = self._request
        if request.gray is not None:
            return (1,) if request.gray else (3,)
        if self._own is not None or self._manifest is None:
            return (3,)
        named = {entry.id: entry.channels for entry in self._manifest.entries}.get(request.model or "")
        if named is not None:
            return (named,)
        # A file takes the place of one entry's own, so there is nothing to choose between.
        return (3,) if request.path is not None else (3, 1)

    def _entry(self, channels: int, sigma: float | None) -> WeightsEntry:
        if self._own is not None:
            return self._own
        return _select(self._manifest or load_manifest(), self._request, channels, sigma)

    def _all_candidates(self) -> tuple[WeightsEntry, ...]:
        request = self._request
        sigmas = _SIGMAS if request.sigma == "auto" and request.path is None else (request.sigma,)
        levels = [None if sigma == "auto" else sigma for sigma in sigmas]
        found = [self._entry(channels, level) for channels in self._channels for level in levels]
        return tuple({entry.id: entry for entry in (self._default, *found)}.values())


def is_gray(pixels: FloatImage) -> bool:
    """Return whether all channels of an image are equal; float32 (H, W, C)."""
    return all(bool((rows == rows[..., :1]).all()) for rows in (pixels[::_ROWS_APART], pixels))


def estimated_noise(image: DecodedImage) -> NoiseEstimate:
    """Estimate how strong the noise in an image is, in the light of what its file was."""
    from restore_cli.metrics.noise_level import estimate_noise

    return estimate_noise(image.pixels, chroma_is_halved=image.jpeg is not None and image.jpeg.chroma_is_halved)


def task_of(name: str) -> Task:
    """Return a task by its command name.

    Raises:
        UsageError: If there is none; the known ones are in the message.
    """
    if name not in task_names():
        raise UsageError(f"unknown task {name!r}{did_you_mean(name, task_names())} (known: {', '.join(task_names())})")
    return get_task(name)


def sigma_warning(entry: WeightsEntry, sigma: float | None) -> str | None:
    """Return what a person should know of a noise level that weights were not trained for, None for nothing.

    Args:
        entry: The weights.
        sigma: The level on the 0..255 scale, None where none was asked for.
    """
    if sigma is None:
        return None
    if entry.sigma_range is None:
        return f"{entry.id} takes no noise level, and --sigma changes nothing"
    low, high = entry.sigma_range
    if low <= sigma <= high:
        return None
    blind = _holding(sigma, entry)
    other = "" if blind is None else f"; -m {blind} takes any level"
    return f"{entry.id} was trained at sigma {trained_sigma(entry)}, the nearest there is to {sigma:g}{other}"


def trained_sigma(entry: WeightsEntry) -> str:
    """Return the noise levels that weights were trained for as people write them, "25" or "0 to 50"."""
    low, high = entry.sigma_range or (0.0, 0.0)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _require_sigma(sigma: object) -> None:
    if sigma is None or sigma == "auto" or (isinstance(sigma, int | float) and 0.0 <= sigma <= LARGEST_SIGMA):
        return
    raise UsageError(f"sigma {sigma!r} is neither a number from 0 to {LARGEST_SIGMA:g} nor 'auto'")


def _completed(request: WeightsRequest) -> WeightsRequest:
    """Return a request with the scale and variant that the named weights have, or else those of the task."""
    task = task_of(request.task)
    if request.path is not None and request.model is None:
        return request  # the file says both
    named = next((entry for entry in load_manifest().entries if entry.id == request.model), None)
    scale, variant = (task.default_scale, task.default_variant) if named is None else (named.scale, named.variant)
    return replace(
        request,
        scale=scale if request.scale is None else request.scale,
        variant=variant if request.variant is None else request.variant,
    )


def _select(manifest: Manifest, request: WeightsRequest, channels: int, sigma: float | None) -> WeightsEntry:
    return manifest.select(
        request.model,
        task=request.task,
        scale=1 if request.scale is None else request.scale,
        channels=channels,
        sigma=sigma,
        variant=request.variant,
    )


def _entry_of_file(request: WeightsRequest, path: Path) -> WeightsEntry:
    from restore_cli.weights.foreign import entry_of

    entry = entry_of(path, task=request.task)
    if entry.task != request.task:
        raise UsageError(f"{path} is for {entry.task}, not for {request.task}", hint=f"say `restore {entry.task}`")
    if request.scale not in (None, entry.scale):
        raise UsageError(f"{path} enlarges {entry.scale} times, not {request.scale}", hint="leave --scale out")
    return entry


def _holding(sigma: float, entry: WeightsEntry) -> str | None:
    """Return the id of weights for the same that hold a noise level in their range, None where there are none."""
    request = entry.model, entry.task, entry.channels, entry.variant
    for other in load_manifest().entries:
        low, high = other.sigma_range or (0.0, -1.0)
        if (other.model, other.task, other.channels, other.variant) == request and low <= sigma <= high:
            return other.id
    return None

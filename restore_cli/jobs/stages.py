"""What is done to one image, in the threads of the pipeline: read it, restore it, write it; and what is checked.

Stages 3 to 7. A file's parts and the size of its result are checked for each image of a dry run (`check_image`), and
here once an image is read, so that both refuse the same ahead of the network. Imports no torch.

An image that keeps its noise, one whose lights are burnt out, and a small JPEG enlarged with all its blocks are results
as good as any to the program; to the person they are not, and an option would have helped: that is advice.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from restore_cli.errors import ImageError, TargetExistsError
from restore_cli.imaging.decode import decode_bytes, inspect, read_file
from restore_cli.imaging.decoded_image import DecodedImage, FloatImage
from restore_cli.imaging.encode import (
    check_format,
    check_pages,
    check_result,
    check_size,
    encode,
    fitted,
    fitted_size,
    losses,
    output_format,
)
from restore_cli.inference.report import OnProgress
from restore_cli.jobs.addresses import fetch_image
from restore_cli.jobs.bucket_results import publish_in_bucket
from restore_cli.jobs.choose import LARGEST_SIGMA, Choice, WeightsRequest, estimated_noise
from restore_cli.jobs.ledger import Origin, digest_of_bytes, digest_of_views
from restore_cli.jobs.networks import NetworkSource
from restore_cli.jobs.plan import JobPlan
from restore_cli.jobs.resume import Ledgers
from restore_cli.jobs.targets import ImageJob
from restore_cli.models import get_architecture
from restore_cli.settings import RunSettings, WriteSettings
from restore_cli.storage.files import Like, make_folder, publish
from restore_cli.weights.entry import WeightsEntry
from restore_cli.weights.manifest import load_manifest

Deliver = Callable[[bytes], None]
Observe = Callable[[ImageJob, DecodedImage, DecodedImage], None]

# Noise is seen from about here on; texture is taken for less of it.
_SEEN_SIGMA = 6.0
# A denoiser that finds the noise changes an image by about as much as there was.
_LEAST_SHARE_OF_NOISE = 0.35
_PHOTO_QUALITY = 85
_MOST_CLIPPED = 0.05
_HALF_A_LEVEL = 0.5 / 255.0


class DoneAlreadyError(Exception):
    """Leave an image that another process, or an earlier run, has done."""


@dataclass(frozen=True, kw_only=True)
class Read:
    """An image that was read, the weights it gets, and where a ledger asks for it the digest and tag of its file."""

    image: DecodedImage
    choice: Choice
    digest: str = ""
    tag: str | None = None


@dataclass(frozen=True, kw_only=True)
class Ran:
    """An image that was restored, what with, where a ledger asks for it, and what would have helped it more."""

    image: DecodedImage
    origin: Origin | None
    advice: tuple[Advice, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Written:
    """What writing an image gave: what its format could not hold."""

    warnings: tuple[str, ...]


# What a stage gives: an image read, an image restored, an image written.
Outcome = Read | Ran | Written


@dataclass(frozen=True)
class Proof:
    """What a ledger is told of one result."""

    ledgers: Ledgers
    origin: Origin
    digest: str
    tag: str | None


def read_image(
    job: ImageJob, plan: JobPlan, networks: NetworkSource, ledgers: Ledgers | None, stop: threading.Event
) -> Read:
    """Read and decode an image, and settle which weights it gets; `stop` leaves a download.

    Raises:
        DoneAlreadyError: If its result is there, proved.
        DeadlyImageError: If it has ended its process too often.
    """
    settings, tag = plan.read, None
    if job.url is not None:
        data, tag = fetch_image(job.url, allow_private=job.allow_private, stop=stop)
    else:
        data = read_file(job.source, settings.max_pixels) if job.data is None else job.data
    digest = digest_of_bytes(data) if job.keeps_proof else ""
    right = None if job.right is None else read_file(job.right, settings.max_pixels)
    if right is not None and digest:
        digest = digest_of_views(digest, digest_of_bytes(right))
    if plan.write.resume and ledgers is not None and ledgers.prove(job, digest, tag):
        raise DoneAlreadyError
    if ledgers is not None and digest:
        if not plan.retry_failed:
            ledgers.refuse_deadly(job, digest)
        if plan.one_by_one:  # so that its decoder is watched too
            ledgers.begin(job, digest)
    image = decode_bytes(data, job.source_name, settings)
    if right is not None:
        image = replace(image, right=decode_bytes(right, str(job.right), settings).pixels)
    return Read(image=image, choice=networks.choose(image), digest=digest, tag=tag)


def restore_image(
    image: DecodedImage,
    job: ImageJob,
    plan: JobPlan,
    networks: NetworkSource,
    choice: Choice,
    stop: threading.Event,
    observe: Observe | None,
    progress: OnProgress | None,
) -> Ran:
    """Run the net and bring its result to the requested size, unless that could not be written."""
    restorer = networks.restorer(choice.entry, stop)
    size, pages = (image.height, image.width), 1 + len(image.more)
    format_name = check_output(*size, image.format, job, plan, scale=restorer.scale, pages=pages)
    restored = restorer.restore_image(image, stop=stop, sigma=choice.level, progress=progress)
    clipping = clipping_warning(image, restored, plan.task)
    if clipping is not None:
        restored = replace(restored, warnings=(*restored.warnings, clipping))
    advice = advice_on(image, restored, choice, plan.weights, plan.run)
    restored = fitted(restored, plan.write.size)
    if image.more:
        restored = replace(restored, more=tuple(_restored_pages(image, job, plan, networks, stop)))
    if plan.read.strict:
        _refuse_losses(restored, plan.write, format_name)
    if observe is not None:
        observe(job, image, restored)
    return Ran(image=restored, origin=networks.origin(choice.entry) if job.keeps_proof else None, advice=advice)


def _restored_pages(
    image: DecodedImage, job: ImageJob, plan: JobPlan, networks: NetworkSource, stop: threading.Event
) -> Iterator[DecodedImage]:
    """Restore the pages behind the first, each with the weights that suit it."""
    for page in image.more:
        choice = networks.choose(page)
        restorer = networks.restorer(choice.entry, stop)
        check_output(page.height, page.width, page.format, job, plan, scale=restorer.scale)
        yield fitted(restorer.restore_image(page, stop=stop, sigma=choice.level), plan.write.size)


def _refuse_losses(image: DecodedImage, settings: WriteSettings, format_name: str) -> None:
    """Refuse to write what would cost a warning.

    Raises:
        ImageError: If there is any.
    """
    lines = losses(image, format=format_name, strip=settings.strip, background=settings.background)
    for line in (*image.warnings, *lines):
        raise ImageError(line, hint="leave --strict out to take it as it is")


def write_image(
    image: DecodedImage, job: ImageJob, plan: JobPlan, proof: Proof | None, deliver: Deliver | None
) -> Written:
    """Encode and publish.

    Args:
        image: The result.
        job: Where it goes.
        plan: How it is written.
        proof: What the ledger is told before the result gets its name; None where none is kept.
        deliver: Takes it if it goes to standard output.

    Raises:
        DoneAlreadyError: If another process was faster and that is as good.
    """
    settings = plan.write
    if proof is not None:
        proof.ledgers.accept(proof.origin)
    format_name = written_format(image.format, job, settings)
    data = encode(
        image,
        format=format_name,
        quality=settings.quality,
        lossless=settings.lossless,
        strip=settings.strip,
        background=settings.background,
    )
    if deliver is not None and job.to_stdout:
        deliver(data)
    else:
        try:
            overwrite = settings.existing == "overwrite" or job.is_in_place
            overwrite |= settings.resume and proof is not None and proof.ledgers.know(job)
            if job.to_bucket:
                _put(data, job, proof, overwrite=overwrite, resume=settings.resume)
            else:
                _publish(data, job, proof, overwrite=overwrite, keep_times=settings.keep_times)
        except TargetExistsError as error:
            proved = settings.resume and proof is not None and proof.ledgers.prove(job, proof.digest, proof.tag)
            if proved or settings.existing == "skip":
                raise DoneAlreadyError from error
            raise
    lost = losses(image, format=format_name, strip=settings.strip, background=settings.background)
    return Written(warnings=lost)


def _publish(data: bytes, job: ImageJob, proof: Proof | None, *, overwrite: bool, keep_times: bool) -> None:
    make_folder(job.target.parent, like=job.repeats(job.target.parent))
    if not overwrite and os.path.lexists(job.target):  # before the ledger claims to have written it
        raise TargetExistsError(f"{job.target}: it exists already")
    if proof is not None:
        proof.ledgers.write_down(job, proof.origin, input_digest=proof.digest, output_digest=digest_of_bytes(data))
    # In place the target is what a link points to.
    like = None if job.file is None else Like(source=job.file, takes_its_place=job.is_in_place, keeps_times=keep_times)
    publish(data, job.target, overwrite=overwrite, like=like)


def _put(data: bytes, job: ImageJob, proof: Proof | None, *, overwrite: bool, resume: bool) -> None:
    made_with = None if proof is None else (proof.origin, proof.digest)
    tag = publish_in_bucket(data, job.target, made_with, overwrite=overwrite, resume=resume)
    if proof is not None:
        digest, tags = digest_of_bytes(data), (proof.tag, tag)
        proof.ledgers.write_down_in_bucket(
            job, proof.origin, input_digest=proof.digest, output_digest=digest, tags=tags
        )


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
    """Refuse what a run would refuse of an image ahead of the network.

    Its pixels are not decoded, except where warnings are errors: what decoding costs is not known before.

    Args:
        job: One whose image does not come from a pipe.
        plan: How it is read and written.
        scale: The network's factor.

    Raises:
        ImageError: With the file's name, if it would be refused.
    """
    for path in (job.source, job.right):
        if path is None:
            continue
        data = read_file(path, plan.read.max_pixels)
        header = inspect(data, str(path), plan.read)
        image = decode_bytes(data, str(path), plan.read) if plan.read.strict else None
        if path != job.source:
            continue
        try:
            size = (header.height, header.width)
            format_name = check_output(*size, header.format, job, plan, scale=scale, pages=header.pages)
            if image is not None:
                _refuse_losses(image, plan.write, format_name)
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

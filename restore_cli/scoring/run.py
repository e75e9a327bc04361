"""Score weights on images whose truth is known, from a request to a report: `restore_cli.evaluate`.

All stages of scoring as one function, which `restore eval` calls too and watches. All that can be refused is refused
before torch is loaded, and weights are loaded before the first image, so that none is found missing after an hour.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from restore_cli.errors import StorageError, UsageError
from restore_cli.imaging.decoded_image import DecodedImage
from restore_cli.imaging.encode import encode
from restore_cli.scoring.candidates import Candidate, ChosenWeights, choose_weights, floor_candidate, load_candidate
from restore_cli.scoring.crops import CropGallery
from restore_cli.scoring.page import report_page
from restore_cli.scoring.pairs import Pair, find_pairs
from restore_cli.scoring.protocol import Protocol, ProtocolName, ScoringRequest, choose_protocol
from restore_cli.scoring.report import CandidateFacts, ScoreReport, guess_dataset, report_csv
from restore_cli.scoring.sample import as_float
from restore_cli.scoring.score import Outcome, score_images
from restore_cli.settings import RunSettings
from restore_cli.storage.files import Like, publish, require_place
from restore_cli.tasks import get_task, task_names
from restore_cli.weights.entry import did_you_mean
from restore_cli.weights.manifest import load_manifest

if TYPE_CHECKING:
    from restore_cli.scoring.score import Metric
    from restore_cli.weights.store import Progress

CROPS_OF_A_KIND = 4
_DEFAULT_SCALE = 4


class ScoringWatcher:
    """Watch a scoring: what happens on the way goes to these methods, which do nothing here."""

    def transfer(self, name: str) -> AbstractContextManager[Progress | None]:  # noqa: ARG002 -- for those who override
        """Show the download of a file: yield who takes how far it is."""
        return contextlib.nullcontext()

    def loaded(self, candidate: CandidateFacts, warning: str | None) -> None:
        """Take weights that were loaded, and what a person should know of them."""

    def begun(self, protocol: Protocol, images: int) -> None:
        """Take how scores are taken, and on how many images, when all weights are loaded."""

    def scored(self, outcome: Outcome, protocol: Protocol) -> None:
        """Take the scores of one image, or why it has none."""


def evaluate(
    task: str,
    clean: str | os.PathLike[str],
    degraded: str | os.PathLike[str] | None = None,
    *,
    scale: int | None = None,
    sigma: float | None = None,
    quality: int | None = None,
    gray: bool = False,
    variant: str | None = None,
    protocol: ProtocolName | None = None,
    dataset: str | None = None,
    words: tuple[str, str] | None = None,
    models: Sequence[str] = (),
    weights: Sequence[str | os.PathLike[str]] = (),
    lpips: bool = False,
    run: RunSettings | None = None,
    offline: bool = False,
    csv: str | os.PathLike[str] | None = None,
    html: str | os.PathLike[str] | None = None,
    save_images: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    watcher: ScoringWatcher | None = None,
) -> ScoreReport:
    """Score weights on images whose truth is known, beside a floor that needs none.

    The floor is bicubic enlarging for sr, the degraded image itself elsewhere.

    Args:
        task: "sr", "denoise", "dejpeg", "derain", "lowlight", "deblur".
        clean: Folder of the truth, or one image.
        degraded: Folder of the inputs, of the same names; None makes them from the clean images.
        scale: 2, 3 or 4 for "sr"; None for 4.
        sigma: Level of the noise that is added for "denoise", on the 0..255 scale.
        quality: Of the JPEGs that are made for "dejpeg", 1..100; None draws it by name.
        gray: Turn the images to gray first ("denoise", "dejpeg").
        variant: "photo" for sr, "real" for denoise, "motion" or "defocus" for deblur; None for the usual.
        protocol: How inputs are made, "paper", "8bit" or "synthetic"; None for the task's usual way.
        dataset: Whose reported scores to compare with; None tells it from the folders' names.
        words: By what the names of a pair differ, the clean one's first: ("norain", "rain").
        models: Models' names or weights ids to compare; with no `weights` either, the bundled ones.
        weights: Weights files, "NAME=FILE" where a file does not say of which network it is.
        lpips: Score LPIPS too.
        run: How networks run.
        offline: Never touch the network.
        csv: Where to write all scores as CSV.
        html: Where to write a page with tables and crops.
        save_images: Folder for the restored images.
        overwrite: Replace files that exist.
        watcher: Takes what happens on the way.

    Returns:
        All scores, with `mean`, `gain` and `reported` to ask; images that failed are in `failures` and do not raise.

    Raises:
        UsageError: If the request contradicts itself, or a file exists; nothing was done.
        RestoreError: If weights, the device or a place for results cannot be had.

    Example:
        >>> from restore_cli import evaluate
        >>> report = evaluate("sr", "Set5/HR", scale=4, models=["ramit-1"])       # doctest: +SKIP
        >>> report.mean("ramit-1-sr-x4", "psnr_y"), report.gain("ramit-1-sr-x4")  # doctest: +SKIP
        (32.56, 4.13)
    """
    request = _request(
        task,
        degraded,
        scale=scale,
        sigma=sigma,
        quality=quality,
        gray=gray,
        variant=variant,
        protocol=protocol,
        lpips=lpips,
    )
    settled = choose_protocol(request)
    pairs = find_pairs(Path(clean), None if degraded is None else Path(degraded), scale=settled.scale, words=words)
    chosen = choose_weights(models, [os.fspath(file) for file in weights], settled, load_manifest())
    places = _Places(
        csv=None if csv is None else Path(csv),
        html=None if html is None else Path(html),
        images=None if save_images is None else Path(save_images),
        overwrite=overwrite,
    )
    places.check(settled, pairs, chosen)
    watcher = watcher or ScoringWatcher()
    start = time.perf_counter()
    metrics = _extra_metrics(settled, offline=offline)
    candidates = (
        floor_candidate(settled),
        *_load(chosen, settled, run or RunSettings(), watcher, offline=offline),
    )
    watcher.begun(settled, len(pairs))
    gallery = CropGallery(
        chooser=candidates[1].facts.label,
        floor=candidates[0].facts.label,
        scale=settled.scale,
        keep=CROPS_OF_A_KIND if places.html else 0,
    )
    outcomes = []
    for pair, outcome in zip(pairs, score_images(pairs, settled, candidates, metrics), strict=True):
        gallery.consider(outcome)
        places.save_images(outcome, pair)
        outcomes.append(outcome.without_pixels())
        watcher.scored(outcome, settled)
    facts = tuple(candidate.facts for candidate in candidates)
    report = ScoreReport(
        protocol=settled,
        dataset=dataset or guess_dataset(pairs[0].clean.parent, [s for fact in facts for s in fact.reported]),
        candidates=facts,
        scores=tuple(score for outcome in outcomes for score in outcome.scores),
        failures=tuple(failure for outcome in outcomes for failure in outcome.failures),
        seconds=time.perf_counter() - start,
    )
    places.write(report, gallery, pairs)
    return report


def _request(
    task: str,
    degraded: str | os.PathLike[str] | None,
    *,
    scale: int | None,
    sigma: float | None,
    quality: int | None,
    gray: bool,
    variant: str | None,
    protocol: ProtocolName | None,
    lpips: bool,
) -> ScoringRequest:
    """Check that what is asked for belongs to the task.

    Raises:
        UsageError: If the task is unknown or an option is another task's.
    """
    if task not in task_names():
        known = ", ".join(task_names())
        raise UsageError(f"unknown task {task!r}{did_you_mean(task, task_names())} (known: {known})")
    owners = {
        "--scale": (("sr",), scale is not None),
        "--photo": (("sr",), variant == "photo"),
        "--sigma": (("denoise",), sigma is not None),
        "--quality": (("dejpeg",), quality is not None),
        "--gray": (("denoise", "dejpeg"), gray),
        "--real": (("denoise",), variant == "real"),
        "--kind": (("deblur",), variant in {"motion", "defocus"}),
    }
    for option, (tasks, is_given) in owners.items():
        if is_given and task not in tasks:
            raise UsageError(f"{option} belongs to {' and '.join(tasks)}, not to {task}", hint="leave it out")
    return ScoringRequest(
        task=task,
        paired=degraded is not None,
        protocol=protocol,
        scale=(scale or _DEFAULT_SCALE) if task == "sr" else 1,
        channels=1 if gray else 3,
        sigma=sigma,
        quality=quality,
        variant=variant or get_task(task).default_variant,
        lpips=lpips,
    )


@dataclass(frozen=True, kw_only=True)
class _Places:
    """Where results go besides the caller; None for nowhere."""

    csv: Path | None
    html: Path | None
    images: Path | None
    overwrite: bool

    def check(self, protocol: Protocol, pairs: Sequence[Pair], weights: Sequence[ChosenWeights]) -> None:
        """Refuse results that could not be written, before hours are spent on them.

        Raises:
            UsageError: If a folder is missing, or a file exists and may not be replaced.
        """
        require_place("--csv", self.csv, overwrite=self.overwrite)
        require_place("--html", self.html, overwrite=self.overwrite)
        if self.images is None:
            return
        for label in (floor_candidate(protocol).facts.label, *(chosen.label for chosen in weights)):
            for pair in pairs:
                target = self._image(self.images, label, pair.name)
                require_place("--save-images", target, overwrite=self.overwrite, makes_folder=True)

    def save_images(self, outcome: Outcome, pair: Pair) -> None:
        """Write what each candidate made of an image, as PNG.

        Raises:
            StorageError: If that cannot be done.
        """
        if self.images is None:
            return
        for label, image in outcome.restored.items():
            target = self._image(self.images, label, outcome.name)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                msg = f"cannot make the folder {target.parent}: {error.strerror}"
                raise StorageError(msg, hint="name another with --save-images") from error
            data = encode(DecodedImage(pixels=as_float(image)), format="PNG")
            publish(data, target, overwrite=self.overwrite, like=_like([pair]))

    def write(self, report: ScoreReport, gallery: CropGallery, pairs: Sequence[Pair]) -> None:
        """Write the table and the page.

        Raises:
            StorageError: If that cannot be done.
        """
        if self.csv is not None:
            publish(report_csv(report).encode(), self.csv, overwrite=self.overwrite)
        if self.html is not None:
            page = report_page(report, gallery, report.candidates[1].label)
            publish(page.encode(), self.html, overwrite=self.overwrite, like=_like(pairs))

    @staticmethod
    def _image(folder: Path, label: str, name: str) -> Path:
        return folder / label / f"{name}.png"


def _like(pairs: Sequence[Pair]) -> Like | None:
    """Return what a file is to be like that shows some images: only who may read all of them may read it."""
    return Like.all_of(itertools.chain.from_iterable((pair.clean, pair.degraded) for pair in pairs))


def _extra_metrics(protocol: Protocol, *, offline: bool) -> dict[str, Metric]:
    if "lpips" not in protocol.metrics:
        return {}
    from restore_cli.scoring.perceptual import load_lpips

    return {"lpips": load_lpips(offline=offline)}


def _load(
    weights: Sequence[ChosenWeights],
    protocol: Protocol,
    settings: RunSettings,
    watcher: ScoringWatcher,
    *,
    offline: bool,
) -> Iterator[Candidate]:
    from restore_cli.inference.device import keep_freed_memory

    keep_freed_memory()
    sigma = protocol.sigma
    for chosen in weights:
        low, high = chosen.entry.sigma_range or (0.0, math.inf)
        warning = None
        if sigma is not None and not low <= sigma <= high:
            warning = f"{chosen.label} was trained at sigma {low:g} to {high:g}, not {sigma:g}"
        with watcher.transfer(chosen.entry.file) as progress:
            candidate = load_candidate(chosen, settings, channels=protocol.channels, offline=offline, progress=progress)
        watcher.loaded(candidate.facts, warning)
        yield candidate

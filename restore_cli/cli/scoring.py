"""Carry out a scoring for a person: load, score, tell each image as it comes, write what was asked for.

Stage 1, ASK, on its way back: `evaluate.py` decides what is scored, this module does it. torch comes in here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from restore_cli.cli.output import Output
from restore_cli.errors import StorageError, UsageError
from restore_cli.imaging.decoded_image import DecodedImage
from restore_cli.imaging.encode import encode
from restore_cli.scoring.candidates import Candidate, ChosenWeights, floor_candidate, load_candidate
from restore_cli.scoring.crops import CropGallery
from restore_cli.scoring.pairs import Pair
from restore_cli.scoring.protocol import Protocol
from restore_cli.scoring.report import (
    TITLES,
    Report,
    failure_json,
    guess_dataset,
    image_json,
    report_csv,
    rounded,
    summary_json,
)
from restore_cli.scoring.sample import as_float
from restore_cli.scoring.score import Outcome, score_images
from restore_cli.settings import RunSettings
from restore_cli.storage.publish import publish

if TYPE_CHECKING:
    from restore_cli.scoring.score import Metric

CROPS_OF_A_KIND = 4


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be scored, everything settled.

    Attributes:
        pairs: The images.
        protocol: How scores are taken.
        weights: What is compared.
        settings: How networks run.
        dataset: Whose reported figures to compare with; None tells it from the folders' names.
        offline: Never touch the network.
    """

    pairs: tuple[Pair, ...]
    protocol: Protocol
    weights: tuple[ChosenWeights, ...]
    settings: RunSettings
    dataset: str | None
    offline: bool


@dataclass(frozen=True, kw_only=True)
class ResultPlaces:
    """Where results go besides the terminal; None for nowhere.

    Attributes:
        csv: File of all scores.
        html: File of the page.
        images: Folder of restored images.
        overwrite: Replace files that exist.
    """

    csv: Path | None = None
    html: Path | None = None
    images: Path | None = None
    overwrite: bool = False


def score(wanted: Wanted, places: ResultPlaces, out: Output) -> Report:
    """Score, tell and write; what failed is told and stands in the report.

    Raises:
        RestoreError: If weights, the device or a place for results cannot be had.
    """
    from restore_cli.inference.allocator import keep_freed_memory

    start = time.perf_counter()
    _check_places(wanted, places)
    keep_freed_memory()
    metrics = _extra_metrics(wanted)
    candidates = (floor_candidate(wanted.protocol), *_load(wanted, out))
    facts = tuple(candidate.facts for candidate in candidates)
    protocol = wanted.protocol
    count = f"{len(wanted.pairs)} image{'' if len(wanted.pairs) == 1 else 's'}"
    out.note(f"{protocol.subject}, {count}, protocol {protocol.name}: {protocol.statement}")
    gallery = CropGallery(
        chooser=facts[1].label, floor=facts[0].label, scale=protocol.scale, keep=CROPS_OF_A_KIND if places.html else 0
    )
    outcomes = []
    with out.image_progress(len(wanted.pairs), "scoring"):
        for outcome in score_images(wanted.pairs, protocol, candidates, metrics):
            gallery.consider(outcome)
            _save_images(outcome, places)
            outcomes.append(outcome.without_pixels())
            _tell(outcome, wanted, len(outcomes), out)
    report = Report(
        protocol=protocol,
        dataset=wanted.dataset or guess_dataset(wanted.pairs[0].clean.parent, [s for f in facts for s in f.reported]),
        candidates=facts,
        scores=tuple(score for outcome in outcomes for score in outcome.scores),
        failures=tuple(failure for outcome in outcomes for failure in outcome.failures),
        seconds=time.perf_counter() - start,
    )
    _conclude(report, gallery, places, out)
    return report


def _check_places(wanted: Wanted, places: ResultPlaces) -> None:
    """Refuse results that could not be written, before hours are spent on them."""
    for option, file in (("--csv", places.csv), ("--html", places.html)):
        if file is None:
            continue
        if not file.parent.is_dir():
            raise UsageError(f"{option} {file}: there is no folder {file.parent}", hint="make it first")
        _refuse_existing(file, option, places)
    for target in _image_targets(wanted, places.images):
        _refuse_existing(target, "--save-images", places)


def _refuse_existing(target: Path, option: str, places: ResultPlaces) -> None:
    if target.is_dir() or (target.exists() and not places.overwrite):
        hint = "name another" if target.is_dir() else "name another, or say --existing overwrite"
        raise UsageError(f"{option}: {target} exists", hint=hint)


def _image_targets(wanted: Wanted, folder: Path | None) -> Iterator[Path]:
    if folder is None:
        return
    labels = [floor_candidate(wanted.protocol).facts.label, *(weights.label for weights in wanted.weights)]
    for label in labels:
        for pair in wanted.pairs:
            yield _image_target(folder, label, pair.name)


def _image_target(folder: Path, label: str, name: str) -> Path:
    return folder / label / f"{name}.png"


def _extra_metrics(wanted: Wanted) -> dict[str, Metric]:
    if "lpips" not in wanted.protocol.metrics:
        return {}
    from restore_cli.scoring.perceptual import load_lpips

    return {"lpips": load_lpips(offline=wanted.offline)}


def _load(wanted: Wanted, out: Output) -> Iterator[Candidate]:
    """Load all weights before the first image, so that none is found missing after an hour."""
    sigma = wanted.protocol.sigma
    for chosen in wanted.weights:
        low, high = chosen.entry.sigma_range or (0.0, math.inf)
        if sigma is not None and not low <= sigma <= high:
            out.warn(f"{chosen.label} was trained at sigma {low:g} to {high:g}, not {sigma:g}")
        with out.transfer_progress(chosen.entry.file) as progress:
            candidate = load_candidate(
                chosen, wanted.settings, channels=wanted.protocol.channels, offline=wanted.offline, progress=progress
            )
        for note in candidate.facts.notes:
            out.note(note)
        out.note(f"{candidate.facts.label} ({candidate.facts.digest}): {candidate.facts.run_text}")
        yield candidate


def _save_images(outcome: Outcome, places: ResultPlaces) -> None:
    if places.images is None:
        return
    for label, image in outcome.restored.items():
        target = _image_target(places.images, label, outcome.name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"cannot make the folder {target.parent}: {error.strerror}"
            raise StorageError(msg, hint="name another with --save-images") from error
        publish(encode(DecodedImage(pixels=as_float(image)), format="PNG"), target, overwrite=places.overwrite)


def _tell(outcome: Outcome, wanted: Wanted, told: int, out: Output) -> None:
    first = wanted.protocol.metrics[0]
    for warning in outcome.warnings:
        out.warn(warning)
    for failure in outcome.failures:
        who = outcome.name if failure.candidate is None else f"{outcome.name}, {failure.candidate}"
        out.error(f"{who}: {failure.reason}")
        out.record(failure_json(failure))
    for score in outcome.scores:
        out.record(image_json(score, wanted.protocol))
    values = ", ".join(f"{score.candidate} {rounded(score.values[first], first)}" for score in outcome.scores)
    line = f"[{told}/{len(wanted.pairs)}] {outcome.name}: {TITLES[first]} {values}"
    out.image_done(line if outcome.scores else None)


def _conclude(report: Report, gallery: CropGallery, places: ResultPlaces, out: Output) -> None:
    """Print the tables, or the summary under --json, and write the files."""
    from restore_cli.scoring.page import report_page
    from restore_cli.scoring.table import images_table, means_table

    if not out.wants_json:
        out.data(f"{report.protocol.subject} on {report.dataset}, protocol {report.protocol.name}")
        out.data(report.protocol.statement)
        for table in (images_table(report), means_table(report)):
            out.data("")
            out.table(table.headers, table.rows, numeric=table.headers[1:])
    _tell_reported(report, out)
    failed = len({failure.image for failure in report.failures})
    if failed:
        out.warn(f"{failed} of {failed + len(report.images)} images have no or not all scores: the means lack them")
    out.record(summary_json(report))
    if places.csv is not None:
        publish(report_csv(report).encode(), places.csv, overwrite=places.overwrite)
        out.note(f"wrote {places.csv}")
    if places.html is not None:
        page = report_page(report, gallery, report.candidates[1].label)
        publish(page.encode(), places.html, overwrite=places.overwrite)
        out.note(f"wrote {places.html}")


def _tell_reported(report: Report, out: Output) -> None:
    """Say of each reported figure how it was taken and how far ours is from it."""
    for candidate in report.candidates:
        for metric in report.protocol.metrics:
            reported = report.reported(candidate, metric)
            if reported is not None:
                origin = f"{reported.origin} on {reported.dataset}: {reported.protocol}"
                difference = rounded(report.difference(candidate, metric), metric, signed=True)
                figure = f"{TITLES[metric]} {rounded(reported.value, metric)} ({origin})"
                out.note(f"{candidate.label}: reported {figure}; ours is {difference} from it")

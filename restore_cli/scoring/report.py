"""Gather the scores of a run: means of per-image scores, beside what was reported elsewhere.

Stage 7 of scoring, WRITE: facts and plain text (JSON objects, CSV); tables and pages are made from them elsewhere.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restore_cli.scoring.protocol import Protocol
from restore_cli.storage.files import printable
from restore_cli.weights.manifest import Score

DECIMALS: Mapping[str, int] = {"psnr": 3, "psnr_y": 3, "ssim": 4, "ssim_y": 4, "lpips": 4}
TITLES: Mapping[str, str] = {"psnr": "PSNR", "psnr_y": "PSNR-Y", "ssim": "SSIM", "ssim_y": "SSIM-Y", "lpips": "LPIPS"}
# Folders that say what their images are for, not which they are.
_NAMES_OF_TRUTH = frozenset({"hr", "hq", "gt", "clean", "target", "truth"})


@dataclass(frozen=True, kw_only=True)
class ImageScore:
    """The scores of one image, restored in one way.

    Attributes:
        image: The pair's name.
        candidate: Label of what restored it.
        values: Score by metric name.
        seconds: Time of the restoration alone.
    """

    image: str
    candidate: str
    values: Mapping[str, float]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An image that could not be scored, and why; `candidate` is None where it could not even be read."""

    image: str
    candidate: str | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class CandidateFacts:
    """What restored the images.

    Attributes:
        label: What tables call it.
        floor: Whether it is no network but what every network must beat.
        weights: Manifest id, or None for a floor.
        digest: "sha256:..." of the weights, or None for a floor.
        run: How it ran: device, dtype, tile, context and the like, by name.
        reported: All scores that its manifest entry reports.
        notes: What a person should be told once.
    """

    label: str
    floor: bool = False
    weights: str | None = None
    digest: str | None = None
    run: Mapping[str, Any] = field(default_factory=dict)
    reported: tuple[Score, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def run_text(self) -> str:
        """Say how it ran in a line; what was left off is left out."""
        return ", ".join(f"{name} {value}" for name, value in self.run.items() if value is not False)


@dataclass(frozen=True, kw_only=True)
class ScoreReport:
    """All scores of one run.

    Attributes:
        protocol: How they were taken.
        dataset: Name of the images, as manifest entries write it where they know it.
        candidates: What restored them, the floor first.
        scores: Per image and candidate, in the order they were taken.
        failures: What could not be scored.
        seconds: Wall time of the whole run.
    """

    protocol: Protocol
    dataset: str
    candidates: tuple[CandidateFacts, ...]
    scores: tuple[ImageScore, ...]
    failures: tuple[Failure, ...]
    seconds: float

    @property
    def images(self) -> tuple[str, ...]:
        """List the names of the images that have scores."""
        return tuple(dict.fromkeys(score.image for score in self.scores))

    @property
    def floor(self) -> CandidateFacts:
        """Return the candidate that all others must beat."""
        return self.candidates[0]

    def score(self, image: str, label: str) -> ImageScore | None:
        """Return one image's scores under one candidate, or None where it failed."""
        return next((score for score in self.scores if score.image == image and score.candidate == label), None)

    def mean(self, label: str, metric: str) -> float | None:
        """Return the mean of a candidate's per-image scores, or None where it has none."""
        values = [score.values[metric] for score in self.scores if score.candidate == label]
        return math.fsum(values) / len(values) if values else None

    def gain(self, label: str, image: str | None = None) -> float | None:
        """Return a candidate's first metric less the floor's, for one image or, without one, of the means."""
        metric = self.protocol.metrics[0]
        if image is None:
            ours, theirs = self.mean(label, metric), self.mean(self.floor.label, metric)
        else:
            scores = self.score(image, label), self.score(image, self.floor.label)
            ours, theirs = (None if score is None else score.values[metric] for score in scores)
        return None if ours is None or theirs is None else ours - theirs

    def reported(self, candidate: CandidateFacts, metric: str) -> Score | None:
        """Return what the candidate's manifest entry says of this dataset, protocol and metric.

        The protocol there is the name, then perhaps what else matters ("paper, symmetric padding, whole image").
        """
        for score in candidate.reported:
            if _squeezed(score.dataset) != _squeezed(self.dataset):
                continue
            if re.split(r"[\s,:;]", score.protocol)[0] != self.protocol.name or score.metric != metric:
                continue
            ours = self.protocol.scale, self.protocol.sigma, self.protocol.quality
            theirs = score.scale, score.sigma, score.quality
            if all(named in {None, taken} for named, taken in zip(theirs, ours, strict=True)):
                return score
        return None

    def difference(self, candidate: CandidateFacts, metric: str) -> float | None:
        """Return our mean less the reported one, or None where either is missing."""
        ours, reported = self.mean(candidate.label, metric), self.reported(candidate, metric)
        return None if ours is None or reported is None else ours - reported.value


def guess_dataset(clean: Path, reported: Sequence[Score]) -> str:
    """Name the images: a reported dataset whose name is a folder on the way to them, else their own folder's name.

    Example:
        >>> guess_dataset(Path("/data/My Set/HR"), ())
        'My Set'
    """
    parts = list(reversed(clean.resolve().parts))
    for part in parts:
        for score in reported:
            if _squeezed(part) == _squeezed(score.dataset):
                return score.dataset
    return next((part for part in parts if part.lower() not in _NAMES_OF_TRUTH), parts[0])


def rounded(value: float | None, metric: str, *, signed: bool = False) -> str:
    """Write a score with its usual decimals, "inf" for equal images, "-" for none; nothing is written as -0."""
    if value is None:
        return "-"
    decimals = DECIMALS[metric]
    return f"{round(value, decimals) + 0.0:{'+' if signed else ''}.{decimals}f}"


def image_json(score: ImageScore, protocol: Protocol) -> dict[str, Any]:
    """Return one image's scores as a JSON object."""
    return {
        "type": "image",
        "image": score.image,
        "candidate": score.candidate,
        "status": "ok",
        "protocol": protocol.name,
        "scores": _numbers(score.values),
        "seconds": round(score.seconds, 3),
    }


def failure_json(failure: Failure) -> dict[str, Any]:
    """Return a failure as a JSON object."""
    return {
        "type": "image",
        "image": failure.image,
        "candidate": failure.candidate,
        "status": "failed",
        "error": failure.reason,
    }


def summary_json(report: ScoreReport) -> dict[str, Any]:
    """Return the means of a run, and how it ran, as a JSON object."""
    protocol = report.protocol
    return {
        "type": "summary",
        "task": protocol.task,
        "subject": protocol.subject,
        "protocol": protocol.name,
        "statement": protocol.statement,
        "dataset": report.dataset,
        "ok": len(report.images),
        "failed": len({failure.image for failure in report.failures}),
        "seconds": round(report.seconds, 3),
        "candidates": [_candidate_json(report, candidate) for candidate in report.candidates],
    }


def report_csv(report: ScoreReport) -> str:
    """Return all scores as CSV: rows of kind "image", then "mean", "reported" and "difference" for each candidate."""
    metrics = report.protocol.metrics
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["kind", "dataset", "subject", "protocol", "candidate", "image", *metrics, "seconds"])
    common = [report.dataset, report.protocol.subject, report.protocol.name]
    for score in report.scores:
        values = [_csv_number(score.values[metric]) for metric in metrics]
        writer.writerow(["image", *common, score.candidate, score.image, *values, f"{score.seconds:.3f}"])
    for candidate in report.candidates:
        means = [report.mean(candidate.label, metric) for metric in metrics]
        writer.writerow(["mean", *common, candidate.label, "", *map(_csv_number, means), ""])
        reported = [report.reported(candidate, metric) for metric in metrics]
        if any(reported):
            values = [_csv_number(score.value if score else None) for score in reported]
            writer.writerow(["reported", *common, candidate.label, "", *values, ""])
            differences = [_csv_number(report.difference(candidate, metric)) for metric in metrics]
            writer.writerow(["difference", *common, candidate.label, "", *differences, ""])
    return printable(text.getvalue(), keeping="\n")


def _candidate_json(report: ScoreReport, candidate: CandidateFacts) -> dict[str, Any]:
    metrics = report.protocol.metrics
    reported = {metric: found for metric in metrics if (found := report.reported(candidate, metric)) is not None}
    return {
        "candidate": candidate.label,
        "floor": candidate.floor,
        "weights": candidate.weights,
        "digest": candidate.digest,
        **candidate.run,
        "mean": _numbers(_known({metric: report.mean(candidate.label, metric) for metric in metrics})),
        "reported": {metric: {"value": score.value, "origin": score.origin} for metric, score in reported.items()},
        "difference": _numbers(_known({metric: report.difference(candidate, metric) for metric in metrics})),
    }


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def _numbers(values: Mapping[str, float]) -> dict[str, float | str]:
    """Keep scores as numbers; infinity, which JSON lacks, as the word."""
    return {name: value if math.isfinite(value) else str(value) for name, value in values.items()}


def _csv_number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _squeezed(name: str) -> str:
    """Compare names of datasets without case, spaces and marks: "Rain 100L" is "rain100l"."""
    return re.sub(r"[\W_]", "", name).lower()

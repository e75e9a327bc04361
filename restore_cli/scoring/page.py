"""Write a run of scores as one HTML page that needs no other file: tables, and crops beside the truth.

Stage 7 of scoring, WRITE. The page's frame and its images are those of `pages`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from restore_cli.pages.document import document, table
from restore_cli.pages.images import Uint8Image, decibels, figure, views
from restore_cli.scoring.crops import Crop, CropGallery
from restore_cli.scoring.report import TITLES, CandidateFacts, ScoreReport, rounded

# Differences from 0 to this many levels run through the whole ramp; larger ones are its last colour.
_RAMP_END_LEVELS = 64
_RAMP = ((0, 0, 0), (66, 14, 92), (160, 34, 88), (233, 96, 40), (250, 190, 64), (255, 255, 224))


def report_page(report: ScoreReport, gallery: CropGallery, chooser: str) -> str:
    """Return the page as text.

    Args:
        report: Scores and means.
        gallery: Crops of the run's images.
        chooser: Label of the candidate that the crops were chosen by.
    """
    title = f"{report.protocol.subject} on {report.dataset}"
    body = "".join(
        [
            _header(report, title),
            _summary(report),
            _crops(
                report,
                gallery.crops("worst"),
                "Worst crops",
                f"Where {chooser} is farthest from the truth: the largest squared error of each image, worst first.",
            ),
            _crops(
                report,
                gallery.crops("best"),
                "Best crops",
                f"Where {chooser} took away most of the squared error that {report.floor.label} leaves, most first.",
            ),
            _images(report),
            _failures(report),
        ]
    )
    return document(title, body)


def _header(report: ScoreReport, title: str) -> str:
    count = len(report.images)
    return (
        f"<header><h1>{escape(title)}</h1>"
        f'<p><span class="protocol">protocol {escape(report.protocol.name)}</span> '
        f"{escape(report.protocol.statement)}</p>"
        f'<p class="faint">{count} image{"" if count == 1 else "s"}</p></header>'
    )


def _summary(report: ScoreReport) -> str:
    """Lay out the means: a row for each candidate, ours beside the reported ones."""
    metrics = report.protocol.metrics
    headings = ["", *(f"mean {TITLES[metric]}" for metric in metrics), f"above {report.floor.label}"]
    listed = [metric for metric in metrics if any(report.reported(each, metric) for each in report.candidates)]
    headings += [f"reported {TITLES[metric]}" for metric in listed]
    rows = "".join(_summary_row(report, candidate, listed) for candidate in report.candidates)
    return f"<h2>Means</h2>{table(headings, rows, kind='means')}"


def _summary_row(report: ScoreReport, candidate: CandidateFacts, listed: Sequence[str]) -> str:
    first, *others = report.protocol.metrics
    cells = [f"<td>{escape(candidate.label)}<span class='run'>{escape(candidate.run_text)}</span></td>"]
    cells.append(f'<td class="lead">{rounded(report.mean(candidate.label, first), first)}</td>')
    cells += [f"<td>{rounded(report.mean(candidate.label, metric), metric)}</td>" for metric in others]
    cells.append("<td></td>" if candidate.floor else _signed_cell(report.gain(candidate.label), first))
    cells += [_reported_cell(report, candidate, metric) for metric in listed]
    return f"<tr{' class=floor' if candidate.floor else ''}>{''.join(cells)}</tr>"


def _reported_cell(report: ScoreReport, candidate: CandidateFacts, metric: str) -> str:
    reported = report.reported(candidate, metric)
    if reported is None:
        return "<td></td>"
    difference = rounded(report.difference(candidate, metric), metric, signed=True)
    detail = f"{reported.origin}; ours {difference}"
    return f"<td>{rounded(reported.value, metric)}<span class='run'>{escape(detail)}</span></td>"


def _crops(report: ScoreReport, crops: Sequence[Crop], title: str, explanation: str) -> str:
    if not crops:
        return ""
    return (
        f"<h2>{escape(title)}</h2><p class='note'>{escape(explanation)} Difference: 0"
        f"<span class='ramp' style='background:linear-gradient(90deg,{_css_ramp()})'></span>"
        f"{_RAMP_END_LEVELS} levels or more.</p>" + "".join(_crop(report, crop) for crop in crops)
    )


def _crop(report: ScoreReport, crop: Crop) -> str:
    """Lay out one place: degraded, restored, truth, difference.

    Several candidates stand side by side between degraded and truth, each with its difference below it.
    """
    labels = [facts.label for facts in report.candidates if not facts.floor and facts.label in crop.restored]
    floor = report.floor.label
    shown = [figure(crop.degraded, crop.box, "degraded", f"{floor} {decibels(crop.squared_error(floor))}")]
    shown += [figure(crop.restored[label], crop.box, label, decibels(crop.squared_error(label))) for label in labels]
    shown.append(figure(crop.clean, crop.box, "truth", ""))
    for place, label in enumerate(labels):
        column = "" if len(labels) == 1 else f"grid-column:{place + 2}"
        shown.append(figure(_heat(crop.restored[label], crop.clean), crop.box, "difference", "", style=column))
    columns = 4 if len(labels) == 1 else len(labels) + 2
    return views(crop.image, crop.box, shown, columns=columns)


def _images(report: ScoreReport) -> str:
    """Lay out the scores of each image: a column for each candidate, with bars for the gain over the floor."""
    gains = [report.gain(facts.label, image) for image in report.images for facts in report.candidates]
    longest = max((abs(gain) for gain in gains if gain is not None and math.isfinite(gain)), default=0.0) or 1.0
    rows = "".join(
        f"<tr><td>{escape(image)}</td>"
        f"{''.join(_image_cell(report, image, candidate, longest) for candidate in report.candidates)}</tr>"
        for image in report.images
    )
    first, *others = (TITLES[metric] for metric in report.protocol.metrics)
    explanation = f"{first}; below it {', '.join(others)} and the {first} above {report.floor.label}."
    scores = table(["", *(candidate.label for candidate in report.candidates)], rows, kind="images")
    return f"<h2>Each image</h2><p class='note'>{escape(explanation)}</p>{scores}"


def _image_cell(report: ScoreReport, image: str, candidate: CandidateFacts, longest: float) -> str:
    score = report.score(image, candidate.label)
    if score is None:
        return "<td>-</td>"
    first, *others = report.protocol.metrics
    details = [escape(rounded(score.values[metric], metric)) for metric in others]
    bar = ""
    gain = None if candidate.floor else report.gain(candidate.label, image)
    if gain is not None and not math.isnan(gain):
        direction = "down" if gain < 0 else "up"
        details.append(f'<b class="{direction}">{rounded(gain, first, signed=True)}</b>')
        width = min(100.0, 100.0 * abs(gain) / longest)
        bar = f'<span class="bar {direction}"><i style="width:{width:.1f}%"></i></span>'
    return f'<td>{rounded(score.values[first], first)}{bar}<span class="run">{" &nbsp; ".join(details)}</span></td>'


def _failures(report: ScoreReport) -> str:
    if not report.failures:
        return ""
    items = "".join(
        f"<li><b>{escape(failure.image)}</b> {escape(failure.candidate or '')} {escape(failure.reason)}</li>"
        for failure in report.failures
    )
    return f'<h2>Not scored</h2><ul class="failed">{items}</ul>'


def _signed_cell(value: float | None, metric: str) -> str:
    if value is None or math.isnan(value):
        return "<td>-</td>"
    return f'<td class="{"down" if value < 0 else "up"}">{rounded(value, metric, signed=True)}</td>'


def _heat(restored: Uint8Image, clean: Uint8Image) -> Uint8Image:
    """Colour the largest absolute difference over the channels, uint8 (H, W, 3)."""
    difference = np.abs(restored.astype(np.float64) - clean.astype(np.float64)).max(axis=2)
    place = np.clip(difference / _RAMP_END_LEVELS, 0.0, 1.0)
    stops = np.linspace(0.0, 1.0, len(_RAMP))
    ramp: npt.NDArray[np.float64] = np.array(_RAMP, dtype=np.float64)
    return np.stack([np.interp(place, stops, ramp[:, channel]) for channel in range(3)], axis=2).astype(np.uint8)


def _css_ramp() -> str:
    return ",".join(f"rgb({red} {green} {blue})" for red, green, blue in _RAMP)

"""Scores as rows of text for people; printed by `cli.output`.

Stage 7 of scoring, WRITE. The means have a row for each candidate and carry the protocol's name in each; the images
have a row each and a column for each candidate, all metrics in one cell, so that several candidates fit a terminal.
"""

from __future__ import annotations

from dataclasses import dataclass

from restore_cli.scoring.report import TITLES, CandidateFacts, ScoreReport, rounded


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A table as text: one header a column, one tuple of cells a row; all but the first column are numbers."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def means_table(report: ScoreReport) -> TextTable:
    """Lay out a row for each candidate: means, what they are above the floor, reported numbers (ours less these)."""
    metrics = report.protocol.metrics
    listed = [metric for metric in metrics if any(report.reported(each, metric) for each in report.candidates)]
    headers = ["mean of", *(TITLES[metric] for metric in metrics), f"above {report.floor.label}"]
    headers += [f"reported {TITLES[metric]}" for metric in listed]
    rows = []
    for candidate in report.candidates:
        row = [candidate.label, *(rounded(report.mean(candidate.label, metric), metric) for metric in metrics)]
        row.append("" if candidate.floor else rounded(report.gain(candidate.label), metrics[0], signed=True))
        row += [_reported(report, candidate, metric) for metric in listed]
        rows.append((*row, report.protocol.name))
    return TextTable(headers=(*headers, "protocol"), rows=tuple(rows))


def images_table(report: ScoreReport) -> TextTable:
    """Lay out a row for each image, a column for each candidate."""
    metrics = report.protocol.metrics
    headers = (" / ".join(TITLES[metric] for metric in metrics), *(each.label for each in report.candidates))
    rows = [(image, *(_scores(report, image, each) for each in report.candidates)) for image in report.images]
    return TextTable(headers=headers, rows=tuple(rows))


def _scores(report: ScoreReport, image: str, candidate: CandidateFacts) -> str:
    score = report.score(image, candidate.label)
    if score is None:
        return "failed"
    return " / ".join(rounded(score.values[metric], metric) for metric in report.protocol.metrics)


def _reported(report: ScoreReport, candidate: CandidateFacts, metric: str) -> str:
    reported = report.reported(candidate, metric)
    if reported is None:
        return ""
    difference = rounded(report.difference(candidate, metric), metric, signed=True)
    return f"{rounded(reported.value, metric)} ({difference})"

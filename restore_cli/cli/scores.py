"""Show a scoring to a person: weights, each image as it comes, then the tables.

Stage 1, ASK, on its way back.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING

from restore_cli.cli.output import Output
from restore_cli.scoring.protocol import Protocol
from restore_cli.scoring.report import (
    TITLES,
    CandidateFacts,
    ScoreReport,
    failure_json,
    image_json,
    rounded,
    summary_json,
)
from restore_cli.scoring.run import ScoringWatcher
from restore_cli.scoring.score import Outcome
from restore_cli.scoring.table import images_table, means_table

if TYPE_CHECKING:
    from restore_cli.weights.store import Progress


class ShownScoring(ScoringWatcher):
    """Show a scoring while it runs.

    Args:
        out: Where.
        bar: Left when it is over.
    """

    def __init__(self, out: Output, bar: ExitStack) -> None:
        self._out = out
        self._shown = self._total = 0
        self._bar = bar

    def transfer(self, name: str) -> AbstractContextManager[Progress | None]:
        """Show a download."""
        return self._out.transfer_progress(name)

    def loaded(self, candidate: CandidateFacts, warning: str | None) -> None:
        """Say which weights run, and how."""
        if warning is not None:
            self._out.warn(warning)
        for note in candidate.notes:
            self._out.note(note)
        self._out.note(f"{candidate.label} ({candidate.digest}): {candidate.run_text}")

    def begun(self, protocol: Protocol, images: int) -> None:
        """Say how scores are taken."""
        count = f"{images} image{'' if images == 1 else 's'}"
        self._out.note(f"{protocol.subject}, {count}, protocol {protocol.name}: {protocol.statement}")
        self._total = images
        self._bar.enter_context(self._out.image_progress(images, "scoring"))

    def scored(self, outcome: Outcome, protocol: Protocol) -> None:
        """Show the scores of an image."""
        out, first = self._out, protocol.metrics[0]
        for warning in outcome.warnings:
            out.warn(warning)
        for failure in outcome.failures:
            who = outcome.name if failure.candidate is None else f"{outcome.name}, {failure.candidate}"
            out.error(f"{who}: {failure.reason}")
            out.record(failure_json(failure))
        for score in outcome.scores:
            out.record(image_json(score, protocol))
        self._shown += 1
        values = ", ".join(f"{score.candidate} {rounded(score.values[first], first)}" for score in outcome.scores)
        line = f"[{self._shown}/{self._total}] {outcome.name}: {TITLES[first]} {values}"
        out.image_done(line if outcome.scores else None)


def conclude(report: ScoreReport, out: Output) -> None:
    """Print the tables, or the summary under --json, and how far reported scores are from ours."""
    if not out.wants_json:
        out.data(f"{report.protocol.subject} on {report.dataset}, protocol {report.protocol.name}")
        out.data(report.protocol.statement)
        for table in (images_table(report), means_table(report)):
            out.data("")
            out.table(table.headers, table.rows, numeric=table.headers[1:])
    for candidate in report.candidates:
        for metric in report.protocol.metrics:
            reported = report.reported(candidate, metric)
            if reported is not None:
                origin = f"{reported.origin} on {reported.dataset}: {reported.protocol}"
                difference = rounded(report.difference(candidate, metric), metric, signed=True)
                value = f"{TITLES[metric]} {rounded(reported.value, metric)} ({origin})"
                out.note(f"{candidate.label}: reported {value}; ours is {difference} from it")
    failed = len({failure.image for failure in report.failures})
    if failed:
        out.warn(f"{failed} of {failed + len(report.images)} images have no or not all scores: the means lack them")
    out.record(summary_json(report))

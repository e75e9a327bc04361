"""The end of a batch in a few lines: what failed, what was left out, what was done, how fast, and where it lies.

Stage 1, ASK, on its way back.
"""

from __future__ import annotations

import os
from pathlib import Path

from restore_cli.cli.output import Output
from restore_cli.cli.progress import in_words
from restore_cli.jobs.batch import BatchReport
from restore_cli.jobs.bucket_results import url_of
from restore_cli.jobs.plan import JobPlan
from restore_cli.jobs.result import JobResult

_MOST_FAILURES = 20
_PIXELS_IN_MEGAPIXEL = 1_000_000


class Conclusion:
    """Gather what results say together.

    Args:
        plan: What was to do.
    """

    def __init__(self, plan: JobPlan) -> None:
        self._plan = plan
        self._pixels = 0
        self._folders: dict[str, int] = {}
        self._last: Path | None = None

    def take(self, result: JobResult) -> None:
        """Take a result."""
        if result.status == "ok":
            height, width = result.size_in or (0, 0)
            self._pixels += height * width
            folder = os.path.dirname(result.target)  # noqa: PTH120 - as it was typed, for ten thousand of them
            self._folders[folder] = self._folders.get(folder, 0) + 1
            self._last = result.target

    def show(self, report: BatchReport, out: Output) -> None:
        """Say what came of the batch."""
        if report.failures and len(self._plan.jobs) + len(self._plan.skipped) > 1:
            _list_failures(report, out)
        if self._plan.left_out:
            files = "1 file" if self._plan.left_out == 1 else f"{self._plan.left_out} files"
            out.note(f"{files} left out: no image by name or content")
        skipped = "skipped (done already)" if self._plan.write.resume else "skipped (there already)"
        counts = {
            "restored": report.ok,
            skipped: report.skipped,
            "failed": report.failed,
            "not done": report.stopped,
        }
        counted = ", ".join(f"{count} {what}" for what, count in counts.items() if count or what == "restored")
        out.note(f"{counted} in {_span(report.seconds)}{self._speed(report)}")
        place = self._place()
        if place is not None:
            out.note(place)

    def _speed(self, report: BatchReport) -> str:
        if report.ok < 2 or not report.seconds:
            return ""
        each, megapixels = report.seconds / report.ok, self._pixels / _PIXELS_IN_MEGAPIXEL / report.seconds
        images = f"{each:.1f} s an image" if each >= 1.0 else f"{1.0 / each:.1f} images/s"
        return f" ({images}, {megapixels:.2g} Mpixel/s)"

    def _place(self) -> str | None:
        """Say where the results lie."""
        if self._last is None or any(job.to_stdout for job in self._plan.jobs):
            return None
        if any(job.to_bucket for job in self._plan.jobs):
            return f"the results are in {url_of(Path(os.path.commonpath(self._folders)))}/"
        if sum(self._folders.values()) == 1:
            return f"the result is {self._last}"
        if all(job.is_in_place for job in self._plan.jobs):
            return "the results took the place of their sources"
        folders = [folder or "." for folder in self._folders]
        common = os.path.commonpath(folders) if len({os.path.isabs(folder) for folder in folders}) == 1 else ""  # noqa: PTH117
        if len(folders) == 1 or (common and common != os.sep):
            return f"the results are in {common or folders[0]}{os.sep}"
        return f"the results are in {folders[0]}{os.sep} and {len(folders) - 1} other folders"


def _list_failures(report: BatchReport, out: Output) -> None:
    count = len(report.failures)
    out.note("1 image failed:" if count == 1 else f"{count} images failed:")
    for result in report.failures[:_MOST_FAILURES]:
        out.note(f"  {result.error}")
    if count > _MOST_FAILURES:
        out.note(f"  and {count - _MOST_FAILURES} more")


def _span(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 90 else in_words(seconds)

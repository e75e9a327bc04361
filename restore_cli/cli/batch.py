"""Show a batch to a person: its progress, its results, and in a few lines at the end what came of it.

Stage 1, ASK, on its way back: `restore` says what is wanted, `jobs.batch` does it, this module reports it.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restore_cli.cli.output import Output
from restore_cli.cli.progress import in_words
from restore_cli.cli.signals import stop_on_signals
from restore_cli.jobs.batch import Batch, BatchReport, BatchWatcher
from restore_cli.jobs.bucket_results import url_of
from restore_cli.jobs.choose import LEAST_SIGMA_USED, sigma_warning, trained_sigma
from restore_cli.jobs.plan import JobPlan
from restore_cli.jobs.targets import ImageJob, JobResult, one_a_folder

if TYPE_CHECKING:
    from restore_cli.cli.comparison import ComparisonPage
    from restore_cli.imaging.decoded_image import DecodedImage
    from restore_cli.inference.report import ImageProgress, NetworkFacts, RunFacts
    from restore_cli.metrics.noise_level import NoiseEstimate
    from restore_cli.weights.entry import WeightsEntry
    from restore_cli.weights.store import Progress


_MOST_FAILURES = 20
_PIXELS_IN_MEGAPIXEL = 1_000_000


def show_batch(
    plan: JobPlan,
    out: Output,
    *,
    debug: bool = False,
    compare: Path | None = None,
) -> int:
    """Restore every image of a plan, tell how it goes, and return the exit code.

    Args:
        plan: What to do.
        out: Where to tell it.
        debug: Show the traceback of each image that fails.
        compare: Where a page goes that shows each image before and after; None for none.

    Raises:
        RestoreError: If the weights or the device cannot be had; no image was touched.
    """
    for warning in plan.warnings:
        out.warn(warning)
    with _page(compare, plan, out) as comparison:
        shown = _Shown(out, plan, comparison, debug=debug)
        with out.image_progress(len(plan.jobs) + len(plan.skipped), "loading"):
            batch = Batch(plan, shown)
            batch.prepare()
            out.image_now(plan.task)
            with stop_on_signals() as asked:
                report = batch.run(asked.stop)
        if comparison is not None:
            how = () if report.run is None else (f"{report.run.device}, {report.run.dtype}",)
            comparison.write(", ".join(report.weights), *how)
    if report.fatal is not None and str(report.fatal) not in {str(failure.error) for failure in report.failures}:
        out.error(report.fatal)  # no image met with it, but a worker
    shown.conclusion.show(report, out)
    _record_summary(report, plan, out)
    return report.exit_code if asked.exit_code is None else asked.exit_code


def _page(place: Path | None, plan: JobPlan, out: Output) -> AbstractContextManager[ComparisonPage | None]:
    if place is None:
        return nullcontext()
    from restore_cli.cli.comparison import ComparisonPage  # draws with Pillow, which `--help` does without

    return ComparisonPage(place, plan, out)


class _Shown(BatchWatcher):
    """Tell each result as it comes: its path or JSON on stdout, how it went on stderr."""

    def __init__(self, out: Output, plan: JobPlan, comparison: ComparisonPage | None, *, debug: bool) -> None:
        self._out = out
        self._plan = plan
        self._comparison = comparison
        self._total = len(plan.jobs) + len(plan.skipped)
        self._why_skipped = "is done already, skipped" if plan.write.resume else "exists, skipped"
        self._debug = debug
        self.conclusion = _Conclusion(plan)
        self._count_shown = 0
        self._shown_before: dict[Path, str | None] = {}
        self._tiles_shown = False
        self._advice_shown: set[str] = set()
        self._entries: dict[str, WeightsEntry] = {}

    def transfer(self, name: str) -> AbstractContextManager[Progress | None]:
        """Show a download."""
        return self._out.transfer_progress(name)

    def loaded(self, network: NetworkFacts) -> None:
        """Tell of a network: which, where from, how it runs."""
        out, path = self._out, self._plan.weights.path
        self._entries[network.entry.id] = network.entry
        which, facts = network.entry.id, network.run
        if path is not None:  # nobody but its owner can tell whether it is the right file
            which += f" from {path} ({network.digest})"
        out.note(f"{which} on {facts.device} in {facts.dtype}")
        for note in network.notes:
            out.note(note)
        out.detail(f"why: {facts.reason}")
        out.detail(f"weights: {network.path} ({network.digest})")

    def deliver(self, data: bytes) -> None:
        """Write an image to standard output."""
        self._out.image(data)

    def observe(self, job: ImageJob, before: DecodedImage, after: DecodedImage) -> None:
        """Keep what the page of `--compare` shows."""
        if self._comparison is not None:
            self._comparison.observe(job, before, after)

    def progress(self, job: ImageJob, progress: ImageProgress) -> None:
        """Show how far an image is; that it goes in tiles is told before the work."""
        if job.source not in self._shown_before:
            self._shown_before[job.source] = progress.note
            if progress.note is not None:
                self._out.warn(f"{job.source_name}: {progress.note}")
            elif progress.tiles > 1:
                show = self._out.detail if self._tiles_shown else self._out.note
                show(f"{job.source_name}: in {progress.tiles} tiles of {progress.tile} pixels")
                self._tiles_shown = True
        more = f"tile {progress.tile_now} of {progress.tiles}" if progress.tiles > 1 else ""
        self._out.image_at(job.source_name, progress.share, more)

    def result(self, result: JobResult, facts: RunFacts | None) -> None:
        """Report one result."""
        del facts
        if self._comparison is not None:
            self._comparison.take(result)
        self.conclusion.take(result)
        self._count_shown += 1
        job = result.job
        source, target = job.source_name, job.target_name
        place = f"[{self._count_shown}/{self._total}] {source}"
        self._remark(source, result)
        if result.status == "ok":
            if not job.to_stdout:
                self._out.image_path(target)
            self._out.image_done(f"{place} -> {target}, {result.seconds:.1f} s", name=source)
        elif result.status == "skipped":
            show = self._out.note if self._total == 1 else self._out.detail  # of several they are only counted
            show(f"{place}: {target} {self._why_skipped}")
            self._out.image_done(None, name=source)
        elif result.error is not None:
            if self._debug:
                self._out.traceback(result.error)
            self._out.error(result.error)
            self._out.image_done(None, name=source)
        self._out.record(_result_json(result))

    def _remark(self, source: str, result: JobResult) -> None:
        if result.noise is not None:
            self._out.note(noise_note(source, result.noise, self._entries.get(result.weights or "")))
        shown_before = self._shown_before.pop(result.source, None)
        for warning in result.warnings:
            if warning != shown_before:
                self._out.warn(f"{source}: {warning}")
        for advice in result.advice:
            show = self._out.detail if advice.kind in self._advice_shown else self._out.note
            show(f"{source}: {advice.text}")
            self._advice_shown.add(advice.kind)


def noise_note(source: str, noise: NoiseEstimate, entry: WeightsEntry | None) -> str:
    """Say how much noise was found in an image, and which weights that chose."""
    chosen = ""
    if entry is not None and entry.sigma_range is not None and not entry.bundled:
        chosen = f": {entry.id}, trained at sigma {trained_sigma(entry)}"
    if noise.sigma < LEAST_SIGMA_USED:
        chosen += ", too little to be sure: left to the network"
    parts = "" if noise.chroma is None else f" (luma {noise.luma:.1f}, chroma {noise.chroma:.1f})"
    return f"{source}: noise of about sigma {noise.sigma:.1f}{parts}{chosen}"


def show_sigma(sigma: float, entry: WeightsEntry, out: Output) -> None:
    """Tell which weights a noise level chose, and warn where it is not one they were trained for."""
    warning = sigma_warning(entry, sigma)
    if warning is not None:
        out.warn(warning)
    elif not entry.bundled:
        out.note(f"sigma {sigma:g}: {entry.id}, trained at sigma {trained_sigma(entry)}")


def only(values: list[Any]) -> Any:
    """Return the only value, None where there are several: each image then has its own."""
    return values[0] if len(values) == 1 else None


def _result_json(result: JobResult) -> dict[str, Any]:
    job = result.job
    return {
        "type": "image",
        "source": job.url or str(job.source),
        "target": job.target_name if job.to_bucket else str(job.target),
        "status": result.status,
        "seconds": round(result.seconds, 3),
        "size_in": result.size_in,
        "size_out": result.size_out,
        "weights": result.weights,
        "warnings": [*result.warnings, *(advice.text for advice in result.advice)],
        "error": None if result.error is None else str(result.error),
    }


def _record_summary(report: BatchReport, plan: JobPlan, out: Output) -> None:
    facts = report.run
    out.record(
        {
            "type": "summary",
            "ok": report.ok,
            "skipped": report.skipped,
            "failed": report.failed,
            "stopped": report.stopped,
            "left_out": plan.left_out,
            "seconds": round(report.seconds, 3),
            "task": report.task,
            "model": report.model,
            "weights": only(list(report.weights)),
            "digest": only(list(report.digests)),
            "device": None if facts is None else facts.device,
            "dtype": None if facts is None else facts.dtype,
            "tile": None if facts is None else facts.tile,
            "context": None if facts is None else facts.context,
            "cell": None if facts is None else facts.cell,
            "share": None if facts is None else facts.share,
        }
    )


class _Conclusion:
    """Gather what results say together, and say it in a few lines at the end.

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
        places = one_a_folder(self._plan.jobs)
        if self._last is None or any(job.to_stdout for job in places):
            return None
        if any(job.to_bucket for job in places):
            return f"the results are in {url_of(Path(os.path.commonpath(self._folders)))}/"
        if sum(self._folders.values()) == 1:
            return f"the result is {self._last}"
        if all(job.is_in_place for job in places):
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

"""Show a batch to a person: its progress, its results, and what came of it.

Stage 1, ASK, on its way back: `restore.py` says what is wanted, `jobs.batch` does it, this module tells of it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restore_cli.cli.comparison import ComparisonPage
from restore_cli.cli.conclusion import Conclusion
from restore_cli.cli.output import Output
from restore_cli.cli.signals import stop_on_signals
from restore_cli.errors import ImageError
from restore_cli.jobs.batch import Batch, BatchReport, BatchWatcher, networks_of, without_done
from restore_cli.jobs.choose import LEAST_SIGMA_USED, Choice, Chooser, sigma_warning, trained_sigma
from restore_cli.jobs.plan import JobPlan
from restore_cli.jobs.result import JobResult
from restore_cli.jobs.targets import ImageJob
from restore_cli.weights.store import Progress, locate

if TYPE_CHECKING:
    from restore_cli.imaging.decoded_image import DecodedImage
    from restore_cli.inference.report import ImageProgress, NetworkFacts, RunFacts
    from restore_cli.metrics.noise_level import NoiseEstimate
    from restore_cli.weights.manifest import WeightsEntry


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
    with ComparisonPage(compare, plan, out) as comparison:
        shown = _Shown(out, plan, comparison, debug=debug)
        with out.image_progress(len(plan.jobs) + len(plan.skipped), "loading"):
            batch = Batch(plan, shown)
            batch.prepare()
            out.image_now(plan.task)
            with stop_on_signals() as asked:
                report = batch.run(asked.stop)
        comparison.write(
            ", ".join(report.weights), *(() if report.run is None else (f"{report.run.device}, {report.run.dtype}",))
        )
    if report.fatal is not None and str(report.fatal) not in {str(failure.error) for failure in report.failures}:
        out.error(report.fatal)  # no image met with it, but a worker
    shown.conclusion.show(report, out)
    _record_summary(report, plan, out)
    return report.exit_code if asked.exit_code is None else asked.exit_code


class _Shown(BatchWatcher):
    """Tell each result as it comes: its path or JSON on stdout, how it went on stderr."""

    def __init__(self, out: Output, plan: JobPlan, comparison: ComparisonPage, *, debug: bool) -> None:
        self._out = out
        self._plan = plan
        self._comparison = comparison
        self._named = {job.source: job for job in (*plan.jobs, *plan.skipped) if job.file is None or job.folder is None}
        self._total = len(plan.jobs) + len(plan.skipped)
        self._why_skipped = "is done already, skipped" if plan.write.resume else "exists, skipped"
        self._debug = debug
        self.conclusion = Conclusion(plan)
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
        self._comparison.take(result)
        self.conclusion.take(result)
        self._count_shown += 1
        job = self._named.get(result.source)
        source = str(result.source) if job is None else job.source_name
        target = str(result.target) if job is None else job.target_name
        place = f"[{self._count_shown}/{self._total}] {source}"
        if result.noise is not None:
            self._out.note(_noise_note(source, result.noise, self._entries.get(result.weights or "")))
        shown_before = self._shown_before.pop(result.source, None)
        for warning in result.warnings:
            if warning != shown_before:
                self._out.warn(f"{source}: {warning}")
        for advice in result.advice:
            show = self._out.detail if advice.kind in self._advice_shown else self._out.note
            show(f"{source}: {advice.text}")
            self._advice_shown.add(advice.kind)
        if result.status == "ok":
            if job is None or not job.to_stdout:
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
        self._out.record(_result_json(result, job))


def _noise_note(source: str, noise: NoiseEstimate, entry: WeightsEntry | None) -> str:
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


def show_plan(plan: JobPlan, out: Output) -> int:
    """Show what a batch would do: a line or an object an image, and the weights; return the exit code."""
    if plan.write.resume:
        plan = without_done(plan, networks_of(plan, out.transfer_progress))
    chooser = None if plan.steps else Chooser(plan.weights)
    chain = [step.entry() for step in plan.steps]
    if chooser is None:
        ids = ", ".join(entry.id for entry in chain)
        default = replace(chain[-1], id=ids, scale=prod(entry.scale for entry in chain))
    else:
        default = chooser.default
    used: dict[str, WeightsEntry] = {}
    refused = 0
    for job in plan.jobs:
        choice = None if chooser is None else chooser.choose_for(job, plan.read)
        if choice is not None:
            used[choice.entry.id] = choice.entry
            _show_choice(choice, job.source_name, out)
        refused += not _show_planned(job, plan, choice or Choice(entry=default), out)
    for job in plan.skipped:
        out.data(f"{job.source_name} -> {job.target} (exists, skipped)")
        source = job.url or str(job.source)
        out.record({"type": "image", "source": source, "target": str(job.target), "status": "skipped"})
    entries = tuple(chain or used.values()) or (default,)
    places = [plan.weights.path or locate(entry) for entry in entries]
    out.record(
        {
            "type": "summary",
            "planned": len(plan.jobs) - refused,
            "failed": refused,
            "skipped": len(plan.skipped),
            "task": plan.task,
            "model": entries[0].model,
            "weights": default.id if chain else _only([entry.id for entry in entries]),
            "weights_path": _only([None if place is None else str(place) for place in places]),
        }
    )
    for entry, place in zip(entries, places, strict=True):
        out.note(f"{entry.id}: {place or 'would be fetched first'}")
    counts = [f"{len(plan.jobs) - refused} to restore", *([f"{refused} refused"] if refused else [])]
    out.note(f"{', '.join([*counts, f'{len(plan.skipped)} to skip'])}; nothing was touched")
    return ImageError.exit_code if refused else 0


def _show_planned(job: ImageJob, plan: JobPlan, choice: Choice, out: Output) -> bool:
    """Show what would become of an image; return whether a run would not refuse it ahead of the network."""
    from restore_cli.jobs.check import check_image

    record: dict[str, Any] = {"type": "image", "source": job.url or str(job.source), "target": str(job.target)}
    try:
        if job.file is not None:
            check_image(job, plan, scale=choice.entry.scale)
    except ImageError as error:
        out.error(error)
        out.record({**record, "status": "failed", "weights": None, "error": str(error)})
        return False
    scene = job.source_name if job.right is None else f"{job.source_name} + {job.right}"
    out.data(f"{scene} -> {job.target_name if job.to_bucket else job.target}")
    out.record({**record, "status": "planned", "weights": choice.entry.id})
    return True


def _show_choice(choice: Choice, source: str, out: Output) -> None:
    if choice.noise is None:
        return
    out.note(_noise_note(source, choice.noise, choice.entry))
    warning = sigma_warning(choice.entry, choice.sigma)
    if warning is not None:
        out.warn(f"{source}: {warning}")


def _only(values: list[Any]) -> Any:
    """Return the only value, None where there are several: each image then has its own."""
    return values[0] if len(values) == 1 else None


def _result_json(result: JobResult, job: ImageJob | None) -> dict[str, Any]:
    return {
        "type": "image",
        "source": (None if job is None else job.url) or str(result.source),
        "target": job.target_name if job is not None and job.to_bucket else str(result.target),
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
            "weights": _only(list(report.weights)),
            "digest": _only(list(report.digests)),
            "device": None if facts is None else facts.device,
            "dtype": None if facts is None else facts.dtype,
            "tile": None if facts is None else facts.tile,
            "context": None if facts is None else facts.context,
            "cell": None if facts is None else facts.cell,
            "share": None if facts is None else facts.share,
        }
    )

"""Carry out a plan for a person: load, run, tell, stop when asked, and turn what happened into an exit code.

Stage 1, ASK, on its way back: `restore.py` decides what is to be done, this module does it. torch comes in here, unless
`--resume` finds everything done.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restore_cli.cli.comparison import Comparison
from restore_cli.cli.output import Output
from restore_cli.cli.signals import stop_on_signals
from restore_cli.errors import RestoreError
from restore_cli.jobs.plan import JobPlan
from restore_cli.jobs.result import JobResult, Summary
from restore_cli.jobs.resume import Ledgers, recipe_of, split_done
from restore_cli.jobs.targets import target_folders
from restore_cli.storage.publish import remove_unfinished

if TYPE_CHECKING:
    from restore_cli.inference.restorer import Restorer, RunFacts
    from restore_cli.weights.load import LoadedWeights
    from restore_cli.weights.manifest import WeightsEntry


def run_batch(
    plan: JobPlan, entry: WeightsEntry, out: Output, *, debug: bool = False, compare: Path | None = None
) -> int:
    """Restore every image of a plan and return the exit code.

    Args:
        plan: What to do.
        entry: The entry that `plan.weights` names.
        out: Where to tell it.
        debug: Show the traceback of each image that fails.
        compare: Where a page goes that shows each image before and after; None for none.

    Raises:
        RestoreError: If the weights or the device cannot be had; no image was touched.
    """
    total = len(plan.jobs) + len(plan.skipped)
    _remove_unfinished(plan)
    with out.image_progress(total, "loading"):
        if plan.write.resume:
            started = time.monotonic()
            plan, digest = without_done(plan, entry, out)
            if not plan.jobs:
                _tell_nothing_to_do(plan, entry, digest, started, out)
                return 0
        from restore_cli.inference.allocator import keep_freed_memory
        from restore_cli.inference.restorer import Restorer

        keep_freed_memory()
        weights = _load(plan, entry, out)
        restorer = Restorer(weights, plan.run)
        _say_facts(restorer, plan, out)
        out.image_now(plan.task)
        ended = run_loaded(plan, restorer, out, debug=debug, compare=compare)
    return conclude(ended, plan, restorer, out)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How the work on a plan ended.

    Attributes:
        summary: What became of its images.
        facts: How they were run, None where no network was loaded.
        signal_code: The exit code of the signal that ended it, None for none.
    """

    summary: Summary
    facts: RunFacts | None
    signal_code: int | None


def run_loaded(
    plan: JobPlan, restorer: Restorer, out: Output, *, debug: bool = False, compare: Path | None = None
) -> Ended:
    """Restore every image of a plan with a network that is loaded; arguments as in `run_batch`."""
    from restore_cli.jobs.pipeline import run_jobs

    teller = _Teller(out=out, plan=plan, restorer=restorer, debug=debug)
    with Comparison(compare, plan, out) as comparison, stop_on_signals() as asked:

        def tell(result: JobResult) -> None:
            comparison.take(result)
            teller.tell(result)

        summary = run_jobs(
            plan, restorer, on_result=tell, stop=asked.stop, deliver=out.image, observe=comparison.observe
        )
    facts = teller.facts
    comparison.write(restorer.weights.entry.id, *(() if facts is None else (f"{facts.device}, {facts.dtype}",)))
    return Ended(summary=summary, facts=facts, signal_code=asked.exit_code)


def conclude(ended: Ended, plan: JobPlan, restorer: Restorer, out: Output) -> int:
    """Tell how the work ended and return the exit code."""
    summary, weights = ended.summary, restorer.weights
    _remove_unfinished(plan)  # of others that were killed meanwhile
    _conclude(summary, plan, weights.entry, weights.digest, ended.facts, out)
    if ended.signal_code is not None:
        return ended.signal_code
    if summary.fatal is not None:
        return summary.fatal.exit_code
    return RestoreError.exit_code if summary.failed else 0


def _remove_unfinished(plan: JobPlan) -> None:
    """Remove what killed processes left in the output folders."""
    for folder in target_folders(job for job in (*plan.jobs, *plan.skipped) if not job.to_stdout):
        remove_unfinished(folder)


def _tell_nothing_to_do(plan: JobPlan, entry: WeightsEntry, digest: str, started: float, out: Output) -> None:
    """Tell a run whose every image is skipped."""
    teller = _Teller(out=out, plan=plan)
    for job in plan.skipped:
        teller.tell(JobResult(source=job.source, target=job.target, status="skipped"))
    seconds = time.monotonic() - started
    summary = Summary(ok=0, skipped=len(plan.skipped), failed=0, stopped=0, seconds=seconds)
    _conclude(summary, plan, entry, digest, None, out)


def without_done(plan: JobPlan, entry: WeightsEntry, out: Output) -> tuple[JobPlan, str]:
    """Return the plan with what is proved done among the skipped, and the digest of the weights file.

    Args:
        plan: What to do.
        entry: The entry that `plan.weights` names.
        out: Where to show a download.

    Raises:
        WeightsError: If the weights cannot be had.
        StorageError: If a ledger cannot be read.
    """
    from restore_cli.weights.file import read_content
    from restore_cli.weights.store import fetch

    path = plan.weights.path
    if path is None:
        with out.transfer_progress(entry.file) as progress:
            path = fetch(entry, offline=plan.offline, progress=progress)
    digest = f"sha256:{read_content(path).sha256}"
    to_do, done = split_done(plan.jobs, Ledgers(recipe_of(plan, entry, digest)))
    return replace(plan, jobs=to_do, skipped=(*plan.skipped, *done)), digest


def _load(plan: JobPlan, entry: WeightsEntry, out: Output) -> LoadedWeights:
    from restore_cli.weights.load import load_weights

    with out.transfer_progress(entry.file) as progress:
        weights = load_weights(entry, plan.weights.path, offline=plan.offline, progress=progress)
    for note in weights.notes:
        out.note(note)
    return weights


def _say_facts(restorer: Restorer, plan: JobPlan, out: Output) -> None:
    facts = restorer.describe()
    which, digest = restorer.weights.entry.id, restorer.weights.digest
    if plan.weights.path is not None:  # nobody but its owner can tell whether it is the right file
        which += f" from {plan.weights.path} ({digest})"
    out.note(f"{which} on {facts.device} in {facts.dtype}")
    if restorer.note is not None:
        out.note(restorer.note)
    out.detail(f"why: {facts.reason}")
    out.detail(f"weights: {restorer.weights.path} ({digest})")


class _Teller:
    """Tell each result as it comes: its path or JSON on stdout, how it went on stderr.

    Args:
        out: Where to.
        plan: What is done.
        restorer: Asked how each image was laid out; None where none is.
        debug: Show tracebacks.
    """

    def __init__(self, *, out: Output, plan: JobPlan, restorer: Restorer | None = None, debug: bool = False) -> None:
        self._out = out
        self._restorer = restorer
        self._jobs = {job.source: job for job in (*plan.jobs, *plan.skipped) if job.from_stdin or job.to_stdout}
        self._total = len(plan.jobs) + len(plan.skipped)
        self._why_skipped = "is done already, skipped" if plan.write.resume else "exists, skipped"
        self._debug = debug
        self._told = 0
        self._seen: set[RunFacts] = set()

    @property
    def facts(self) -> RunFacts | None:
        """Return how the images were run where that was the same for all, else how it was requested."""
        if len(self._seen) == 1:
            return next(iter(self._seen))
        return None if self._restorer is None else self._restorer.describe()

    def tell(self, result: JobResult) -> None:
        """Tell one result."""
        self._told += 1
        job = self._jobs.get(result.source)  # one that goes through a pipe
        source = str(result.source) if job is None else job.source_name
        target = str(result.target) if job is None else job.target_name
        place = f"[{self._told}/{self._total}] {source}"
        for warning in result.warnings:
            self._out.warn(f"{source}: {warning}")
        if result.status == "ok":
            if result.size_in is not None and self._restorer is not None:
                self._seen.add(self._restorer.describe(result.size_in))
            if job is None or not job.to_stdout:
                self._out.data(str(result.target))
            self._out.image_done(f"{place} -> {target}, {result.seconds:.1f} s")
        elif result.status == "skipped":
            self._out.image_done(f"{place}: {target} {self._why_skipped}")
        elif result.error is not None:
            if self._debug:
                self._out.traceback(result.error)
            self._out.error(result.error)
            self._out.image_done(None)
        self._out.record(_result_json(result))


def _result_json(result: JobResult) -> dict[str, Any]:
    return {
        "type": "image",
        "source": str(result.source),
        "target": str(result.target),
        "status": result.status,
        "seconds": round(result.seconds, 3),
        "size_in": result.size_in,
        "size_out": result.size_out,
        "warnings": result.warnings,
        "error": None if result.error is None else str(result.error),
    }


def _conclude(
    summary: Summary, plan: JobPlan, entry: WeightsEntry, digest: str, facts: RunFacts | None, out: Output
) -> None:
    """Tell the counts; facts are None where no network was loaded."""
    counts = {"restored": summary.ok, "skipped": summary.skipped, "failed": summary.failed, "not done": summary.stopped}
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count or what == "restored")
    out.note(f"{told} in {summary.seconds:.1f} s")
    out.record(
        {
            "type": "summary",
            "ok": summary.ok,
            "skipped": summary.skipped,
            "failed": summary.failed,
            "stopped": summary.stopped,
            "seconds": round(summary.seconds, 3),
            "task": plan.task,
            "model": entry.model,
            "weights": entry.id,
            "digest": digest,
            "device": None if facts is None else facts.device,
            "dtype": None if facts is None else facts.dtype,
            "tile": None if facts is None else facts.tile,
            "context": None if facts is None else facts.context,
            "cell": None if facts is None else facts.cell,
            "share": None if facts is None else facts.share,
        }
    )

"""Carry out a plan for a person: load, run, tell, stop when asked, and turn what happened into an exit code.

Stage 1, ASK, on its way back: `restore.py` decides what is to be done, this module does it. torch comes in here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from restore_cli.cli.output import Output
from restore_cli.cli.signals import stop_on_signals
from restore_cli.errors import RestoreError
from restore_cli.plan import JobPlan

if TYPE_CHECKING:
    from restore_cli.inference.pipeline import JobResult, Summary
    from restore_cli.inference.restorer import Restorer, RunFacts
    from restore_cli.weights.load import LoadedWeights
    from restore_cli.weights.manifest import WeightsEntry


def run_batch(plan: JobPlan, entry: WeightsEntry, out: Output, *, debug: bool = False) -> int:
    """Restore every picture of a plan and return the exit code.

    Args:
        plan: What to do.
        entry: The entry that `plan.weights` names.
        out: Where to tell it.
        debug: Show the traceback of each picture that fails.

    Raises:
        RestoreError: If the weights or the device cannot be had; no picture was touched.
    """
    total = len(plan.jobs) + len(plan.skipped)
    with out.image_progress(total, "loading"):
        from restore_cli.inference.allocator import keep_freed_memory
        from restore_cli.inference.pipeline import run_jobs
        from restore_cli.inference.restorer import Restorer

        keep_freed_memory()
        weights = _load(plan, entry, out)
        restorer = Restorer(weights, plan.run)
        _say_facts(restorer, plan, out)
        out.image_now(plan.task)
        teller = _Teller(out=out, restorer=restorer, total=total, debug=debug)
        with stop_on_signals() as asked:
            summary = run_jobs(plan, restorer, on_result=teller.tell, stop=asked.stop)
    _conclude(summary, plan, weights, teller.facts, out)
    if asked.exit_code is not None:
        return asked.exit_code
    if summary.fatal is not None:
        return summary.fatal.exit_code
    return RestoreError.exit_code if summary.failed else 0


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
    out.detail(f"why: {facts.reason}")
    out.detail(f"weights: {restorer.weights.path} ({digest})")


class _Teller:
    """Tell each result as it comes: its path or JSON on stdout, how it went on stderr.

    Args:
        out: Where to.
        restorer: Asked how each picture was laid out.
        total: Pictures of the run.
        debug: Show tracebacks.
    """

    def __init__(self, *, out: Output, restorer: Restorer, total: int, debug: bool) -> None:
        self._out = out
        self._restorer = restorer
        self._total = total
        self._debug = debug
        self._told = 0
        self._seen: set[RunFacts] = set()

    @property
    def facts(self) -> RunFacts:
        """Return how the pictures were run where that was the same for all, else how it was wished."""
        return next(iter(self._seen)) if len(self._seen) == 1 else self._restorer.describe()

    def tell(self, result: JobResult) -> None:
        """Tell one result."""
        self._told += 1
        place = f"[{self._told}/{self._total}] {result.source}"
        for warning in result.warnings:
            self._out.warn(f"{result.source}: {warning}")
        if result.status == "ok":
            if result.size_in is not None:
                self._seen.add(self._restorer.describe(result.size_in))
            self._out.data(str(result.target))
            self._out.image_done(f"{place} -> {result.target}, {result.seconds:.1f} s")
        elif result.status == "skipped":
            self._out.image_done(f"{place}: {result.target} exists, skipped")
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


def _conclude(summary: Summary, plan: JobPlan, weights: LoadedWeights, facts: RunFacts, out: Output) -> None:
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
            "model": weights.entry.model,
            "weights": weights.entry.id,
            "digest": weights.digest,
            "device": facts.device,
            "dtype": facts.dtype,
            "tile": facts.tile,
            "context": facts.context,
        }
    )

"""Show a person what a batch would do, without doing it.

Stage 1, ASK, on its way back: `--dry-run` refuses what a run would refuse ahead of the network, and loads none.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

from restore_cli.cli.batch import noise_note, only
from restore_cli.errors import ImageError
from restore_cli.jobs.batch import networks_of, without_done
from restore_cli.jobs.choose import Choice, Chooser, sigma_warning
from restore_cli.jobs.stages import check_image
from restore_cli.weights.store import locate

if TYPE_CHECKING:
    from restore_cli.cli.output import Output
    from restore_cli.jobs.plan import JobPlan
    from restore_cli.jobs.targets import ImageJob
    from restore_cli.weights.entry import WeightsEntry


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
        # Only where each image's weights are told are pixels decoded to see whether a coloured file is gray.
        choice = None if chooser is None else chooser.choose_for(job, plan.read, by_header=not out.keeps_records)
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
            "weights": default.id if chain else only([entry.id for entry in entries]),
            "weights_path": only([None if place is None else str(place) for place in places]),
        }
    )
    for entry, place in zip(entries, places, strict=True):
        out.note(f"{entry.id}: {place or 'would be fetched first'}")
    counts = [f"{len(plan.jobs) - refused} to restore", *([f"{refused} refused"] if refused else [])]
    out.note(f"{', '.join([*counts, f'{len(plan.skipped)} to skip'])}; nothing was touched")
    return ImageError.exit_code if refused else 0


def _show_planned(job: ImageJob, plan: JobPlan, choice: Choice, out: Output) -> bool:
    """Show what would become of an image; return whether a run would not refuse it ahead of the network."""
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
    out.note(noise_note(source, choice.noise, choice.entry))
    warning = sigma_warning(choice.entry, choice.sigma)
    if warning is not None:
        out.warn(f"{source}: {warning}")

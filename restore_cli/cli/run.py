"""`restore run`: several tasks one after the other on each image, which is read once and written once.

Stage 1, ASK.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Annotated

import typer

from restore_cli.cli.batch import show_batch, show_planned, tell_planned
from restore_cli.cli.options import FileOptions, MessageOptions, Offline, Paths, RunOptions
from restore_cli.cli.registration import command
from restore_cli.cli.restore import require_own_place
from restore_cli.jobs.choose import Choice, WeightsRequest
from restore_cli.jobs.networks import LoadedNetwork
from restore_cli.jobs.plan import JobPlan, plan_images
from restore_cli.jobs.sources import PassedOver
from restore_cli.jobs.steps import parse_steps, suffix_of_steps

app = typer.Typer()


@command(
    app,
    "run",
    examples="""
    restore run denoise,sr:2 photo.jpg              writes photo_denoised_x2.jpg beside it
    restore run denoise:25,sr:4 scans/ large/       with a noise level; a folder into another
    restore run dejpeg:strength=0.7,sr:2 in/ out/   70 % of what dejpeg does, 30 % of the input, then enlarged
    restore run derain,sr:2@ramit-1 --resume in/ out/    with other weights; goes on where a run was cut off
    """,
)
def run(
    steps: Annotated[
        str,
        typer.Argument(
            metavar="STEPS",
            show_default=False,
            help="Tasks with commas between them: denoise, denoise:SIGMA, sr:FACTOR, dejpeg, derain, lowlight, deblur; "
            ":strength=0..1 behind all but sr blends result and input, @NAME at the end chooses the model or weights.",
        ),
    ],
    paths: Paths,
    *,
    files: FileOptions,
    offline: Offline = False,
    network: RunOptions,
    messages: MessageOptions,
) -> None:
    """Restore images by several tasks, one after the other."""
    parsed = parse_steps(steps)
    out = messages.open()
    files = network.sharing(files)
    write = files.write_settings()
    if files.compare is not None:
        from restore_cli.comparison.files import require_place

        require_place(files.compare)
    paths_meant = replace(files.path_settings(paths), task_suffix=suffix_of_steps(parsed))
    passed_over = PassedOver()
    jobs, skipped = plan_images(paths_meant, write, passed_over=passed_over)
    if any(job.to_stdout for job in jobs):
        out.require_pipe()
    if any(job.from_stdin for job in jobs) and not files.dry_run:
        from restore_cli.cli.streams import with_standard_input

        jobs = tuple(with_standard_input(job) if job.from_stdin else job for job in jobs)
    ids = ", ".join(step.entry().id for step in parsed)
    plan = JobPlan(
        weights=WeightsRequest(task=",".join(step.text for step in parsed), offline=offline),
        jobs=jobs,
        skipped=skipped,
        steps=parsed,
        run=network.settings(),
        read=files.read_settings(),
        write=write,
        workers=network.crew(),
        jobs_in_flight=network.jobs,
        fail_fast=files.fail_fast,
        retry_failed=files.retry_failed,
        left_out=passed_over.count,
        warnings=tuple(passed_over.warnings),
    )
    if files.dry_run:
        chained = Choice(entry=replace(parsed[-1].entry(), id=ids, scale=prod(step.scale for step in parsed)))
        refused = sum(not show_planned(job, plan, chained, out) for job in plan.jobs)
        if code := tell_planned(plan, refused, out, f"{ids}: "):
            raise typer.Exit(code)
        return
    require_own_place(files.report, plan)

    with out.report(files.report, overwrite=files.existing == "overwrite", append=files.resume):
        from restore_cli.jobs.chain import load_chain

        chain = load_chain(plan, out.transfer_progress)
        if plan.workers is None:  # else they tell
            out.note(f"{chain.weights.entry.id} on {chain.describe().device} in {chain.describe().dtype}")
        networks = LoadedNetwork(plan, chain)
        code = show_batch(plan, out, debug=messages.debug, compare=files.compare, networks=networks)
    if code:
        raise typer.Exit(code)

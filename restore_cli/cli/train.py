"""`restore train`: train a network from folders of images; below it `export` makes weights, `report` draws curves.

Stage 1, ASK: options (`train_options`) to a `TrainRequest`, which `training.run` carries out and `training` here shows.
"""

from __future__ import annotations

import shlex
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from restore_cli.cli.options import COMMON, Device, MessageOptions
from restore_cli.cli.registration import command, command_of_its_own, option
from restore_cli.cli.signals import stop_on_signals
from restore_cli.cli.train_options import DataOptions, RunFolderOptions, SpeedOptions, TaskOptions
from restore_cli.errors import UsageError

if TYPE_CHECKING:
    from restore_cli.training.request import TrainRequest

# What may change while a run is resumed, because it changes nothing but the speed and the memory.
_FREE_SPEED = {"device", "threads", "compile", "checkpoint_activations"}

app = typer.Typer()
commands = typer.Typer()
app.add_typer(commands, name="train")


@command_of_its_own(
    commands,
    examples="""
        restore train --task sr --scale 2 --minutes 30 \\
            --data photos --val held-out --out runs/x2
        restore train --task sr --scale 4 --warm-start runs/x2 \\
            --data photos --val held-out --out runs/x4
        restore train --resume --out runs/x2
        restore train export runs/x2 -o x2.safetensors
        restore train report runs/x2
        torchrun --nproc-per-node 2 -m restore_cli train --recipe ramit-sr-x2 \\
            --data DIV2K --val val --out runs/p""",
)
def train(
    ctx: typer.Context,
    images: DataOptions,
    chosen: TaskOptions,
    run: RunFolderOptions,
    speed: SpeedOptions,
    messages: MessageOptions,
) -> None:
    """Train a network from a folder of clean images, degraded on the fly."""
    if ctx.invoked_subcommand is not None:
        return
    if run.out is None and not run.dry_run:
        raise UsageError("there is no folder for the run", hint="give --out runs/NAME")
    out = messages.open()
    request = _request(images, chosen, speed, run)

    from restore_cli.cli.training import ShownTraining, conclude, show_estimate
    from restore_cli.inference.device import keep_freed_memory
    from restore_cli.training.run import find_machine, run_training

    keep_freed_memory()
    machine = find_machine(
        speed.device,
        threads=speed.threads,
        compile=speed.compile,
        recompute=speed.checkpoint_activations,
        cache_mebibytes=images.cache_budget,
    )
    if run.out is None or run.dry_run:
        show_estimate(request, machine, run.out, out, samples=run.samples)
        return
    with stop_on_signals() as asked:
        training = run_training(request, machine, run.out, watcher=ShownTraining(out, run.samples), stop=asked.stop)
    if machine.processes.leads:
        conclude(training, request, out)
    if training.stopped:
        raise typer.Exit(asked.exit_code or 1)


@command(
    commands,
    "export",
    examples="""
        restore train export runs/x2 -o x2.safetensors      then: restore sr --weights x2.safetensors photo.jpg
        restore train export runs/x2 --id my-x2 --licence CC0-1.0
        restore train export runs/x2 --half --bundle . \\
            --id ramit-lite-sr-x2 --licence MIT""",
)
def export(
    folder: Annotated[Path, typer.Argument(metavar="RUN", show_default=False, help="Folder of a run.")],
    output: Annotated[
        Path | None,
        option(COMMON, "--output", "-o", "Write to this file. [default: ID.safetensors, here]", metavar="FILE"),
    ] = None,
    half: Annotated[bool, option(COMMON, "--half", "Store numbers as float16: half the size.")] = False,
    weights_id: Annotated[
        str | None, option(COMMON, "--id", "Name the weights. [default: RECIPE-own]", metavar="ID")
    ] = None,
    licence: Annotated[
        str,
        option(COMMON, "--licence", "State the terms of the weights, such as MIT.", metavar="TEXT", show_default=True),
    ] = "none stated",
    notes: Annotated[
        str | None, option(COMMON, "--notes", "Tell their users something, in one line.", metavar="TEXT")
    ] = None,
    commit: Annotated[
        str | None,
        option(
            COMMON, "--commit", "Name the git commit that trained, for a run that does not know it.", metavar="HASH"
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        option(
            COMMON,
            "--bundle",
            "Put file and entry into a checkout of this project, in place of those of the same id.",
            metavar="CHECKOUT",
        ),
    ] = None,
    *,
    messages: MessageOptions,
) -> None:
    """Make a .safetensors of a run's best weights, and print its manifest entry."""
    if output is not None and bundle is not None:
        raise UsageError("--bundle and --output both say where the file goes", hint="give one of them")
    out = messages.open()

    from restore_cli.training.export import ExportSettings, read_export, ship_export, write_export
    from restore_cli.weights.entry import entry_to_json

    made = read_export(folder, ExportSettings(id=weights_id, licence=licence, notes=notes, commit=commit, half=half))
    if bundle is not None:
        entry = ship_export(made, bundle)
        place = f"the bundled weights of {bundle}"
    else:
        path = output or Path(made.entry.file)
        entry = write_export(made, path)
        place = str(path)
    out.json(entry_to_json(entry))
    out.note(f"{entry.id}: {entry.bytes} bytes to {place}")
    if bundle is None:
        out.note(f"to use them: restore {entry.task} --weights {shlex.quote(place)} IMAGE")


@command(commands, "report", examples="restore train report runs/x2      then open runs/x2/report.html in a browser")
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", show_default=False, help="Folder of a run.")],
    device: Device = "auto",
    *,
    messages: MessageOptions,
) -> None:
    """Draw the page of a run again: its curves, and held-out images as restored now."""
    out = messages.open()

    from restore_cli.inference.device import choose_device
    from restore_cli.training.processes import Processes
    from restore_cli.training.report import redraw
    from restore_cli.training.session import Machine

    page, missing = redraw(folder, Machine(device=choose_device(device).device, processes=Processes()))
    if missing is not None:
        out.warn(f"the page shows no held-out images: {missing}")
    out.data(str(page))


def _request(images: DataOptions, chosen: TaskOptions, speed: SpeedOptions, run: RunFolderOptions) -> TrainRequest:
    """Return what the options ask for, or what the run to resume was asked for."""
    from restore_cli.training.recipes import recipe_of_task
    from restore_cli.training.request import TrainRequest
    from restore_cli.training.run_file import NAME, read_run

    exists = run.out is not None and (run.out / NAME).is_file()
    if run.out is not None and run.resume and (exists or not images.data):
        request, _ = read_run(run.out)
        for group, free in ((images, {"cache_budget"}), (chosen, set()), (speed, _FREE_SPEED)):
            _refuse_changes(group, free)
        return request
    if exists and not run.dry_run:
        raise UsageError(f"{run.out} holds a run already", hint="go on with --resume, or name another --out")
    if not images.data:
        raise UsageError("there are no images to train on", hint="give --data DIR")
    recipe = chosen.recipe
    if recipe is None:
        variant = "photo" if chosen.photo else None
        recipe = recipe_of_task(chosen.task, scale=chosen.scale, gray=chosen.gray, variant=variant).name

    from restore_cli.training.run import absolute, source_of

    return TrainRequest(
        recipe=recipe,
        data=absolute(images.data),
        degraded=absolute(images.degraded or ()),
        val=absolute(images.val or ()),
        val_degraded=absolute(images.val_degraded or ()),
        steps=chosen.steps,
        minutes=chosen.minutes,
        batch=chosen.batch,
        patch=chosen.patch,
        rate=chosen.lr,
        optimiser=chosen.optimiser,
        warm_start=source_of(chosen.warm_start),
        freeze=tuple(chosen.freeze or ()),
        freeze_until=chosen.freeze_until,
        seed=chosen.seed,
        bf16=speed.bf16,
        accumulate=speed.accumulate,
        log_every=speed.log_every,
        validate_every=speed.validate_every,
    )


def _refuse_changes(group: Any, free: set[str]) -> None:
    """Refuse options that would make a resumed run another one.

    Raises:
        UsageError: If one was given.
    """
    for field in fields(group):
        if field.name not in free and getattr(group, field.name) != field.default:
            option = f"--{field.name.replace('_', '-')}"
            raise UsageError(f"{option} cannot change while a run is resumed", hint="leave it out with --resume")

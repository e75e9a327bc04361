"""`restore train`: train a network from folders of images; below it `export` makes weights, `report` draws curves.

Stage 1, ASK: options to a `TrainRequest`, whose options are in `train_options`. What is said on the way is in
`training`; what is trained and how is in `training/`.
"""

from __future__ import annotations

import shlex
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from restore_cli.cli.options import Device, MessageOptions
from restore_cli.cli.registration import command, command_of_its_own
from restore_cli.cli.train_options import ImageOptions, RunFolderOptions, SpeedOptions, TaskOptions
from restore_cli.errors import UsageError

if TYPE_CHECKING:
    from restore_cli.cli.output import Output
    from restore_cli.training.request import TrainRequest
    from restore_cli.training.session import Machine, Session

# What may change while a run is resumed, because it changes nothing but the speed and the memory.
_FREE_SPEED = {"device", "threads", "compile", "checkpoint_activations"}

app = typer.Typer()
commands = typer.Typer()
app.add_typer(commands, name="train")


@command_of_its_own(
    commands,
    examples="""
        restore train --task sr --scale 2 --data photos --val held-out --minutes 30 --out runs/x2
        restore train --task sr --scale 4 --warm-start runs/x2 --data photos --val held-out --out runs/x4
        restore train --resume --out runs/x2
        restore train export runs/x2 -o x2.safetensors
        restore train report runs/x2
        torchrun --nproc-per-node 2 -m restore_cli train --recipe ramit-sr-x2 --data DIV2K --val val --out runs/p""",
)
def train(
    ctx: typer.Context,
    images: ImageOptions,
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
    machine = _machine(speed, images.cache_budget)

    from restore_cli.cli.training import tell_estimate, tell_plan, train_session
    from restore_cli.training.processes import joined
    from restore_cli.training.session import prepare

    with joined(machine.processes, machine.device):
        session = prepare(request, machine, run.out)
        if machine.processes.leads:
            tell_plan(session, machine, out)
            if run.samples is not None:
                _draw_samples(session, run.samples, out)
        if run.dry_run and machine.processes.leads:
            tell_estimate(session, machine, out)
        elif run.out is not None and not run.dry_run:
            train_session(session, machine, run.out, out)


def _draw_samples(session: Session, page: Path, out: Output) -> None:
    from restore_cli.training.samples import write_samples

    if page.exists():
        raise UsageError(f"{page} exists", hint="name another --samples, or remove it")
    write_samples(session, page)
    out.note(f"samples: {page}")


@command(
    commands,
    "export",
    examples="""
        restore train export runs/x2 -o x2.safetensors      then: restore sr --weights x2.safetensors photo.jpg
        restore train export runs/x2 --id my-x2 --licence CC0-1.0
        restore train export runs/x2 --half --id ramit-lite-sr-x2 --licence MIT --bundle .""",
)
def export(
    folder: Annotated[Path, typer.Argument(metavar="RUN", show_default=False, help="Folder of a run.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write. Default: ID.safetensors, here."),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Store float16: half the size.")] = False,
    weights_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Name of the weights. Default: RECIPE-own.")
    ] = None,
    licence: Annotated[
        str, typer.Option("--licence", metavar="TEXT", help="Terms of the weights, such as MIT.")
    ] = "none stated",
    notes: Annotated[
        str | None, typer.Option("--notes", metavar="TEXT", help="What their users should know, one line.")
    ] = None,
    commit: Annotated[
        str | None,
        typer.Option("--commit", metavar="HASH", help="Git commit that trained, for a run that does not know it."),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            metavar="CHECKOUT",
            help="Put file and entry into a checkout of this project, in place of those of the same id.",
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


@command(
    commands,
    "report",
    examples="restore train report runs/x2      then open runs/x2/report.html in a browser",
)
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


def _request(images: ImageOptions, chosen: TaskOptions, speed: SpeedOptions, run: RunFolderOptions) -> TrainRequest:
    """Return what the options ask for, or what the run to resume was asked for."""
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
    return TrainRequest(
        recipe=chosen.recipe or _recipe_name(chosen),
        data=_paths(images.data),
        degraded=_paths(images.degraded),
        val=_paths(images.val),
        val_degraded=_paths(images.val_degraded),
        steps=chosen.steps,
        minutes=chosen.minutes,
        batch=chosen.batch,
        patch=chosen.patch,
        rate=chosen.lr,
        optimiser=chosen.optimiser,
        warm_start=_source(chosen.warm_start),
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


def _recipe_name(chosen: TaskOptions) -> str:
    from restore_cli.tasks import task_names
    from restore_cli.training.recipes import default_recipe

    if chosen.task is None:
        raise UsageError("there is no task to train for", hint=f"give --task {'|'.join(task_names())} or --recipe NAME")
    if chosen.task not in task_names():
        raise UsageError(f"unknown task {chosen.task!r}", hint=f"known: {', '.join(task_names())}")
    if chosen.task == "sr" and chosen.scale is None:
        raise UsageError("super-resolution needs a factor", hint="give --scale 2, 3 or 4")
    variant: Literal["photo", "motion"] | None = "photo" if chosen.photo else None
    if chosen.task == "deblur":
        variant = "motion"
    return default_recipe(chosen.task, chosen.scale or 1, 1 if chosen.gray else 3, variant).name


def _machine(speed: SpeedOptions, cache_mebibytes: int) -> Machine:
    import torch

    from restore_cli.inference.device import choose_device
    from restore_cli.training.processes import processes_from_environment
    from restore_cli.training.session import Machine

    processes = processes_from_environment()
    if speed.threads is not None:
        torch.set_num_threads(speed.threads)
    torch.set_flush_denormal(True)
    setting = speed.device
    device = choose_device(setting).device
    if processes.count > 1 and device.type == "cuda" and ":" not in setting:
        device = torch.device("cuda", processes.local_rank)
        torch.cuda.set_device(device)
    return Machine(
        device=device,
        processes=processes,
        compile=speed.compile,
        recompute=speed.checkpoint_activations,
        cache_mebibytes=cache_mebibytes,
    )


def _paths(given: list[Path] | None) -> tuple[str, ...]:
    # Absolute, so that a run may be resumed from another folder.
    return tuple(str(path.absolute()) for path in given or ())


def _source(given: str | None) -> str | None:
    return str(Path(given).absolute()) if given is not None and Path(given).exists() else given

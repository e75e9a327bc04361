"""`restore train`: train a network from folders of pictures; `restore train export`: make weights of the result.

Stage 1, ASK: options to a `TrainRequest`, the course of the loop to lines on stderr. What is trained and how is told in
`train/`.
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from restore_cli.cli.options import NETWORK, Device, OutputOptions, Threads
from restore_cli.cli.output import Output
from restore_cli.cli.registration import command_of_its_own
from restore_cli.errors import UsageError

if TYPE_CHECKING:
    from restore_cli.train.loop import Interval
    from restore_cli.train.request import TrainRequest
    from restore_cli.train.session import Machine, Session

PICTURES = "Pictures"
RECIPE = "Recipe"

app = typer.Typer()
commands = typer.Typer()
app.add_typer(commands, name="train")


@dataclass(frozen=True, kw_only=True)
class PictureOptions:
    """Options of what is learnt from."""

    data: Annotated[
        list[Path] | None,
        typer.Option("--data", metavar="DIR", rich_help_panel=PICTURES, help="Clean pictures; again for several."),
    ] = None
    degraded: Annotated[
        list[Path] | None,
        typer.Option(
            "--degraded",
            metavar="DIR",
            rich_help_panel=PICTURES,
            help="Their degraded partners, of the same names; without, they are made on the fly.",
        ),
    ] = None
    val: Annotated[
        list[Path] | None,
        typer.Option(
            "--val", metavar="DIR", rich_help_panel=PICTURES, help="Clean pictures to validate on; again for several."
        ),
    ] = None
    val_degraded: Annotated[
        list[Path] | None,
        typer.Option("--val-degraded", metavar="DIR", rich_help_panel=PICTURES, help="Their degraded partners."),
    ] = None
    cache_budget: Annotated[
        int,
        typer.Option(
            "--cache-budget",
            min=1,
            metavar="MIB",
            rich_help_panel=PICTURES,
            help="Memory for decoded pictures; what does not fit is decoded again.",
        ),
    ] = 2048


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """Options of what is learnt."""

    task: Annotated[
        str | None,
        typer.Option("--task", metavar="NAME", rich_help_panel=RECIPE, help="sr, denoise, derain, lowlight, deblur."),
    ] = None
    scale: Annotated[
        int | None, typer.Option("--scale", min=2, max=4, metavar="N", rich_help_panel=RECIPE, help="Factor of sr.")
    ] = None
    gray: Annotated[bool, typer.Option("--gray", rich_help_panel=RECIPE, help="Gray pictures.")] = False
    photo: Annotated[
        bool, typer.Option("--photo", rich_help_panel=RECIPE, help="sr of real photos: blur, noise and JPEG too.")
    ] = False
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME",
            rich_help_panel=RECIPE,
            help="ramit-lite-sr-x2, ... are ours, ramit-sr-x2, ... the paper's. Default: ours for the task.",
        ),
    ] = None
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, metavar="N", rich_help_panel=RECIPE, help="Length in steps.")
    ] = None
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes",
            min=0.01,
            metavar="M",
            rich_help_panel=RECIPE,
            help="Length in time: as many steps as fit, the learning rate reaching 0 at the end.",
        ),
    ] = None
    batch: Annotated[
        int | None,
        typer.Option("--batch", min=1, metavar="N", rich_help_panel=RECIPE, help="Patches a step, all processes."),
    ] = None
    patch: Annotated[
        int | None,
        typer.Option("--patch", min=8, metavar="N", rich_help_panel=RECIPE, help="Side of a patch, input pixels."),
    ] = None
    lr: Annotated[
        float | None,
        typer.Option("--lr", min=0.0, metavar="RATE", rich_help_panel=RECIPE, help="Highest learning rate."),
    ] = None
    seed: Annotated[
        int, typer.Option("--seed", min=0, metavar="N", rich_help_panel=RECIPE, help="Of weights, crops and noise.")
    ] = 0
    warm_start: Annotated[
        str | None,
        typer.Option(
            "--warm-start",
            metavar="FROM",
            rich_help_panel=RECIPE,
            help="Start from a .safetensors of ours, a run's folder or a weights id, of another scale too.",
        ),
    ] = None
    freeze: Annotated[
        list[str] | None,
        typer.Option(
            "--freeze",
            metavar="PREFIX",
            rich_help_panel=RECIPE,
            help="Hold the parameters of this prefix still; again for several.",
        ),
    ] = None
    freeze_until: Annotated[
        float,
        typer.Option(
            "--freeze-until",
            min=0.0,
            max=1.0,
            metavar="SHARE",
            rich_help_panel=RECIPE,
            help="Of the training, after which everything is trained.",
        ),
    ] = 1.0


@dataclass(frozen=True, kw_only=True)
class SpeedOptions:
    """Options of where and how the steps run."""

    device: Device = "auto"
    threads: Threads = None
    bf16: Annotated[
        bool, typer.Option("--bf16", rich_help_panel=NETWORK, help="bfloat16 autocast; weights stay float32.")
    ] = False
    compile: Annotated[
        bool,
        typer.Option("--compile", rich_help_panel=NETWORK, help="torch.compile: minutes at the start, faster steps."),
    ] = False
    accumulate: Annotated[
        int,
        typer.Option(
            "--accumulate",
            min=1,
            metavar="N",
            rich_help_panel=NETWORK,
            help="Work a batch off in N parts: less memory, the same step.",
        ),
    ] = 1
    log_every: Annotated[
        int,
        typer.Option("--log-every", min=1, metavar="STEPS", rich_help_panel=NETWORK, help="Steps between log lines."),
    ] = 50
    validate_every: Annotated[
        int | None,
        typer.Option(
            "--validate-every",
            min=1,
            metavar="LINES",
            rich_help_panel=NETWORK,
            help="Log lines between validations. Default: some 25 in all.",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class RunFolderOptions:
    """Options of where the result goes."""

    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", rich_help_panel=PICTURES, help="Folder of the run, made if absent."),
    ] = None
    resume: Annotated[
        bool,
        typer.Option("--resume", rich_help_panel=PICTURES, help="Go on with the run in --out, as it was begun."),
    ] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", rich_help_panel=PICTURES, help="Show the plan, train nothing.")
    ] = False


@command_of_its_own(
    commands,
    examples="""
        restore train --task sr --scale 2 --data photos --val held-out --minutes 30 --out runs/x2
        restore train --task sr --scale 4 --warm-start runs/x2 --data photos --val held-out --out runs/x4
        restore train --resume --out runs/x2
        restore train export runs/x2 -o x2.safetensors
        torchrun --nproc-per-node 2 -m restore_cli train --recipe ramit-sr-x2 --data DIV2K --val val --out runs/p""",
)
def train(
    ctx: typer.Context,
    pictures: PictureOptions,
    chosen: TaskOptions,
    run: RunFolderOptions,
    speed: SpeedOptions,
    said: OutputOptions,
) -> None:
    """Train a network from a folder of clean pictures, degraded on the fly."""
    if ctx.invoked_subcommand is not None:
        return
    if run.out is None and not run.dry_run:
        raise UsageError("there is no folder for the run", hint="give --out runs/NAME")
    out = said.open()
    request = _request(pictures, chosen, speed, run)
    machine = _machine(speed, pictures.cache_budget)

    from restore_cli.train.processes import joined
    from restore_cli.train.session import prepare

    with joined(machine.processes, machine.device):
        session = prepare(request, machine)
        if machine.processes.leads:
            _tell_plan(session, machine, out)
        if run.out is not None and not run.dry_run:
            _train(session, machine, run.out, out)


def _request(pictures: PictureOptions, chosen: TaskOptions, speed: SpeedOptions, run: RunFolderOptions) -> TrainRequest:
    """Return what the options ask for, or what the run to resume was asked for."""
    from restore_cli.train.request import NAME, TrainRequest, read_run

    exists = run.out is not None and (run.out / NAME).is_file()
    if run.out is not None and run.resume and exists:
        request, _ = read_run(run.out)
        _refuse_changes(pictures, chosen)
        return request
    if exists and not run.dry_run:
        raise UsageError(f"{run.out} holds a run already", hint="go on with --resume, or name another --out")
    if not pictures.data:
        raise UsageError("there are no pictures to train on", hint="give --data DIR")
    return TrainRequest(
        recipe=chosen.recipe or _recipe_name(chosen),
        data=_paths(pictures.data),
        degraded=_paths(pictures.degraded),
        val=_paths(pictures.val),
        val_degraded=_paths(pictures.val_degraded),
        steps=chosen.steps,
        minutes=chosen.minutes,
        batch=chosen.batch,
        patch=chosen.patch,
        rate=chosen.lr,
        warm_start=chosen.warm_start,
        freeze=tuple(chosen.freeze or ()),
        freeze_until=chosen.freeze_until,
        seed=chosen.seed,
        bf16=speed.bf16,
        accumulate=speed.accumulate,
        log_every=speed.log_every,
        validate_every=speed.validate_every,
    )


def _refuse_changes(pictures: PictureOptions, chosen: TaskOptions) -> None:
    """Refuse options that would make a resumed run another one.

    Raises:
        UsageError: If one was given.
    """
    for group in (pictures, chosen):
        for field in fields(group):
            if field.name != "cache_budget" and getattr(group, field.name) != field.default:
                option = f"--{field.name.replace('_', '-')}"
                raise UsageError(f"{option} cannot change while a run is resumed", hint="leave it out with --resume")


def _recipe_name(chosen: TaskOptions) -> str:
    from restore_cli.tasks import task_names
    from restore_cli.train.recipes import default_recipe

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
    from restore_cli.train.processes import processes_from_environment
    from restore_cli.train.session import Machine

    processes = processes_from_environment()
    if speed.threads is not None:
        torch.set_num_threads(speed.threads)
    torch.set_flush_denormal(True)
    wish = speed.device
    device = choose_device(wish).device
    if processes.count > 1 and device.type == "cuda" and ":" not in wish:
        device = torch.device("cuda", processes.local_rank)
        torch.cuda.set_device(device)
    return Machine(device=device, processes=processes, compile=speed.compile, cache_mebibytes=cache_mebibytes)


def _tell_plan(session: Session, machine: Machine, out: Output) -> None:
    recipe, timeline = session.recipe, session.state.timeline
    length = f"{timeline.steps} steps" if session.request.minutes is None else f"{session.request.minutes:g} minutes"
    out.note(f"recipe {recipe.name}: {session.facts['parameters']} parameters, {length}, seed {session.request.seed}")
    for stretch in timeline.stretches:
        out.note(
            f"from {stretch.start:.0%}: batches of {stretch.batch} patches of {stretch.patch}x{stretch.patch} "
            f"input pixels"
        )
    frozen = recipe.frozen
    if frozen is not None:
        names = [name for name, _ in session.state.network.named_parameters() if frozen.holds(name)]
        out.note(f"until {frozen.until:.0%}: {len(names)} tensors are held still")
    if session.started_from is not None:
        warm = session.started_from
        out.note(
            f"warm start from {session.request.warm_start}: {len(warm.copied)} tensors copied, "
            f"{len(warm.adapted)} adapted, {len(warm.left)} left at their start"
        )
    kept = session.maker.store.kept
    out.note(f"{len(session.maker.store)} pictures, {kept} of them in memory; device {machine.device}")
    if session.validation is not None:
        out.note(f"validation: {session.validation.metric} of doing nothing {session.baseline:.3f} dB")
    elif machine.processes.leads:
        out.warn("nothing is held out (--val): the last weights are kept, not the best")


def _train(session: Session, machine: Machine, folder: Path, out: Output) -> None:
    from restore_cli.train.request import NAME, write_request
    from restore_cli.train.session import make_loop

    if machine.processes.leads:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / NAME).is_file():
            write_request(folder, session.request, session.facts)
    machine.processes.wait()
    stop = threading.Event()
    loop = make_loop(session, machine, folder, on_interval=lambda interval: _tell(interval, out), stop=stop)
    if session.state.step:
        out.note(f"resumed behind step {session.state.step}")
    with _signals_to(stop):
        loop.run()
    best = session.state.best
    if machine.processes.leads:
        if best is not None:
            out.note(f"best validation {best.score:.3f} dB behind step {best.step}")
        out.data(str(folder))


def _tell(interval: Interval, out: Output) -> None:
    line = (
        f"step {interval.step}/{interval.steps} {interval.progress:.1%} loss {interval.loss:.5f} "
        f"rate {interval.rate:.2e} {interval.images_per_second:.1f} patches/s left {_duration(interval.seconds_left)}"
    )
    if interval.score is None:
        out.note(line)
    else:
        out.note(f"{line} validation {interval.score:.3f} dB{' (best)' if interval.best else ''}")


def _duration(seconds: float) -> str:
    if math.isnan(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _paths(given: list[Path] | None) -> tuple[str, ...]:
    return tuple(str(path) for path in given or ())


@contextmanager
def _signals_to(stop: threading.Event) -> Iterator[None]:
    """Let SIGINT and SIGTERM ask for a stop at the next step, so that the state can be saved; a second one insists."""

    def ask(number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""Train a network from folders of images, from a request to weights in a folder: `restore_cli.train`.

All stages of training as one function; `restore train` runs the same, `run_training`, and watches.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from restore_cli.errors import UsageError
from restore_cli.inference.device import choose_device
from restore_cli.storage.files import is_in_bucket
from restore_cli.training.images import copied
from restore_cli.training.journal import Interval
from restore_cli.training.processes import joined, processes_from_environment
from restore_cli.training.recipes import Optimiser, recipe_of_task
from restore_cli.training.request import TrainRequest
from restore_cli.training.run_file import NAME, write_run
from restore_cli.training.session import Machine, Session, make_loop, prepare

Folders = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""One folder or several."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What became of a training.

    Attributes:
        folder: Where weights, log and page are; `restore train export` makes a weights file of it.
        step: Steps done.
        steps: Steps in all.
        score: Best validation PSNR in dB, None where nothing was validated.
        score_step: The step it was reached at.
        floor: PSNR in dB of what needs no network, None where nothing was validated.
        stopped: Whether it was asked to stop before the end; the same call with `resume` goes on.
    """

    folder: Path
    step: int
    steps: int
    score: float | None
    score_step: int | None
    floor: float | None
    stopped: bool


class TrainingWatcher:
    """Watch a training: what happens on the way goes to these methods, which do nothing here."""

    def prepared(self, session: Session, machine: Machine) -> None:
        """Take what is going to be trained, before the first step."""

    def resumed(self, step: int) -> None:
        """Take the step that a resumed run goes on from."""

    def interval(self, interval: Interval) -> None:
        """Take what the last steps came to."""


def train(
    data: Folders,
    out: str | os.PathLike[str],
    *,
    task: str | None = None,
    scale: int | None = None,
    gray: bool = False,
    variant: str | None = None,
    recipe: str | None = None,
    degraded: Folders = (),
    val: Folders = (),
    val_degraded: Folders = (),
    steps: int | None = None,
    minutes: float | None = None,
    batch: int | None = None,
    patch: int | None = None,
    rate: float | None = None,
    optimiser: Optimiser | None = None,
    warm_start: str | os.PathLike[str] | None = None,
    seed: int = 0,
    bf16: bool = False,
    accumulate: int = 1,
    log_every: int = 50,
    device: str = "auto",
    threads: int | None = None,
    compile: bool = False,  # noqa: A002 - the command line's word for it
    resume: bool = False,
    watcher: TrainingWatcher | None = None,
    stop: threading.Event | None = None,
) -> Training:
    """Train a network from folders of clean images, degraded on the fly.

    Args:
        data: Folders of clean images.
        out: Folder of the run, made if it does not exist.
        task: What to train for, "sr", "denoise", ...; or name a `recipe`.
        scale: 2, 3 or 4 for "sr".
        gray: Train for gray images.
        variant: Special form of the task ("photo" for sr).
        recipe: Name of a recipe, in place of our own for the task.
        degraded: Folders of the images' degraded partners, of the same names; empty makes them on the fly.
        val: Folders of clean images to validate on.
        val_degraded: Folders of their degraded partners.
        steps: Length in steps; None for the recipe's, or `minutes`.
        minutes: Length in time.
        batch: Patches a step, in place of the recipe's.
        patch: Side of the patches in input pixels, in place of the recipe's.
        rate: Highest learning rate, in place of the recipe's.
        optimiser: "adam", "adamw" or "muon", in place of the recipe's.
        warm_start: A weights file, a run's folder or a weights id to start from.
        seed: Seed of weights, crops and degradations.
        bf16: Run the network under bfloat16 autocast.
        accumulate: Parts a batch is cut into to save memory.
        log_every: Steps between lines of the log.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        threads: CPU threads of one operation, for the whole process; None leaves torch's choice.
        compile: Run the network's blocks through torch.compile.
        resume: Go on with the run in `out` if there is one; all else but the machine must be as it was begun.
        watcher: Takes what happens on the way.
        stop: Set it to save and end at the next step.

    Returns:
        What became of it.

    Raises:
        UsageError: If settings contradict each other, or the folder holds a run and `resume` is not set.
        TrainingError: If images are missing, broken or too small, or the loss is no number any more.

    Example:
        >>> from restore_cli import train
        >>> run = train("photos", "runs/x2", task="sr", scale=2, val="held-out", minutes=30)   # doctest: +SKIP
        >>> run.score, run.floor                                                               # doctest: +SKIP
        (33.1, 30.8)
    """
    folder = Path(out)
    if not resume and (folder / NAME).is_file():
        raise UsageError(f"{folder} holds a run already", hint="set resume, or name another folder")
    request = TrainRequest(
        recipe=recipe or recipe_of_task(task, scale=scale, gray=gray, variant=variant).name,
        data=absolute(data),
        degraded=absolute(degraded),
        val=absolute(val),
        val_degraded=absolute(val_degraded),
        steps=steps,
        minutes=minutes,
        batch=batch,
        patch=patch,
        rate=rate,
        optimiser=optimiser,
        warm_start=source_of(warm_start),
        seed=seed,
        bf16=bf16,
        accumulate=accumulate,
        log_every=log_every,
    )
    machine = find_machine(device, threads=threads, compile=compile)
    return run_training(request, machine, folder, watcher=watcher, stop=stop)


def run_training(
    request: TrainRequest,
    machine: Machine,
    folder: Path,
    *,
    watcher: TrainingWatcher | None = None,
    stop: threading.Event | None = None,
) -> Training:
    """Train to the end, or until asked to stop; go on where the folder holds a run of the same request.

    Args:
        request: What is trained.
        machine: Where.
        folder: The run's folder, made if it does not exist.
        watcher: Takes what happens on the way, on the leading process.
        stop: Set it to save and end at the next step.

    Raises:
        UsageError: If settings contradict each other.
        TrainingError: If images are missing, broken or too small, the folder holds another run, or the loss is no
            number any more.
    """
    watcher, stop = watcher or TrainingWatcher(), stop or threading.Event()
    with joined(machine.processes, machine.device):
        session = prepare(request, machine, folder)
        leads = machine.processes.leads
        if leads:
            watcher.prepared(session, machine)
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / NAME).is_file():
                write_run(folder, request, session.facts)
        machine.processes.wait()
        loop = make_loop(session, machine, folder, on_interval=watcher.interval, stop=stop)
        if session.state.step and leads:
            watcher.resumed(session.state.step)
        stopped = False
        try:
            loop.run()
        except KeyboardInterrupt:
            stopped = True
    best = session.state.best
    return Training(
        folder=folder,
        step=session.state.step,
        steps=session.state.timeline.steps,
        score=None if best is None else best.score,
        score_step=None if best is None else best.step,
        floor=session.facts.floor,
        stopped=stopped,
    )


def find_machine(
    device: str = "auto",
    *,
    threads: int | None = None,
    compile: bool = False,  # noqa: A002 - as above
    recompute: bool = False,
    cache_mebibytes: int = 2048,
) -> Machine:
    """Return where a training runs: the device, and the processes that torchrun started.

    Args:
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        threads: CPU threads of one operation, for the whole process; None leaves torch's choice.
        compile: Run the network's blocks through torch.compile.
        recompute: Run them once more in the backward pass in place of keeping their activations.
        cache_mebibytes: Memory for decoded images.

    Raises:
        DeviceError: If the device is not available.
    """
    processes = processes_from_environment()
    if threads is not None:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    found = choose_device(device).device
    if processes.count > 1 and found.type == "cuda" and ":" not in device:
        found = torch.device("cuda", processes.local_rank)
        torch.cuda.set_device(found)
    return Machine(
        device=found, processes=processes, compile=compile, recompute=recompute, cache_mebibytes=cache_mebibytes
    )


def absolute(folders: Folders) -> tuple[str, ...]:
    """Return folders as absolute paths, so that a run may be resumed from another folder; those of buckets are copied.

    Raises:
        StorageError: If a bucket cannot be read.
    """
    several = [folders] if isinstance(folders, str | os.PathLike) else folders
    named = [os.fspath(folder) for folder in several]
    return tuple(str((copied(one) if is_in_bucket(one) else Path(one)).absolute()) for one in named)


def source_of(warm_start: str | os.PathLike[str] | None) -> str | None:
    """Return what to start from: an absolute path where there is such a file or folder, else an id."""
    if warm_start is None:
        return None
    path = Path(warm_start)
    return str(path.absolute()) if path.exists() else os.fspath(warm_start)

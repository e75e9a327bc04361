"""Run a training session and say how it goes: the plan first, then a line an interval, all on stderr.

Stage 1, ASK, on the way back; loads torch.
"""

from __future__ import annotations

import math
import shlex
from pathlib import Path

import typer

from restore_cli.cli.output import Output
from restore_cli.cli.signals import stop_on_signals
from restore_cli.inference.memory import GIB
from restore_cli.training.estimate import estimate_memory, measure_seconds
from restore_cli.training.images import MEBIBYTE, named
from restore_cli.training.journal import Interval
from restore_cli.training.page import NAME as PAGE
from restore_cli.training.run_file import NAME, write_run
from restore_cli.training.session import Machine, Session, make_loop


def tell_plan(session: Session, machine: Machine, out: Output) -> None:
    """Say what is going to be trained, and how."""
    recipe, timeline = session.recipe, session.state.timeline
    length = f"{timeline.steps} steps" if session.request.minutes is None else f"{session.request.minutes:g} minutes"
    out.note(
        f"recipe {recipe.name}: {session.facts.parameters} parameters, {length}, seed {session.request.seed}, "
        f"{recipe.optimisation.optimiser}"
    )
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
    if session.left_out:
        count = len(session.left_out)
        out.warn(
            f"{count} {'image is' if count == 1 else 'images are'} left out: {named(session.left_out, separator='; ')}"
        )
    out.note(f"{len(session.maker.store)} images, {kept} of them in memory; device {machine.device}")
    if session.validation is not None and session.facts.floor is not None:
        out.note(f"validation: {session.validation.metric} of {recipe.floor} {session.facts.floor:.3f} dB")
    else:
        out.warn("nothing is held out (--val): the last weights are kept, not the best")


def tell_estimate(session: Session, machine: Machine, out: Output) -> None:
    """Say what the training would take: memory by a rehearsal without numbers, time by a few real steps."""
    memory = estimate_memory(session, machine)
    kinds = (("state", memory.state), ("a step", memory.step), ("a validation", memory.validation))
    parts = ", ".join(f"{name} {_size(size)}" for name, size in kinds if size)
    upper = " at most, bfloat16 takes less" if session.request.bf16 else ""
    out.note(
        f"memory on {machine.device}: {_size(memory.device)}{upper} ({parts}; counted from the tensors of a step "
        f"rehearsed without numbers); images {_size(memory.images)}"
    )
    if machine.processes.count > 1:
        return  # several processes take their steps together, or not at all
    seconds = measure_seconds(session, machine)
    length = (
        "" if session.request.minutes is None else f" for {session.state.timeline.steps} steps; --minutes sets them"
    )
    out.note(f"time: about {_duration(seconds)}{length} (from a few real steps, uncompiled, without validations)")


def train_session(session: Session, machine: Machine, folder: Path, out: Output) -> None:
    """Train to the end, or until a signal asks to stop.

    Raises:
        typer.Exit: After a signal, with its code; the state is saved.
    """
    leads = machine.processes.leads
    if leads:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / NAME).is_file():
            write_run(folder, session.request, session.facts)
    machine.processes.wait()
    with stop_on_signals() as asked:
        loop = make_loop(session, machine, folder, on_interval=lambda interval: _tell(interval, out), stop=asked.stop)
        if session.state.step and leads:
            out.note(f"resumed behind step {session.state.step}")
        try:
            loop.run()
        except KeyboardInterrupt as error:
            if leads:
                out.warn(f"stopped behind step {session.state.step}, which is saved; go on with --resume")
            raise typer.Exit(asked.exit_code or 1) from error
    if leads:
        _tell_end(session, folder, out)


def _tell_end(session: Session, folder: Path, out: Output) -> None:
    """Say what came of it, where it is, and what to do with it."""
    best, floor = session.state.best, session.facts.floor
    if best is not None:
        gain = "" if floor is None else f", {best.score - floor:+.3f} dB against {session.recipe.floor}"
        out.note(f"best validation {best.score:.3f} dB behind step {best.step}{gain}")
    out.note(f"curves: {folder / PAGE}")
    out.note(f"weights to use: restore train export {shlex.quote(str(folder))} -o {session.recipe.name}.safetensors")
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


def _size(count: int) -> str:
    return f"{count / GIB:.2f} GiB" if count >= GIB else f"{count / MEBIBYTE:.0f} MiB"

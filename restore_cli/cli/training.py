"""Show a training to a person: the plan first, then a line an interval, all on stderr.

Stage 1, ASK, on the way back; loads torch.
"""

from __future__ import annotations

import math
import shlex
from pathlib import Path

from restore_cli.cli.output import Output
from restore_cli.errors import UsageError
from restore_cli.inference.device import GIB
from restore_cli.training.estimate import estimate_memory, measure_seconds
from restore_cli.training.images import MEBIBYTE, named
from restore_cli.training.journal import Interval
from restore_cli.training.page import NAME as PAGE
from restore_cli.training.processes import joined
from restore_cli.training.request import TrainRequest
from restore_cli.training.run import Training, TrainingWatcher
from restore_cli.training.samples import write_samples
from restore_cli.training.session import Machine, Session, prepare


def _show_plan(session: Session, machine: Machine, out: Output, samples: Path | None) -> None:
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
    if samples is not None:
        if samples.exists():
            raise UsageError(f"{samples} exists", hint="name another --samples, or remove it")
        write_samples(session, samples)
        out.note(f"samples: {samples}")


def show_estimate(
    request: TrainRequest, machine: Machine, folder: Path | None, out: Output, *, samples: Path | None = None
) -> None:
    """Show what would be trained and what it would take: memory by a rehearsal without numbers, time by a few steps.

    Args:
        request: What is asked for.
        machine: Where it would run.
        folder: The run's folder, None for none yet.
        out: Where to show it.
        samples: Where a page goes that shows what the network would be shown; None for none.

    Raises:
        RestoreError: If it could not be trained.
    """
    with joined(machine.processes, machine.device):
        session = prepare(request, machine, folder)
        if machine.processes.leads:
            _show_plan(session, machine, out, samples)
            _show_costs(session, machine, out)


def _show_costs(session: Session, machine: Machine, out: Output) -> None:
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


def conclude(training: Training, request: TrainRequest, out: Output) -> None:
    """Say what became of a training, where it is, and what to do with it."""
    if training.stopped:
        out.warn(f"stopped behind step {training.step}, which is saved; go on with --resume")
        return
    recipe = request.adjusted_recipe()
    if training.score is not None:
        gain = "" if training.floor is None else f", {training.score - training.floor:+.3f} dB against {recipe.floor}"
        out.note(f"best validation {training.score:.3f} dB behind step {training.score_step}{gain}")
    out.note(f"curves: {training.folder / PAGE}")
    out.note(f"weights to use: restore train export {shlex.quote(str(training.folder))} -o {recipe.name}.safetensors")
    out.data(str(training.folder))


class ShownTraining(TrainingWatcher):
    """Show a training while it runs.

    Args:
        out: Where.
        samples: Where a page goes that shows what the network is shown; None for none.
    """

    def __init__(self, out: Output, samples: Path | None = None) -> None:
        self._out = out
        self._samples = samples

    def prepared(self, session: Session, machine: Machine) -> None:
        """Show what is going to be trained, and how."""
        _show_plan(session, machine, self._out, self._samples)

    def resumed(self, step: int) -> None:
        """Say where a run goes on."""
        self._out.note(f"resumed behind step {step}")

    def interval(self, interval: Interval) -> None:
        """Show a line of the log."""
        line = (
            f"step {interval.step}/{interval.steps} {interval.progress:.1%} loss {interval.loss:.5f} "
            f"rate {interval.rate:.2e} {interval.images_per_second:.1f} patches/s "
            f"left {_duration(interval.seconds_left)}"
        )
        if interval.score is not None:
            line += f" validation {interval.score:.3f} dB{' (best)' if interval.best else ''}"
        self._out.note(line)


def _duration(seconds: float) -> str:
    if math.isnan(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _size(count: int) -> str:
    return f"{count / GIB:.2f} GiB" if count >= GIB else f"{count / MEBIBYTE:.0f} MiB"

"""What a training will take, found out before it starts: memory by a rehearsal without numbers, time by a few steps.

Second stage of training, PLAN, for `--dry-run`. The memory of a step is that of its tensors: the step is rehearsed on
the meta device, where tensors have sizes and no numbers, so that a training too large for this machine can be planned
on it. Time cannot be rehearsed: a few real steps are done with a copy of the network, of a smaller batch on a CPU,
whose time grows with the batch.
"""

from __future__ import annotations

import copy
import math
import threading
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn
from torch.nn import functional

from restore_cli.inference.footprint import UNSEEN_SHARE, peak_bytes
from restore_cli.models import get_architecture
from restore_cli.training.batches import AHEAD
from restore_cli.training.blocks import recompute_blocks
from restore_cli.training.journal import Interval
from restore_cli.training.loop import Loop, LoopOptions
from restore_cli.training.processes import Processes
from restore_cli.training.session import Machine, Session
from restore_cli.training.state import TrainingState
from restore_cli.training.timeline import Stretch, Timeline

_FLOAT_BYTES = 4
_STATE_COPIES = 4  # weights, their average, and Adam's two moments; the gradient is among a step's tensors
_PROBE_STEPS = 3
_CPU_PROBE_SAMPLES = 4


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Say where the memory of a training goes, in bytes, on top of the program as it stands loaded.

    Attributes:
        state: Weights, average and the optimiser's moments.
        step: Activations and gradients of the largest step, with the batches that wait for theirs.
        validation: Feature maps of the largest validation; 0 where nothing is held out.
        images: Decoded images to train on; always in the machine's own memory.
    """

    state: int
    step: int
    validation: int
    images: int

    @property
    def device(self) -> int:
        """Return what the device of the network needs: a step and a validation never come together."""
        return self.state + max(self.step, self.validation)


def estimate_memory(session: Session, machine: Machine) -> MemoryEstimate:
    """Rehearse the largest step and the largest validation, computing nothing.

    Under bfloat16 autocast a step takes less than is returned: the meta device knows no autocast.
    """
    arch = get_architecture(session.recipe.network.arch)
    network: nn.Module = arch.build(session.config).to("meta")
    validation = 0
    if session.validation is not None:
        validation = _validation_bytes(network.eval(), session.config.channels, session.validation.largest)
    network.train()
    if machine.recompute and arch.block is not None:
        recompute_blocks(network, arch.block)
    shares = {(stretch.batch // machine.processes.count, stretch.patch) for stretch in session.state.timeline.stretches}
    return MemoryEstimate(
        state=_STATE_COPIES * _FLOAT_BYTES * session.facts.parameters,
        step=max(_step_bytes(network, session, share, patch) for share, patch in shares),
        validation=validation,
        images=session.maker.store.kept_bytes,
    )


def measure_seconds(session: Session, machine: Machine) -> float:
    """Do a few real steps with a copy of the network and return the time that all steps would take, in seconds.

    Compilation, validations and checkpoints are left out. For one process alone.
    """
    stretches = session.state.timeline.stretches
    first = stretches[0]
    batch = min(first.batch, _CPU_PROBE_SAMPLES) if machine.device.type == "cpu" else first.batch
    probe = Timeline(
        stretches=(Stretch(first=0, steps=_PROBE_STEPS, start=0.0, end=1.0, patch=first.patch, batch=batch),)
    )
    state = TrainingState(copy.deepcopy(session.state.network), session.recipe.optimisation, probe)
    options = LoopOptions(
        device=machine.device,
        bf16=session.request.bf16,
        block=get_architecture(session.recipe.network.arch).block,
        recompute=machine.recompute,
        log_every=1,
        validate_every=_PROBE_STEPS,
        save_seconds=math.inf,
    )
    timed: list[Interval] = []
    with TemporaryDirectory() as folder:
        place, stop = Path(folder), threading.Event()
        Loop(state, session.maker, None, Processes(), place, options, on_interval=timed.append, stop=stop).run()
    seconds_per_pixel = 1.0 / (max(interval.images_per_second for interval in timed) * first.patch**2)
    pixels = sum(stretch.steps * stretch.batch * stretch.patch**2 for stretch in stretches)
    return pixels * seconds_per_pixel


def _step_bytes(network: nn.Module, session: Session, share: int, patch: int) -> int:
    """Return the peak of one step's tensors and of the batches made ahead."""
    channels, scale = session.config.channels, session.config.scale
    part = math.ceil(share / min(session.request.accumulate, share))
    sample_bytes = _FLOAT_BYTES * channels * patch**2 * (1 + scale**2)
    degraded = torch.empty(part, channels, patch, patch, device="meta")
    clean = torch.empty(part, channels, scale * patch, scale * patch, device="meta")

    def step() -> None:
        network.zero_grad(set_to_none=True)
        torch.autograd.backward(functional.l1_loss(network(degraded), clean))

    return round(UNSEEN_SHARE * peak_bytes(step) + (AHEAD + 1) * share * sample_bytes)


def _validation_bytes(network: nn.Module, channels: int, size: tuple[int, int]) -> int:
    degraded = torch.empty(1, channels, *size, device="meta")

    def run() -> None:
        with torch.no_grad():
            network(degraded)

    return round(UNSEEN_SHARE * peak_bytes(run))

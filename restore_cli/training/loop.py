"""The loop: batch, loss, gradient, step, average; now and then a look at how it goes.

Stage of training in which the time is spent. What must not happen by halves happens at the end of an interval of
a fixed number of steps: numbers are read off the device, the loss is judged, the log is written, the network validated.
The checkpoint that is due then is made one step later, when the loss of those very weights is known: a step that ruined
the network is found before it replaces the last good state, not after.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from restore_cli.errors import TrainingError
from restore_cli.training.batches import Batch, BatchMaker, BatchShape, Prefetcher
from restore_cli.training.blocks import compile_blocks, recompute_blocks
from restore_cli.training.checkpoint import BEST, LAST, write_checkpoint
from restore_cli.training.journal import Interval, Journal
from restore_cli.training.loss_watch import SAMPLES, LossWatch
from restore_cli.training.processes import Processes
from restore_cli.training.recipes import Frozen
from restore_cli.training.state import Best, TrainingState
from restore_cli.training.timeline import learning_rate, retimed
from restore_cli.training.validation import Validation, Verdict

VALIDATIONS = 25  # in a whole training, where no interval is asked for
_RATE_MEMORY = 0.7
_EARLY_LOOKS = (3, 6, 12, 25)  # steps of the first interval after which a budget of minutes is laid out anew


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """Say how the loop runs.

    Attributes:
        device: Where the network is.
        bf16: Run the network under bfloat16 autocast.
        block: Class of the blocks that `compile` and `recompute` treat; None where the network has none.
        compile: Run the blocks through torch.compile.
        recompute: Run the blocks once more in the backward pass in place of keeping their activations.
        accumulate: Parts a batch is cut into, one after the other, to save memory.
        log_every: Steps of an interval.
        validate_every: Intervals between validations; None spreads `VALIDATIONS` of them over the training.
        save_seconds: Seconds after which the state is saved behind an interval, validated or not.
        minutes: Budget of time for everything, None where the steps are fixed.
        frozen: What is held still at first, None for nothing.
    """

    device: torch.device
    bf16: bool = False
    block: type[nn.Module] | None = None
    compile: bool = False
    recompute: bool = False
    accumulate: int = 1
    log_every: int = 50
    validate_every: int | None = None
    save_seconds: float = 60.0
    minutes: float | None = None
    frozen: Frozen | None = None


@dataclass(frozen=True, kw_only=True)
class _Numbers:
    """What all processes together came to in an interval, and what any of them wants."""

    loss: float
    gradient_norm: float
    stop: bool
    save: bool


class Loop:
    """Train a state to the end of its timeline.

    Args:
        state: Where training stands; changed in place.
        maker: Makes this process's batches.
        validation: Scores the averaged network; only the leading process needs one.
        processes: Who else trains.
        folder: The run's folder.
        options: How to run.
        on_interval: Shown how it goes, on the leading process.
        stop: Set from outside to save and leave at the next step.
    """

    def __init__(
        self,
        state: TrainingState,
        maker: BatchMaker,
        validation: Validation | None,
        processes: Processes,
        folder: Path,
        options: LoopOptions,
        *,
        on_interval: Callable[[Interval], None],
        stop: threading.Event,
    ) -> None:
        self.state = state
        self._maker = maker
        self._validation = validation
        self._processes = processes
        self._folder = folder
        self._options = options
        self._on_interval = on_interval
        self._stop = stop
        self._journal = Journal(folder, state.step) if processes.leads else None
        self._runner: nn.Module | None = None
        self._all_trained = True
        self._watch = LossWatch()
        self._pixel_seconds: float | None = None
        self._aside_seconds = 0.0
        self._begun = time.monotonic() - state.seconds
        self._saved = time.monotonic()
        self._save_due = False

    def run(self) -> None:
        """Train until the timeline ends, or until told to stop.

        Raises:
            TrainingError: If loss or weights are not finite, or the loss runs away; the last good checkpoint stands.
            KeyboardInterrupt: If told to stop; the state is saved.
        """
        state = self.state
        self._watch = LossWatch(self._loss_at_start())
        with Prefetcher(self._make, state.step) as batches:
            while state.step < state.timeline.steps:
                self._run_interval(batches)
        self._save()

    def _loss_at_start(self) -> float:
        """Return the mean loss over `SAMPLES` crops or more of the weights as they stand.

        Infinite if told to stop, and where fewer crops are left to train on: too few to judge a loss by.
        """
        sums, samples, step = torch.zeros(2, device=self._options.device), 0, self.state.step
        timeline = self.state.timeline
        if (timeline.steps - step) * timeline.at(step).batch < SAMPLES:
            return math.inf
        while samples < SAMPLES and not self._stop.is_set():
            batch = self._make(step)
            with torch.no_grad(), self._autocast():
                for inputs, clean in self._parts(batch):
                    loss = functional.l1_loss(self.state.network(*inputs).float(), clean)
                    sums += torch.stack([loss * clean.shape[0], loss.new_tensor(clean.shape[0])])
            samples += batch.shape.batch
            step += 1
        total, count = self._processes.mean(sums).tolist()
        return total / count if count and math.isfinite(total) else math.inf

    def _parts(self, batch: Batch) -> list[tuple[tuple[torch.Tensor, ...], torch.Tensor]]:
        """Cut a batch into what is worked off at once: pairs of what the network takes and what it is to give."""
        count = min(self._options.accumulate, batch.clean.shape[0])
        given = [batch.degraded] if batch.level is None else [batch.degraded, batch.level]
        inputs = zip(*(tensor.tensor_split(count) for tensor in given), strict=True)
        return list(zip(inputs, batch.clean.tensor_split(count), strict=True))

    def _make(self, step: int) -> Batch:
        stretch = self.state.timeline.at(step)
        return self._maker.make(step, BatchShape(batch=stretch.batch, patch=stretch.patch))

    def _run_interval(self, batches: Prefetcher) -> None:
        state, options = self.state, self._options
        begun, steps = time.monotonic(), 0
        sums = torch.zeros(2, device=options.device)
        pixels = 0
        built = self._prepare_runner()
        # Until a whole interval was timed, a budget of minutes follows the first steps.
        early = options.minutes is not None and self._pixel_seconds is None and not options.compile
        shape = BatchShape(batch=0, patch=0)
        while state.step < state.timeline.steps:
            batch = batches.next()
            shape = batch.shape
            sums += self._step(batch)
            steps += 1
            pixels += shape.batch * shape.patch**2
            if early and steps in _EARLY_LOOKS:
                self._pixel_seconds = (time.monotonic() - begun) / pixels
                self._retime()
            if state.step % options.log_every == 0 or (self._stop.is_set() and self._processes.count == 1):
                break
        numbers = self._agreed_numbers(sums / steps)
        elapsed = time.monotonic() - begun
        self._judge(numbers.loss, steps * shape.batch)
        # An interval that includes compilation says nothing about the next.
        if not built or not self._options.compile:
            self._measure(elapsed / pixels)
        if not numbers.stop or state.step % options.log_every == 0 or state.step == state.timeline.steps:
            self._close_interval(numbers, shape, steps * shape.batch / elapsed)
        if numbers.stop:
            self._save()
            raise KeyboardInterrupt

    def _agreed_numbers(self, means: torch.Tensor) -> _Numbers:
        """Return what all processes together came to: they must save and stop at the same step."""
        elapsed = time.monotonic() - self._saved
        settings = torch.tensor([self._stop.is_set(), elapsed > self._options.save_seconds], device=means.device)
        loss, norm, stop, save = self._processes.mean(torch.cat([means, settings.float()])).tolist()
        self._require_finite(loss, norm)
        return _Numbers(loss=loss, gradient_norm=norm, stop=stop > 0.0, save=save > 0.0)

    def _step(self, batch: Batch) -> torch.Tensor:
        state, options = self.state, self._options
        rate = learning_rate(state.optimisation, batch.shape.batch, state.timeline.progress(state.step))
        state.set_rate(rate)
        state.optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=options.device)
        parts = self._parts(batch)
        torch.manual_seed(state.step * self._processes.count + self._processes.rank)  # stochastic depth
        for number, (inputs, clean) in enumerate(parts, start=1):
            share = clean.shape[0] / batch.clean.shape[0]
            with self._without_exchange(waiting=number < len(parts)), self._autocast():
                restored = self._run(*inputs)
                loss = functional.l1_loss(restored.float(), clean) * share
                torch.autograd.backward(loss)
            total += loss.detach()
        if self._save_due:
            self._save_if_good(total)
        clip = math.inf if state.optimisation.clip is None else state.optimisation.clip
        norm = nn.utils.clip_grad_norm_(state.network.parameters(), clip)
        state.optimiser.step()
        state.step += 1
        state.average()
        return torch.stack([total, norm])

    def _run(self, *inputs: torch.Tensor) -> torch.Tensor:
        if self._runner is None:
            msg = "the runner is prepared at the start of each interval"
            raise RuntimeError(msg)
        restored: torch.Tensor = self._runner(*inputs)
        return restored

    def _prepare_runner(self) -> bool:
        """Wrap the network for speed and for several processes, anew where what is frozen changes."""
        frozen = self._options.frozen
        # Asked at the interval's own start, also where a resumed run begins in its middle.
        begun = self.state.step // self._options.log_every * self._options.log_every
        still = frozen is not None and (begun == 0 or self.state.timeline.progress(begun - 1) < frozen.until)
        if self._runner is not None and still != self._all_trained:
            return False
        self._all_trained = not still
        for name, parameter in self.state.network.named_parameters():
            parameter.requires_grad_(frozen is None or not still or not frozen.holds(name))
        runner: nn.Module = self.state.network
        if self._runner is None:
            self._prepare_blocks()
        if self._processes.count > 1:
            # Channels last, a depthwise filter's gradient lies otherwise than its bucket; so little is soon copied.
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
            device = self._options.device
            runner = DistributedDataParallel(runner, device_ids=[device] if device.type == "cuda" else None)
        self._runner = runner
        return True

    def _prepare_blocks(self) -> None:
        options = self._options
        if options.block is not None and options.compile:
            compile_blocks(self.state.network, options.block)
        if options.block is not None and options.recompute:
            recompute_blocks(self.state.network, options.block)

    def _measure(self, seconds_per_pixel: float) -> None:
        known = self._pixel_seconds
        self._pixel_seconds = (
            seconds_per_pixel if known is None else _RATE_MEMORY * known + (1.0 - _RATE_MEMORY) * seconds_per_pixel
        )

    def _require_finite(self, *values: float) -> None:
        if not all(math.isfinite(value) for value in values):
            raise self._not_finite()

    def _not_finite(self) -> TrainingError:
        return TrainingError(
            f"loss, gradient or weights are not finite at step {self.state.step}; {self._last_good()}",
            hint="lower --lr, or train without --bf16",
        )

    def _judge(self, loss: float, samples: int) -> None:
        away = self._watch.add(loss, samples)
        if away is not None:
            raise TrainingError(
                f"the loss runs away at step {self.state.step}: {away:.4g} after {self._watch.lowest:.4g}; "
                f"{self._last_good()}",
                hint="lower --lr",
            )

    def _last_good(self) -> str:
        path = self._folder / LAST
        return f"the last good checkpoint is {path}" if path.is_file() else "no checkpoint was made yet"

    def _close_interval(self, numbers: _Numbers, shape: BatchShape, images_per_second: float) -> None:
        state = self.state
        aside = time.monotonic()
        validated = self._validation_due()
        verdict = self._validate() if validated else None
        score = None if verdict is None else verdict.score
        best = score is not None and (state.best is None or score > state.best.score)
        if best and score is not None:
            state.best = Best(step=state.step, score=score)
        self._aside_seconds += time.monotonic() - aside
        self._retime()
        state.seconds = time.monotonic() - self._begun
        interval = Interval(
            step=state.step,
            steps=state.timeline.steps,
            progress=state.progress,
            loss=numbers.loss,
            gradient_norm=numbers.gradient_norm,
            rate=float(state.optimiser.param_groups[0]["lr"]),
            patch=shape.patch,
            batch=shape.batch,
            images_per_second=images_per_second,
            seconds=state.seconds,
            seconds_left=self._seconds_left(),
            score=score,
            best=best,
            look_back=validated,
            views=() if verdict is None else verdict.views,
        )
        if self._journal is not None:
            self._journal.write(interval)
            self._on_interval(interval)
        if best:
            self._save_best()
        self._save_due = self._save_due or validated or numbers.save

    def _validation_due(self) -> bool:
        """Return whether the network is to be validated behind this interval.

        Without `validate_every` the progress is asked and not the number of steps, which a budget of minutes changes
        as it goes.
        """
        step, options = self.state.step, self._options
        if step >= self.state.timeline.steps:
            return True
        if options.validate_every is not None:
            return step // options.log_every % options.validate_every == 0
        before = self.state.timeline.progress(step - options.log_every - 1) if step > options.log_every else 0.0
        return math.floor(before * VALIDATIONS) < math.floor(self.state.progress * VALIDATIONS)

    def _validate(self) -> Verdict | None:
        verdict = None if self._validation is None else self._validation.judge(self.state.averaged)
        self._processes.wait()
        return verdict

    def _retime(self) -> None:
        if self._options.minutes is None:
            return
        spent = time.monotonic() - self._begun
        left = 60.0 * self._options.minutes - spent
        per_pixel = 0.0 if self._pixel_seconds is None else self._pixel_seconds * self._aside_factor(spent)
        left, per_pixel = self._processes.agree([left, per_pixel], self._options.device)
        if per_pixel > 0.0 and self.state.step < self.state.timeline.steps:
            self.state.timeline = retimed(self.state.timeline, self.state.step, left, per_pixel)

    def _aside_factor(self, spent: float) -> float:
        """Return by how much validations and checkpoints lengthen what the steps themselves take."""
        stepping = max(spent - self._aside_seconds, 0.5 * spent, 1e-6)
        return spent / stepping

    def _seconds_left(self) -> float:
        if self._pixel_seconds is None:
            return math.nan
        state = self.state
        left = sum(
            max(0, stretch.first + stretch.steps - max(stretch.first, state.step)) * stretch.batch * stretch.patch**2
            for stretch in state.timeline.stretches
        )
        return left * self._pixel_seconds * self._aside_factor(max(state.seconds, 1e-6))

    def _save_if_good(self, loss: torch.Tensor) -> None:
        """Save the state before a step, now that the loss of its weights is known; else wait for a better moment."""
        value = float(self._processes.mean(loss.clone()))
        self._require_finite(value)
        if not self._watch.suspects(value):
            self._save()

    def _save(self) -> None:
        begun = time.monotonic()
        self._save_due = False
        weights = self.state.network.parameters()
        if not torch.stack([tensor.detach().isfinite().all() for tensor in weights]).all():
            raise self._not_finite()
        self.state.seconds = begun - self._begun
        if self._processes.leads:
            write_checkpoint(self._folder / LAST, self.state.to_dict())
        self._processes.wait()
        self._saved = time.monotonic()
        self._aside_seconds += self._saved - begun

    def _save_best(self) -> None:
        state = self.state
        if self._processes.leads and state.best is not None:
            content = {"step": state.step, "score": state.best.score, "network": state.averaged.state_dict()}
            write_checkpoint(self._folder / BEST, content)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if not self._options.bf16:
            return contextlib.nullcontext()
        return torch.autocast(self._options.device.type, torch.bfloat16)

    @contextlib.contextmanager
    def _without_exchange(self, *, waiting: bool) -> Iterator[None]:
        """Leave gradients unshared while more parts of the same batch follow."""
        if waiting and isinstance(self._runner, DistributedDataParallel):
            with self._runner.no_sync():
                yield
        else:
            yield

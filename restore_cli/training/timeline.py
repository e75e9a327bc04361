"""How far training is, how long it will be, and the learning rate that follows from it.

Pure functions of numbers. A length is fixed in steps, or follows from a budget of time: then the steps that are left
are reckoned anew after every interval from the seconds that steps took, so that the rate reaches zero when the time is
up even where the machine had other things to do.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from restore_cli.training.recipes import Optimisation, Phase

# What is kept back of a budget of time for the last validation and checkpoint.
_RESERVE_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A phase in steps.

    Attributes:
        first: Number of its first step.
        steps: How many steps it has.
        start: Progress at its first step.
        end: Progress behind its last step.
        patch: Side of the patches in degraded pixels.
        batch: Samples a step, all processes together.
    """

    first: int
    steps: int
    start: float
    end: float
    patch: int
    batch: int


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The phases of a training one after the other, without gaps."""

    stretches: tuple[Stretch, ...]

    @property
    def steps(self) -> int:
        """Return the number of steps in all."""
        last = self.stretches[-1]
        return last.first + last.steps

    def at(self, step: int) -> Stretch:
        """Return the stretch that holds a step."""
        for stretch in reversed(self.stretches):
            if step >= stretch.first and stretch.steps:
                return stretch
        return self.stretches[0]

    def progress(self, step: int) -> float:
        """Return the progress behind a step, in (0, 1]."""
        stretch = self.at(step)
        return stretch.start + (stretch.end - stretch.start) * (step + 1 - stretch.first) / stretch.steps


def timeline_of_steps(phases: Sequence[Phase], steps: int) -> Timeline:
    """Lay phases over a number of steps; each has its share of the steps."""
    bounds = [*(round(phase.start * steps) for phase in phases), steps]
    return _timeline(phases, [max(0, after - first) for first, after in itertools.pairwise(bounds)])


def timeline_of_epochs(phases: Sequence[Phase], epochs: int, samples: float) -> Timeline:
    """Lay phases over epochs of `samples` samples; a phase of smaller batches takes more steps."""
    ends = [*(phase.start for phase in phases[1:]), 1.0]
    lengths = [
        max(1, round((end - phase.start) * epochs * samples / phase.batch))
        for phase, end in zip(phases, ends, strict=True)
    ]
    return _timeline(phases, lengths)


def retimed(timeline: Timeline, step: int, seconds_left: float, seconds_per_pixel: float) -> Timeline:
    """Lay the rest of a timeline anew, so that it takes the time that is left.

    Args:
        timeline: What was meant so far.
        step: Steps done.
        seconds_left: Time until training is to end.
        seconds_per_pixel: Measured time of a step divided by the degraded pixels of its batch.

    Returns:
        The same up to `step`; behind it the same phases, with at least one step in all.
    """
    reached = timeline.progress(step - 1) if step else 0.0
    usable = max(0.0, seconds_left * (1.0 - _RESERVE_SHARE))
    done = [s for s in timeline.stretches if s.first + s.steps <= step]
    rest = [s for s in timeline.stretches if s.first + s.steps > step]
    if not rest:
        return timeline
    spans = [stretch.end - max(stretch.start, reached) for stretch in rest]
    costs = [seconds_per_pixel * stretch.batch * stretch.patch**2 for stretch in rest]
    cost = sum(span * each for span, each in zip(spans, costs, strict=True))
    density = usable / cost if cost > 0 else 0.0
    lengths = [round(span * density) for span in spans]
    if sum(lengths) == 0:
        lengths[-1] = 1
    laid: list[Stretch] = list(done)
    first, start = step, reached
    for stretch, span, length in zip(rest, spans, lengths, strict=True):
        begun = stretch.first < step
        if begun:  # what was done of it stays as it was
            laid.append(_part(stretch, stretch.first, step - stretch.first, stretch.start, reached))
        laid.append(_part(stretch, first, length, start, start + span))
        first, start = first + length, start + span
    return Timeline(stretches=tuple(laid))


def learning_rate(optimisation: Optimisation, batch: int, progress: float) -> float:
    """Return the learning rate behind some progress.

    Args:
        optimisation: The recipe's choice.
        batch: Samples a step, all processes together.
        progress: 0..1.
    """
    highest = optimisation.rate
    if optimisation.rate_batch is not None:
        highest *= batch / optimisation.rate_batch
    if progress < optimisation.warmup:
        return highest * progress / optimisation.warmup
    if optimisation.decay == "halving":
        return highest * 0.5 ** sum(progress > milestone for milestone in optimisation.milestones)
    share = (progress - optimisation.warmup) / (1.0 - optimisation.warmup)
    return highest * 0.5 * (1.0 + math.cos(math.pi * min(1.0, share)))


def _timeline(phases: Sequence[Phase], lengths: Sequence[int]) -> Timeline:
    ends = [*(phase.start for phase in phases[1:]), 1.0]
    stretches: list[Stretch] = []
    first = 0
    for phase, end, length in zip(phases, ends, lengths, strict=True):
        stretches.append(
            Stretch(first=first, steps=length, start=phase.start, end=end, patch=phase.patch, batch=phase.batch)
        )
        first += length
    return Timeline(stretches=tuple(stretches))


def _part(stretch: Stretch, first: int, steps: int, start: float, end: float) -> Stretch:
    return Stretch(first=first, steps=steps, start=start, end=end, patch=stretch.patch, batch=stretch.batch)

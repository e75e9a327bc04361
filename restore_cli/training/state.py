"""Everything that changes while a network is trained, and how it is saved and restored.

The data order needs no state (see `sampling`), and neither does stochastic depth, whose random numbers are seeded anew
from the step: what is left is weights, their average, the optimiser, the clock and the best score.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import nn

from restore_cli.training.muon import Muon
from restore_cli.training.recipes import Optimisation
from restore_cli.training.timeline import Stretch, Timeline

# An average over the first steps would be mostly the random start: its memory d grows to the recipe's in 10 / (1 - d).
_EMA_YOUNG_STEPS = 10


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best validation so far.

    Attributes:
        step: After how many steps.
        score: Mean PSNR in dB.
    """

    step: int
    score: float


class TrainingState:
    """Hold network, average, optimiser, timeline and counters.

    Args:
        network: On its device, channels last.
        optimisation: How it is trained.
        timeline: How long; a budget of time replaces it now and then.
    """

    def __init__(self, network: nn.Module, optimisation: Optimisation, timeline: Timeline) -> None:
        self.network = network
        self.averaged = copy.deepcopy(network).requires_grad_(requires_grad=False).eval()
        self.optimisation = optimisation
        self.timeline = timeline
        self.optimiser = _optimiser(optimisation, network.parameters())
        self.step = 0
        self.seconds = 0.0
        self.best: Best | None = None

    @property
    def progress(self) -> float:
        """Return the progress behind the steps done, 0..1."""
        return self.timeline.progress(self.step - 1) if self.step else 0.0

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next step."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def average(self) -> None:
        """Move the averaged weights a little towards the trained ones."""
        decay = self.optimisation.ema_decay
        young = (1.0 + self.step) / (_EMA_YOUNG_STEPS + self.step)
        averaged: list[torch.Tensor] = list(self.averaged.parameters())
        trained: list[torch.Tensor] = list(self.network.parameters())
        with torch.no_grad():
            torch._foreach_lerp_(averaged, trained, 1.0 - (0.0 if decay is None else min(decay, young)))

    def to_dict(self) -> dict[str, Any]:
        """Return what `load_dict` takes: tensors, numbers and text only."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "best": None if self.best is None else asdict(self.best),
            "timeline": [asdict(stretch) for stretch in self.timeline.stretches],
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load_dict(self, content: dict[str, Any]) -> Self:
        """Go back to a saved state, bit for bit."""
        self.step = int(content["step"])
        self.seconds = float(content["seconds"])
        self.best = None if content["best"] is None else Best(**content["best"])
        self.timeline = Timeline(stretches=tuple(Stretch(**stretch) for stretch in content["timeline"]))
        self.network.load_state_dict(content["network"], strict=True)
        self.averaged.load_state_dict(content["averaged"], strict=True)
        self.optimiser.load_state_dict(content["optimiser"])
        return self


def _optimiser(optimisation: Optimisation, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    if optimisation.optimiser == "muon":
        return Muon(parameters, lr=0.0)
    if optimisation.optimiser == "adam":
        return torch.optim.Adam(parameters, lr=0.0, betas=(0.9, 0.999), fused=True)
    return torch.optim.AdamW(parameters, lr=0.0, betas=(0.9, 0.999), weight_decay=0.0, fused=True)

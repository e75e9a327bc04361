"""What a training was asked for.

First stage of training, ASK: plain facts from the command line, no torch. What only changes the speed is not among
them (`session.Machine`), so that a run may be resumed on another machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from restore_cli.errors import UsageError
from restore_cli.training.recipes import WHOLE_PROGRESS, Frozen, Optimiser, Phase, Recipe, get_recipe


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """Say what is to be trained.

    Attributes:
        recipe: Name of the recipe.
        data: Folders of clean images.
        degraded: Folders of their degraded partners; none makes them on the fly.
        val: Folders of clean images to validate on.
        val_degraded: Folders of their degraded partners.
        steps: Length in steps; None takes the recipe's, or `minutes`.
        minutes: Length as a budget of time.
        batch: Samples a step in place of the recipe's.
        patch: Side of the patches in degraded pixels in place of the recipe's.
        rate: Highest learning rate in place of the recipe's.
        optimiser: How weights follow gradients in place of the recipe's way.
        warm_start: A weights file, a run's folder or a weights id to start from.
        freeze: Prefixes of parameters that are held still.
        freeze_until: Progress until which they are.
        seed: Seed of weights, crops and degradations.
        bf16: Run the network under bfloat16 autocast.
        accumulate: Parts a batch is cut into to save memory.
        log_every: Steps between lines of the log.
        validate_every: Lines of the log between validations; None for some 25 in all.
    """

    recipe: str
    data: tuple[str, ...]
    degraded: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    val_degraded: tuple[str, ...] = ()
    steps: int | None = None
    minutes: float | None = None
    batch: int | None = None
    patch: int | None = None
    rate: float | None = None
    optimiser: Optimiser | None = None
    warm_start: str | None = None
    freeze: tuple[str, ...] = ()
    freeze_until: float = WHOLE_PROGRESS
    seed: int = 0
    bf16: bool = False
    accumulate: int = 1
    log_every: int = 50
    validate_every: int | None = None

    def adjusted_recipe(self) -> Recipe:
        """Return the recipe with this request's settings in it.

        Raises:
            UsageError: If there is no such recipe, or settings contradict each other.
        """
        recipe = get_recipe(self.recipe)
        if self.steps is not None and self.minutes is not None:
            raise UsageError("--steps and --minutes both set the length", hint="give one of them")
        phases = recipe.phases
        if self.batch is not None or self.patch is not None:
            phases = (Phase(patch=self.patch or phases[-1].patch, batch=self.batch or phases[-1].batch),)
        optimisation = recipe.optimisation
        if self.rate is not None:
            optimisation = replace(optimisation, rate=self.rate, rate_batch=None)
        if self.optimiser is not None:
            optimisation = replace(optimisation, optimiser=self.optimiser)
        frozen = recipe.frozen if self.warm_start is not None else None
        if self.freeze:
            frozen = Frozen(until=self.freeze_until, still=self.freeze)
        return replace(recipe, phases=phases, optimisation=optimisation, frozen=frozen)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that `from_json` takes."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Build from a JSON object; unknown fields are an error, missing ones have their defaults."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(values.keys() - known):
            msg = f"unknown fields {', '.join(unknown)}; known: {', '.join(sorted(known))}"
            raise ValueError(msg)
        plain: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in values.items()}
        return cls(**plain)

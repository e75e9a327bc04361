"""What happened during a training, a JSON object a line: the source of its curves.

A resumed run drops the lines behind its checkpoint first, since those steps are done again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restore_cli.storage.files import remove_unfinished, replacing

if TYPE_CHECKING:
    from restore_cli.training.validation import View

NAME = "log.jsonl"


@dataclass(frozen=True, kw_only=True)
class Interval:
    """What the steps since the last interval came to.

    Attributes:
        step: Steps done.
        steps: Steps in all, as far as is known now.
        progress: 0..1.
        loss: Mean L1 loss on values in [0, 1].
        gradient_norm: Mean norm of the gradient before it was clipped.
        rate: Learning rate of the last step.
        patch: Side of the patches in degraded pixels.
        batch: Samples a step.
        images_per_second: Patches a second, all processes together.
        seconds: Time spent since the first start, resumed runs added up.
        seconds_left: Estimate of the time to come.
        score: Mean validation PSNR in dB, None where this interval was not validated.
        best: Whether that score is the best so far.
        look_back: Whether this is a moment to validate, where anything is held out, and to draw the run's page.
        views: Places of held-out images as restored now, where this interval was validated.
    """

    step: int
    steps: int
    progress: float
    loss: float
    gradient_norm: float
    rate: float
    patch: int
    batch: int
    images_per_second: float
    seconds: float
    seconds_left: float
    score: float | None = None
    best: bool = False
    look_back: bool = False
    views: tuple[View, ...] = ()


class Journal:
    """Append facts to a run's log.

    Args:
        folder: The run's folder.
        step: Lines of later steps are dropped.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / NAME
        kept = [line for line in read_journal(folder) if line.get("step", 0) <= step] if step else []
        remove_unfinished(folder)  # of a run that was killed while it wrote
        with replacing(self._path) as file:
            file.writelines((json.dumps(line) + "\n").encode("ascii") for line in kept)

    def write(self, interval: Interval) -> None:
        """Append one interval; the file is opened and closed each time, so that a kill loses at most a line."""
        with self._path.open("a", encoding="ascii") as file:
            file.write(json.dumps(_fact(interval)) + "\n")


def read_journal(folder: Path) -> list[dict[str, Any]]:
    """Return the facts of a run's log; a line torn by a kill is left out, a missing log is empty."""
    path = folder / NAME
    if not path.is_file():
        return []
    facts: list[dict[str, Any]] = []
    for line in path.read_text(encoding="ascii").splitlines():
        try:
            facts.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return facts


def _fact(interval: Interval) -> dict[str, Any]:
    fact: dict[str, Any] = {
        "step": interval.step,
        "steps": interval.steps,
        "loss": round(interval.loss, 7),
        "gradient_norm": round(interval.gradient_norm, 5),
        "rate": interval.rate,
        "patch": interval.patch,
        "batch": interval.batch,
        "images_per_second": round(interval.images_per_second, 2),
        "seconds": round(interval.seconds, 2),
    }
    if interval.score is not None:
        fact |= {"score": round(interval.score, 4), "best": interval.best}
    return fact

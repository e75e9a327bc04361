"""Tell a loss that runs away from one that is merely uneven.

Crops differ: the loss of a flat one is next to nothing and that of foliage large, so single batches are no measure of
anything. Losses are gathered until they stand for some number of crops, and such means are compared. The first of them
is taken before the first step: a network that is ruined on its way to the second must not be compared with itself.
"""

from __future__ import annotations

import math

SAMPLES = 64
_AWAY_FACTOR = 5.0
_SUSPECT_FACTOR = 3.0


class LossWatch:
    """Remember the lowest mean loss over `SAMPLES` crops or more.

    Args:
        lowest: That of the weights that training begins with; infinite where it is not known.
    """

    def __init__(self, lowest: float = math.inf) -> None:
        self.lowest = lowest
        self._sum = 0.0
        self._samples = 0

    def add(self, loss: float, samples: int) -> float | None:
        """Take in the mean loss of some crops.

        Returns:
            The mean that runs away from the lowest one so far; None where all is well or not enough is known yet.
        """
        self._sum += loss * samples
        self._samples += samples
        if self._samples < SAMPLES:
            return None
        mean = self._sum / self._samples
        self._sum, self._samples = 0.0, 0
        self.lowest = min(self.lowest, mean)
        return mean if mean > _AWAY_FACTOR * self.lowest else None

    def suspects(self, loss: float) -> bool:
        """Return whether the loss of a single batch is so high that its weights had better not be kept."""
        gathered = self._sum / self._samples if self._samples else math.inf
        return loss > _SUSPECT_FACTOR * min(self.lowest, gathered)

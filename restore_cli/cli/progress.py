"""How far a long piece of work is, as one line of words: what is printed where no bar can be drawn.

Stage 1, ASK, and the way back. Prints nothing itself; `output` asks for the line when a minute has passed in silence.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class WorkStatus:
    """Know how many parts of a piece of work are done, and how far those are that have begun.

    Args:
        total: Parts in all, images of a batch.
        what: What is being done, a word or two.
        clock: Tells seconds.
    """

    def __init__(self, total: int, what: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._what = what
        self._clock = clock
        self._finished = 0
        self._shares: dict[str, float] = {}
        self._since = clock()
        self._more = ""

    @property
    def completed(self) -> float:
        """Return how many parts are done, shares of those at work counted."""
        return min(float(self._total), self._finished + sum(self._shares.values()))

    def begin(self, what: str) -> None:
        """Take what is being done now."""
        if what != self._what:
            self._what, self._since, self._more = what, self._clock(), ""

    def advance(self, name: str, share: float, more: str = "") -> None:
        """Take how far a part is, 0..1, and what else is known of it."""
        self.begin(name)
        self._shares[name], self._more = share, more

    def finish(self, name: str | None = None) -> None:
        """Count a part as done."""
        self._finished += 1
        self._shares.pop(name or "", None)

    def line(self) -> str:
        """Return what there is to say now: "[3/12] in/a.png: 34 %, tile 5 of 12, about 6 min left"."""
        place = f"[{min(self._finished + 1, self._total)}/{self._total}] " if self._total > 1 else ""
        elapsed = self._clock() - self._since
        share = self._shares.get(self._what, 0.0)
        more = f", {self._more}" if self._more else ""
        if not share:
            return f"{place}{self._what}: {in_words(elapsed)} so far{more}"
        left = in_words(elapsed * (1.0 - share) / share)
        return f"{place}{self._what}: {100.0 * share:.0f} %{more}, about {left} left"


def in_words(seconds: float) -> str:
    """Return a span of time in the largest unit that still tells something.

    Example:
        >>> in_words(42.4), in_words(100), in_words(9000)
        ('42 s', '2 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

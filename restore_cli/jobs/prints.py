"""What was met before, of very many: a set that keeps eight bytes of each member.

Stage 2, PLAN. A million names, or lines of a ledger, would take hundreds of megabytes as text. Here each is its 64-bit
hash, the older ones in a sorted array. Two of a million members are taken for one with a probability of 3e-8; where
that could cost something, whoever asks looks closer.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Hashable

_MOST_RECENT = 1 << 16


class Prints:
    """A set of hashes; members are added and asked for, and never listed."""

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._unsorted = array("q")
        self._sorted = array("q")

    def add(self, member: Hashable) -> bool:
        """Add a member; return whether it, or one of the same hash, was there."""
        if member in self:
            return True
        self.note(member)
        return False

    def note(self, member: Hashable) -> None:
        """Add a member without asking whether it was there, which is faster."""
        self._recent.add(hash(member))
        if len(self._recent) > _MOST_RECENT:
            self._unsorted.extend(self._recent)
            self._recent.clear()

    def __contains__(self, member: Hashable) -> bool:
        """Return whether a member, or one of the same hash, was added."""
        print_ = hash(member)
        if print_ in self._recent:
            return True
        if self._unsorted:
            self._sort()
        place = bisect_left(self._sorted, print_)
        return place < len(self._sorted) and self._sorted[place] == print_

    @property
    def is_empty(self) -> bool:
        """Return whether nothing was added."""
        return not (self._recent or self._unsorted or self._sorted)

    def _sort(self) -> None:
        import numpy as np

        together = np.concatenate([np.frombuffer(part, np.int64) for part in (self._sorted, self._unsorted)])
        together.sort(kind="stable")  # fast where most of it is in order
        self._sorted = array("q", together.tobytes())
        self._unsorted = array("q")

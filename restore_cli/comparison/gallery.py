"""The entries of a page, collected while images are restored: bounded however many there are, the most changed kept."""

from __future__ import annotations

import heapq
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from restore_cli.comparison.entry import Entry, Scores, Sides
from restore_cli.errors import ImageError
from restore_cli.imaging.decoded_image import DecodedImage

MOST_ENTRIES = 300
"""Images on one page; of more, those that were changed most."""


class Gallery:
    """Collect the entries of a page; safe to use from several threads.

    Measuring an image takes a while beside a fast network, so a thread of its own does it, one image behind.

    Args:
        count: How many images are expected, which decides how large their views are.
        most: How many entries are kept.
    """

    def __init__(self, count: int, *, most: int = MOST_ENTRIES) -> None:
        self._sides = Sides.of(min(count, most))
        self._most = most
        self._pool = ThreadPoolExecutor(1, "compare")
        self._lock = threading.Lock()
        self._measured: dict[str, Future[Entry]] = {}
        self._last: Future[Entry] | None = None
        self._kept: list[tuple[float, int, Entry]] = []
        self._taken = 0

    def close(self) -> None:
        """Wait for the image being measured; what was taken stays."""
        self._pool.shutdown(cancel_futures=True)

    @property
    def taken(self) -> int:
        """Return how many images were taken, kept or not."""
        return self._taken

    def observe(self, key: str, before: DecodedImage, after: DecodedImage) -> None:
        """Measure an image; `take` makes it an entry, `drop` forgets it.

        Args:
            key: Names it until then.
            before: As it was read.
            after: As it is written.
        """
        if self._last is not None:
            self._last.exception()  # no more than one pair of images waits
        with self._lock:
            self._last = self._measured[key] = self._pool.submit(Entry.of, key, before, after, self._sides)

    def take(
        self,
        key: str,
        *,
        before: Path | None,
        after: Path | None,
        name: str | None = None,
        weights: str | None = None,
        seconds: float | None = None,
        notes: tuple[str, ...] = (),
        scores: Scores | None = None,
    ) -> Entry | None:
        """Make an entry of an image that was measured; None where it could not be.

        Args:
            key: As in `observe`.
            before: Where the image before lies, None for nowhere.
            after: Where the image after lies, None for nowhere.
            name: What the page calls it; None for its key.
            weights: Id of the weights that restored it.
            seconds: How long it took to restore.
            notes: What was decided or lost on the way.
            scores: How near both are to the truth, where there is one.
        """
        with self._lock:
            measured = self._measured.pop(key, None)
        if measured is None:
            return None
        try:
            entry = measured.result()
        except (ImageError, MemoryError):  # the image itself is written; only its view is missing
            return None
        entry = replace(
            entry,
            name=name or key,
            before=before,
            after=after,
            weights=weights,
            seconds=seconds,
            notes=notes,
            scores=scores,
        )
        with self._lock:
            self._taken += 1
            heapq.heappush(self._kept, (entry.change.mean, -self._taken, entry))
            if len(self._kept) > self._most:
                heapq.heappop(self._kept)
        return entry

    def drop(self, key: str) -> None:
        """Forget an image that was measured, if it was."""
        with self._lock:
            self._measured.pop(key, None)

    def entries(self) -> tuple[Entry, ...]:
        """Return what is kept, the most changed first."""
        with self._lock:
            return tuple(entry for _, _, entry in sorted(self._kept, reverse=True))

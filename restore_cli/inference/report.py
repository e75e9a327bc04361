"""What is reported of a network: which it is, how it runs, and how far it is with an image.

Stage 5, RUN, and the way back. Facts that travel between processes; who only reads them needs no torch.

Work is counted in pixels of what goes into the network: a tile is worth its pixels, and within a tile, or an image that
goes in one piece, the share of the network's products that are done says how many of them (see `runner`). So bands,
layers and tiles all count, whatever the network.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from restore_cli.weights.entry import WeightsEntry


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """How a restorer runs, in the words of the command line.

    Attributes:
        device: "cpu", "cuda:0", "mps".
        dtype: "float32", "bfloat16", "float16".
        reason: Why that device and that dtype.
        tile: "auto", "off" (the whole image) or the side in input pixels.
        context: "auto", "mixed", "local", "global" or "tile".
        cell: Side of the cells of "mixed" and "local" in input pixels, else None.
        share: Share of the whole image in "mixed", else None.
    """

    device: str
    dtype: str
    reason: str
    tile: str
    context: str
    cell: int | None = None
    share: float | None = None


@dataclass(frozen=True, kw_only=True)
class NetworkFacts:
    """A network that was loaded.

    Attributes:
        entry: Its manifest entry.
        digest: "sha256:" and the hexadecimal digest of its file's bytes.
        path: The file.
        notes: What a person should be told once.
        run: How images are run, as it was requested.
    """

    entry: WeightsEntry
    digest: str
    path: Path
    notes: tuple[str, ...]
    run: RunFacts


# How often a person or a page can be told something new, at most.
_LEAST_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class ImageProgress:
    """How far the network is with one image.

    Attributes:
        done: Units of work that are done, from 0; less than before only where memory ran out and work is redone.
        total: Units in all: the pixels that go in, those of a border that tiles share as often as they do.
        tiles: How many tiles the image is cut into, 1 for none.
        tile: Side of a tile in pixels, or None.
        note: What a person should know of how the image is run, or None.
    """

    done: int
    total: int
    tiles: int = 1
    tile: int | None = None
    note: str | None = None

    @property
    def share(self) -> float:
        """Return the share that is done, 0..1."""
        return self.done / self.total

    @property
    def tile_now(self) -> int:
        """Return the number of the tile at work, from 1."""
        return min(self.tiles, int(self.share * self.tiles) + 1)


OnProgress = Callable[[ImageProgress], None]
"""Called with how far an image is: before any work on it, then at most some times a second, by the thread at work."""


class ProgressTrack:
    """Turn what is done of batches, tiles and runs into what is done of an image.

    Args:
        report: Called with how far it is.
        runs: How often the image goes through the network, turned.
        clock: Tells seconds.
    """

    def __init__(self, report: OnProgress, *, runs: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self._report = report
        self._runs = runs
        self._clock = clock
        self._runs_done = 0
        self._tiles_done = 0
        self._reported_at = -_LEAST_SECONDS
        self._known = ImageProgress(done=0, total=1)

    def begin(self, *, tiles: int, pixels: int, tile: int | None, note: str | None) -> None:
        """Begin a run over the image, or begin it anew.

        Args:
            tiles: How many tiles.
            pixels: Of each.
            tile: Side of a tile, None for the whole image.
            note: What a person should know of it.
        """
        self._tiles_done = 0
        total = self._runs * tiles * pixels
        self._known = ImageProgress(done=0, total=total, tiles=tiles, tile=tile, note=note)
        self._report_now(0.0)

    def advance(self, share: float, *, tiles: int = 1) -> None:
        """Take how far a batch of tiles is, 0..1."""
        if self._clock() - self._reported_at >= _LEAST_SECONDS:
            self._report_now(share * tiles)

    def end_batch(self, tiles: int) -> None:
        """Count a batch of tiles as done."""
        self._tiles_done += tiles
        if self._tiles_done == self._known.tiles:
            self._runs_done, self._tiles_done = self._runs_done + 1, 0
        self._report_now(0.0)

    def _report_now(self, tiles_more: float) -> None:
        self._reported_at = self._clock()
        in_run = (self._tiles_done + tiles_more) / self._known.tiles
        done = round(self._known.total * (self._runs_done + in_run) / self._runs)
        self._report(replace(self._known, done=min(done, self._known.total)))


def part_of(report: OnProgress, *, before: int, own: int, total: int) -> OnProgress:
    """Return who takes the progress of one network of several, and tells that of all.

    Args:
        report: Called with the progress of all.
        before: Units of the networks before.
        own: Units of this one.
        total: Units of all.
    """

    def report_part(progress: ImageProgress) -> None:
        report(replace(progress, done=before + round(own * progress.share), total=total))

    return report_part

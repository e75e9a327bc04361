"""What there is to say of a network that was loaded and of how it runs: facts alone, which travel between processes.

Stage 5, RUN, and the way back. Apart from `restorer`, because who only reads them needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
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

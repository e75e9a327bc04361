"""Turn a request into a frozen plan: which pictures, to which files, with which weights, under which wishes.

Stage 2, PLAN, between the command line and the work: looks at names and folders, never at pixels, never at torch. All
that can be refused is refused here, before anything heavy is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Existing = Literal["error", "skip", "overwrite", "rename"]
Context = Literal["global", "tile"]
Padding = Literal["reflect", "symmetric"]
Tile = int | Literal["auto", "off"]


@dataclass(frozen=True, kw_only=True)
class RunWishes:
    """Say how a network is to be run.

    Attributes:
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        dtype: "auto", "float32", "bfloat16" or "float16".
        tile: Side of a square tile in input pixels, "auto" from the free memory, "off" for the whole image at once.
        overlap: Input pixels shared by neighbouring tiles.
        context: Where channel attention takes its statistics: the whole image or each tile.
        pad: How borders are continued to a multiple of the network's unit.
        tta: Mean over the eight flips and rotations.
        compile: Run the network through torch.compile.
        threads: CPU threads of one operation; None leaves torch's choice.
    """

    device: str = "auto"
    dtype: str = "auto"
    tile: Tile = "auto"
    overlap: int = 32
    context: Context | Literal["auto"] = "auto"
    pad: Padding = "reflect"
    tta: bool = False
    compile: bool = False
    threads: int | None = None


@dataclass(frozen=True, kw_only=True)
class WriteWishes:
    """Say how results are to be written.

    Attributes:
        format: Pillow's name of the output format, or None to keep the input's (GIF and BMP become PNG).
        quality: JPEG, WebP and AVIF quality, 1..100.
        strip: Leave EXIF, XMP and DPI out (the colour profile stays).
        existing: What to do where the output exists.
    """

    format: str | None = None
    quality: int = 95
    strip: bool = False
    existing: Existing = "error"


@dataclass(frozen=True, kw_only=True)
class ImageJob:
    """One picture to restore: read `source`, write `target`."""

    source: Path
    target: Path


@dataclass(frozen=True, kw_only=True)
class WeightsChoice:
    """Name the weights: an entry of the manifest, and a file that takes the place of the entry's own, if any."""

    id: str
    path: Path | None = None


@dataclass(frozen=True, kw_only=True)
class JobPlan:
    """All that is to be done, decided before it begins.

    Attributes:
        task: Command name of the task.
        weights: Which weights.
        jobs: Pictures in the order they are worked on; targets are distinct.
        skipped: Pictures left out because their output exists (`--existing skip`).
        run: How the network runs.
        write: How results are written.
        jobs_in_flight: How many pictures are read ahead and encoded behind the one in the net.
        fail_fast: Stop at the first picture that fails.
        offline: Never touch the network.
    """

    task: str
    weights: WeightsChoice
    jobs: tuple[ImageJob, ...]
    skipped: tuple[ImageJob, ...] = ()
    run: RunWishes = RunWishes()
    write: WriteWishes = WriteWishes()
    jobs_in_flight: int = 2
    fail_fast: bool = False
    offline: bool = False

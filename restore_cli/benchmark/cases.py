"""What is measured: networks, crossed with sizes, batches, dtypes, thread counts, contexts and tiles.

A case is one row of the report. It carries all that a fresh process needs to build the network (its manifest entry), so
nothing but this small object crosses over. No weights: they are random, which changes no count and no time. Loads no
torch before entries are crossed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from restore_cli.errors import UsageError
from restore_cli.settings import Context, RunSettings, Tile
from restore_cli.weights.entry import did_you_mean
from restore_cli.weights.manifest import Manifest, WeightsEntry

if TYPE_CHECKING:
    from restore_cli.models import Arch

Size = tuple[int, int]
Scope = Literal["network", "engine"]

PAPER_SIZE: Size = (720, 1280)
"""(height, width) of the output for which papers on restoration state their Mult-Adds."""

ANY_TASK = "denoise"
"""Task of files that do not say theirs: it changes no number here."""

QUICK_SIZE: Size = (144, 256)
"""(height, width) of the output whose latency is measured unless more is asked for: seconds, not minutes, on a CPU."""

# Every network here takes multiples of it, so that growth shows pixels and not padding.
_GROWTH_UNIT = 64
_GROWTH_ASPECT = 4 / 3


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """Say what is to be varied and how long it may take.

    Attributes:
        sizes: (height, width) of the output, of a classifier's input; empty takes a small one, see `full`.
        full: Where `sizes` is empty, take the size for which papers state costs.
        growth: Input Mpixels from and to, in place of `sizes`: a size each time they have doubled.
        batches: Images a run.
        dtypes: "auto", "float32", "bfloat16" or "float16".
        threads: CPU threads of one operation; None leaves torch's choice.
        engine: Measure images through the engine, as the restoring commands do, not the network alone.
        tiles: As `RunSettings.tile`; empty leaves it to the engine.
        contexts: As `RunSettings.context`; empty leaves it to the engine.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        compile: Run through torch.compile, its time reported separately.
        runs: Timed runs; None takes as many as fit `seconds`, three even if they take three times that; 0 counts only.
        warmup: Runs before them that are not timed, at least one; None takes as many as fill a second, and but for a
            growth times even the first run where it alone takes `seconds`.
        seconds: How long the timed runs of a row may take where `runs` is None.
    """

    sizes: tuple[Size, ...] = ()
    full: bool = False
    growth: tuple[float, float] | None = None
    batches: tuple[int, ...] = (1,)
    dtypes: tuple[str, ...] = ("auto",)
    threads: tuple[int | None, ...] = (None,)
    engine: bool = False
    tiles: tuple[Tile, ...] = ()
    contexts: tuple[Context | Literal["auto"], ...] = ()
    device: str = "auto"
    compile: bool = False
    runs: int | None = None
    warmup: int | None = None
    seconds: float = 10.0

    @property
    def scope(self) -> Scope:
        """Return what is measured: only the engine knows tiles and contexts, and takes images that grow."""
        return "engine" if self.engine or self.tiles or self.contexts or self.growth else "network"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One network under one set of conditions.

    Attributes:
        entry: The manifest's entry of the network.
        size: (height, width) wanted of the output; what comes out is `scale` times a whole number of input pixels. Of
            a classifier, which has no image to give, it is the input's.
        batch: Images a run.
        dtype: As in `BenchSettings`.
        threads: As in `BenchSettings`.
        scope: The network alone, or the engine around it.
        tile: As `RunSettings.tile`; says nothing to the network alone.
        context: As `RunSettings.context`; says nothing to the network alone.
        file: Weights file of a network that can only be built from one; None where random weights do.
    """

    entry: WeightsEntry
    size: Size = PAPER_SIZE
    batch: int = 1
    dtype: str = "auto"
    threads: int | None = None
    scope: Scope = "network"
    tile: Tile = "auto"
    context: Context | Literal["auto"] = "auto"
    file: Path | None = None

    def run_settings(self, settings: BenchSettings) -> RunSettings:
        """Return how the engine is to run this case."""
        return RunSettings(
            device=settings.device,
            dtype=self.dtype,
            tile=self.tile,
            context=self.context,
            compile=settings.compile,
            threads=self.threads,
        )


def select_entries(manifest: Manifest, names: Iterable[str]) -> tuple[WeightsEntry, ...]:
    """Find the manifest entries that models or full ids name, in the order asked for, each once.

    Raises:
        UsageError: If a name is neither a model nor an id; the known models and the nearest name are in the message.
    """
    found: dict[str, WeightsEntry] = {}
    for name in names:
        entries = [entry for entry in manifest.entries if name in (entry.model, entry.id)]
        if not entries:
            ids = [entry.id for entry in manifest.entries]
            nearest = did_you_mean(name, manifest.models) or did_you_mean(name, ids)
            known = ", ".join(manifest.models)
            raise UsageError(f"unknown model {name!r}{nearest} (known: {known}, or an id of `restore models list`)")
        found |= {entry.id: entry for entry in entries}
    return tuple(found.values())


def cases_of(entries: Iterable[WeightsEntry], settings: BenchSettings) -> tuple[Case, ...]:
    """Cross every entry with every condition; the conditions of one network stay together.

    Raises:
        UsageError: If a size is smaller than one input pixel of a network, or conditions contradict each other.
    """
    from restore_cli.models import get_architecture

    cases = []
    for entry in entries:
        arch = get_architecture(entry.arch)
        conditions = itertools.product(
            _sizes_of(entry, arch, settings),
            settings.batches,
            settings.dtypes,
            settings.threads,
            settings.contexts or ("auto",),
            settings.tiles or ("auto",),
        )
        for size, batch, dtype, threads, context, tile in conditions:
            case = Case(
                entry=entry,
                size=size,
                batch=batch,
                dtype=dtype,
                threads=threads,
                scope=settings.scope,
                tile=tile,
                context=context,
            )
            _check_case(case, arch, settings)
            cases.append(case)
    return tuple(cases)


def paper_size(entry: WeightsEntry, arch: Arch) -> Size:
    """Return the size for which papers state what such a network costs: of the output, or of a classifier's input."""
    return PAPER_SIZE if arch.restores else (entry.training_patch, entry.training_patch)


def growth_sizes(low: float, high: float, scale: int) -> tuple[Size, ...]:
    """Return output sizes whose inputs grow from `low` to `high` Mpixels, 4:3, about doubling each time.

    Inputs are whole multiples of 64 pixels, so the outermost two come out near what was asked for, not at it.

    Example:
        >>> growth_sizes(0.05, 0.2, 1)
        ((192, 256), (256, 384), (384, 512))
    """
    steps = max(1, round(math.log2(high / low)))
    sizes = []
    for step in range(steps + 1):
        pixels = 1e6 * low * (high / low) ** (step / steps)
        height = math.sqrt(pixels / _GROWTH_ASPECT)
        sides = (height, height * _GROWTH_ASPECT)
        rows, columns = (scale * _GROWTH_UNIT * max(1, round(side / _GROWTH_UNIT)) for side in sides)
        sizes.append((rows, columns))
    return tuple(dict.fromkeys(sizes))


def _sizes_of(entry: WeightsEntry, arch: Arch, settings: BenchSettings) -> tuple[Size, ...]:
    if settings.growth is not None:
        return growth_sizes(*settings.growth, entry.scale)
    return settings.sizes or (paper_size(entry, arch) if settings.full or not arch.restores else QUICK_SIZE,)


def _check_case(case: Case, arch: Arch, settings: BenchSettings) -> None:
    entry, (height, width) = case.entry, case.size
    if min(case.size) < entry.scale:
        msg = f"--size {width}x{height} is less than one input pixel at scale {entry.scale} ({entry.id})"
        raise UsageError(msg)
    if case.scope == "network":
        return
    if not arch.restores:
        msg = f"{entry.id} gives no image, so the engine cannot run it"
        raise UsageError(
            msg, hint="leave --engine, --growth, --tile and --context out, or measure it in a run of its own"
        )
    if case.batch != 1:
        msg = "the engine takes one image at a time, and --engine, --growth, --tile and --context measure the engine"
        raise UsageError(msg, hint="leave --batch out")
    from restore_cli.inference.layout import check_settings

    try:
        check_settings(case.run_settings(settings), arch.of(arch.config.from_json(entry.config)))
    except UsageError as error:
        msg = f"{entry.id} with --context {case.context} --tile {case.tile}: {error.message}"
        raise UsageError(msg, hint=error.hint) from error

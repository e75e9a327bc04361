"""Whole image or tiles, how large, and the padding: decided from the settings, the network and the memory.

Stage 5, RUN. The same size, settings and budget always give the same layout, since tiles of a network with global
channel attention are other pixels than the whole image.

Padding is done once, outside the network. For networks that need no margin only at the bottom and the right, so that
pixel (0, 0) stays where it is; an image that already fits gets nothing added then.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import get_args

import numpy as np
import numpy.typing as npt

from restore_cli.errors import UsageError
from restore_cli.imaging.decoded_image import FloatImage
from restore_cli.inference.device import GIB
from restore_cli.inference.footprint import BandsFootprint, Footprint
from restore_cli.layers.bands import Execution, usual_rows
from restore_cli.models import Arch
from restore_cli.settings import Context, Padding, RunSettings
from restore_cli.tiling.grid import round_up, smallest_tile
from restore_cli.weights.entry import BestContext

# Beyond this side the overlap costs less than 7 % more work, and every tile is one more chance to stop.
_LARGEST_AUTO_TILE = 1024
_WHOLE = ("mixed", "local", "global")
# What the field's other tools take when they are asked for tiles.
_USUAL_TILE = 256
# Out of memory with less than this is no matter of the tile's size.
_SMALLEST_TILE = 64
_LARGEST_BATCH = 16
# No network here takes more for a pixel; an image that fits even so is run whole without measuring first.
_CERTAIN_BYTES_PER_PIXEL = 16 * 1024
# Bands are of whole windows; out of memory with the least is no matter of the band's height.
_LEAST_ROWS = 8
# What the published x4 networks gain with; shares of 0.67 to 0.8 are nearly as good.
_DEFAULT_SHARE = 0.75


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one image goes through the network.

    Attributes:
        tile: Side of the tiles in input pixels, one chosen here at most that; None for the whole image at once.
        batch: Tiles run together.
        execution: Context and bands of the whole image, None for a network without, or for tiles.
        demanded: Whether the whole image was asked for, so that tiles must not take its place.
        note: What the user should know of this choice, or None.
    """

    tile: int | None
    batch: int = 1
    execution: Execution | None = None
    demanded: bool = False
    note: str | None = None

    @property
    def context(self) -> Context:
        """Return where channel attention takes its statistics."""
        if self.execution is not None:
            return self.execution.context
        return "global" if self.tile is None else "tile"


class MemoryModel:
    """What a network takes and what it may take, asked for when first needed and the same from then on.

    Args:
        budget: Returns the bytes its feature maps may take.
        footprint: Returns what it takes at once.
        bands: Returns what it takes in bands; None where it has none.
        bands_budget: Returns the bytes it may take then; None for the same as else.
    """

    def __init__(
        self,
        *,
        budget: Callable[[], int],
        footprint: Callable[[], Footprint],
        bands: Callable[[], BandsFootprint] | None = None,
        bands_budget: Callable[[], int] | None = None,
    ) -> None:
        self._ask_budget = budget
        self._ask_bands_budget = bands_budget or budget
        self._measure_footprint = footprint
        self._measure_bands = bands

    @cached_property
    def budget(self) -> int:
        """Return the bytes the feature maps may take."""
        return self._ask_budget()

    @cached_property
    def bands_budget(self) -> int:
        """Return the bytes a whole image in bands may take."""
        return self._ask_bands_budget()

    @cached_property
    def footprint(self) -> Footprint:
        """Return what a run takes."""
        return self._measure_footprint()

    @cached_property
    def bands(self) -> BandsFootprint | None:
        """Return what a run in bands takes, None where the network has none."""
        return None if self._measure_bands is None else self._measure_bands()

    def rows_within(self, height: int, width: int, rows: int) -> int | None:
        """Return how many rows a band may have to stay within the budget, at most `rows`; None where none suffices."""
        if height * width * _CERTAIN_BYTES_PER_PIXEL <= self.bands_budget or self.bands is None:
            return rows
        while self.bands.peak_bytes(height, width, rows) > self.bands_budget:
            if rows <= _LEAST_ROWS:
                return None
            rows = max(_LEAST_ROWS, rows // 2)
        return rows

    def fits(self, pixels: int) -> bool:
        """Return whether a run over so many input pixels stays within the budget."""
        certain = pixels * _CERTAIN_BYTES_PER_PIXEL <= self.budget
        return certain or self.footprint.peak_bytes(pixels) <= self.budget


def check_settings(settings: RunSettings, arch: Arch) -> None:
    """Refuse settings that do not exist or contradict themselves, before any work.

    Raises:
        UsageError: What was refused and what can be asked for.
    """
    _check_known("context", settings.context, ("auto", *get_args(Context)))
    _check_known("padding", settings.pad, get_args(Padding))
    if settings.context in {"local", "mixed"} and arch.global_attention and not arch.in_bands:
        msg = f"{arch.name} has no --context {settings.context}"
        raise UsageError(msg, hint="use auto, global or tile")
    if not 0.0 <= settings.strength <= 1.0:  # false for NaN too
        raise UsageError(f"a strength of {settings.strength:g} does not exist", hint="use a number from 0 to 1")
    if settings.overlap < 0:
        msg = f"an overlap of {settings.overlap} pixels does not exist"
        raise UsageError(msg, hint="use 0 or more")
    if isinstance(settings.tile, str):
        _check_known("tile", settings.tile, ("auto", "off"))
        return
    least = smallest_tile(settings.overlap, arch.multiple_of)
    if round_up(max(settings.tile, 1), arch.multiple_of) < least or settings.tile <= settings.overlap:
        msg = f"tiles of {settings.tile} pixels do not advance at an overlap of {settings.overlap}"
        raise UsageError(msg, hint=f"use --tile {least} or more, or less --overlap")
    if settings.context not in {"auto", "tile"} and arch.global_attention:
        msg = f"--context {settings.context} needs the whole image, --tile cuts it"
        raise UsageError(msg, hint="leave one of them out")


def choose_layout(
    height: int,
    width: int,
    *,
    arch: Arch,
    settings: RunSettings,
    memory: MemoryModel,
    best: BestContext | None = None,
    patch: int = Execution.cell,
    on_cpu: bool = True,
) -> Layout:
    """Decide how an image goes through the network.

    Args:
        height: Rows of the padded image.
        width: Columns of the padded image.
        arch: What is to be known of the network.
        settings: Checked by `check_settings`.
        memory: Asked only where the answer matters.
        best: What the context "auto" is, None for the whole image.
        patch: Side of the cells that are taken where `best` names none: what the network was trained on.
        on_cpu: Whether bands had better suit the cache; other devices gain from several tiles at once instead.
    """
    whole_demanded = settings.tile == "off" or (settings.context in _WHOLE and arch.global_attention)
    if _runs_in_bands(arch, settings, best):
        execution = context_of(settings, best, patch)
        return _in_bands(height, width, arch, settings, memory, execution, demanded=whole_demanded, on_cpu=on_cpu)
    if whole_demanded:
        note = None if memory.fits(height * width) else f"{_shortage(height, width, memory)}; --context tile needs less"
        return Layout(tile=None, demanded=True, note=note)
    if settings.tile == "auto" and settings.context != "tile" and memory.fits(height * width):
        return Layout(tile=None)
    return _in_tiles(height, width, arch, settings, memory, on_cpu=on_cpu)


def context_of(settings: RunSettings, best: BestContext | None, patch: int) -> Execution:
    """Return the context that is meant, whatever the bands; arguments as in `choose_layout`."""
    cell, share = (best.cell, best.share) if best is not None else (None, None)
    context = settings.context
    if context == "auto":
        context = "global" if best is None else best.kind
    if context == "tile":
        context = "global"
    return Execution(
        context=context,
        cell=patch if cell is None else cell,
        share=_DEFAULT_SHARE if share is None else share,
    )


def note_on_compiling(arch: Arch, settings: RunSettings, best: BestContext | None, *, on_cpu: bool) -> str | None:
    """Return what a person who requested the compiler had better know, None for nothing."""
    if not settings.compile:
        return None
    if _runs_in_bands(arch, settings, best):
        context = context_of(settings, best, Execution.cell).context
        why = ", the best of these weights," if settings.context == "auto" else ""
        bands = f"--context {context}{why} runs in bands, which are not compiled"
        return f"--compile changes nothing: {bands}; --context global is"
    if not on_cpu:
        return None
    if arch.in_bands and not isinstance(settings.tile, int) and settings.context != "tile":
        return "--compile takes minutes on the CPU for each size of image, and then is slower than without it, in bands"
    return "--compile takes minutes on the CPU: it pays on many images of one size, or with --tile"


def _runs_in_bands(arch: Arch, settings: RunSettings, best: BestContext | None) -> bool:
    """Return whether the image stays whole and its layers run in bands."""
    if not arch.in_bands or isinstance(settings.tile, int) or settings.context == "tile":
        return False
    # A compiler takes the plain form alone, whose context is the whole image's; speed must not cost a better one.
    return not settings.compile or context_of(settings, best, Execution.cell).context != "global"


def _in_bands(
    height: int,
    width: int,
    arch: Arch,
    settings: RunSettings,
    memory: MemoryModel,
    execution: Execution,
    *,
    demanded: bool,
    on_cpu: bool,
) -> Layout:
    wanted = min(height, usual_rows(width)) if on_cpu else height
    rows = memory.rows_within(height, width, max(_LEAST_ROWS, wanted // _LEAST_ROWS * _LEAST_ROWS))
    note = None
    if rows is None:
        if not demanded:
            return _in_tiles(height, width, arch, settings, memory, on_cpu=on_cpu)
        rows, note = _LEAST_ROWS, f"{_shortage(height, width, memory)}; --context tile needs less"
    return Layout(tile=None, execution=replace(execution, rows=rows), demanded=demanded, note=note)


def _in_tiles(
    height: int, width: int, arch: Arch, settings: RunSettings, memory: MemoryModel, *, on_cpu: bool
) -> Layout:
    side = _tile_side(settings, arch, memory)
    if side >= max(height, width):
        return Layout(tile=None)
    fitting = 1 if on_cpu else memory.footprint.pixels_within(memory.budget) // side**2
    chosen = Layout(tile=side, batch=min(max(1, fitting), _LARGEST_BATCH))
    if arch.global_attention and settings.tile == "auto" and settings.context == "auto":
        note = f"{_shortage(height, width, memory)}: in tiles of {side}, each with channel statistics of its own"
        return replace(chosen, note=note)
    return chosen


def smaller_layout(layout: Layout, height: int, width: int, *, arch: Arch, overlap: int) -> Layout | None:
    """Return what to try after memory ran out, or None where nothing smaller is left to try.

    However large the image, there is nothing left after seven tries: each is time spent for nothing.
    """
    if layout.execution is not None and layout.execution.rows is not None and layout.execution.rows > _LEAST_ROWS:
        rows = min(layout.execution.rows, height) // 8 // _LEAST_ROWS * _LEAST_ROWS
        return replace(layout, execution=replace(layout.execution, rows=max(_LEAST_ROWS, rows)))
    if layout.demanded:
        return None
    if layout.batch > 1:
        return replace(layout, batch=layout.batch // 4 or 1)
    side = layout.tile or max(height, width)
    most = side // 2
    if layout.tile is None:  # in bands even what stays whole was too much
        most = min(most, _LARGEST_AUTO_TILE if layout.execution is None else _USUAL_TILE)
    less = max(round_up(most, arch.multiple_of), _least_side(arch, overlap))
    return Layout(tile=less) if less < side else None


def _tile_side(settings: RunSettings, arch: Arch, memory: MemoryModel) -> int:
    if isinstance(settings.tile, int):
        return round_up(settings.tile, arch.multiple_of)
    most = _USUAL_TILE if settings.context == "tile" else _LARGEST_AUTO_TILE
    affordable = min(most, math.isqrt(memory.footprint.pixels_within(memory.budget)))
    return max(affordable // arch.multiple_of * arch.multiple_of, _least_side(arch, settings.overlap))


def _least_side(arch: Arch, overlap: int) -> int:
    return max(round_up(_SMALLEST_TILE, arch.multiple_of), smallest_tile(overlap, arch.multiple_of))


def _shortage(height: int, width: int, memory: MemoryModel) -> str:
    if memory.bands is None:
        needed, budget = memory.footprint.peak_bytes(height * width), memory.budget
    else:
        needed, budget = memory.bands.peak_bytes(height, width, _LEAST_ROWS), memory.bands_budget
    return f"the whole image takes about {needed / GIB:.1f} GiB, {budget / GIB:.1f} GiB are planned with"


def _check_known(what: str, setting: str, known: tuple[str, ...]) -> None:
    if setting not in known:
        msg = f"unknown {what} {setting!r}"
        raise UsageError(msg, hint=f"use {', '.join(known)}")


def pad_to_multiple(pixels: FloatImage, multiple_of: int, mode: Padding, margin: int = 0) -> FloatImage:
    """Return the image continued to multiples of `multiple_of`; itself, not a copy, where it fits.

    Args:
        pixels: float32 (H, W, C), any size from one pixel.
        multiple_of: Height and width of the result are the next multiples of this.
        mode: "reflect" mirrors about the last pixel, "symmetric" about its outer edge; an image smaller than the
            padding is mirrored again and again.
        margin: Rows and columns to add on each of the four sides, at least; the image begins at (margin, margin).
    """
    height, width = pixels.shape[:2]
    target_height, target_width = padded_size(height, width, multiple_of, margin)
    if (target_height, target_width) == (height, width):
        return pixels
    rows = mirrored_indices(height, target_height, mode, margin)
    columns = mirrored_indices(width, target_width, mode, margin)
    return pixels[rows[:, None], columns[None, :]]


def padded_size(height: int, width: int, multiple_of: int, margin: int = 0) -> tuple[int, int]:
    """Return (height, width) of what `pad_to_multiple` makes of an image."""
    height, width = height + 2 * margin, width + 2 * margin
    return height + -height % multiple_of, width + -width % multiple_of


def mirrored_indices(length: int, target: int, mode: Padding, before: int = 0) -> npt.NDArray[np.intp]:
    """Return which source index each of `target` positions takes, as `numpy.pad` continues at both ends.

    Args:
        length: How many there are.
        target: How many are wanted.
        mode: As in `pad_to_multiple`.
        before: How many of them lie ahead of the first.

    Raises:
        ValueError: If the mode is unknown.
    """
    positions = np.arange(-before, target - before, dtype=np.intp)
    if mode == "reflect":
        period = max(1, 2 * (length - 1))  # a single pixel has nothing to mirror: it is repeated
        phase = positions % period
        return np.minimum(phase, period - phase)
    if mode == "symmetric":
        phase = positions % (2 * length)
        return np.minimum(phase, 2 * length - 1 - phase)
    msg = f"unknown padding {mode!r}; known: reflect, symmetric"
    raise ValueError(msg)

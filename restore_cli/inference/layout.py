"""Whole image or tiles, and how large: decided from the wishes, the network and the memory.

Stage 5, RUN. Integers and words only. The same size, wishes and budget always give the same layout, since tiles of a
network with global channel attention are other pixels than the whole image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import get_args

from restore_cli.errors import UsageError
from restore_cli.inference.footprint import Footprint
from restore_cli.inference.memory import GIB
from restore_cli.models import Arch
from restore_cli.plan import Context, Padding, RunWishes
from restore_cli.tiling.grid import round_up, smallest_tile

# Beyond this side the overlap costs less than 7 % more work, and every tile is one more chance to stop.
_LARGEST_AUTO_TILE = 1024
# What the field's other tools take when they are asked for tiles.
_USUAL_TILE = 256
# Out of memory with less than this is no matter of the tile's size.
_SMALLEST_TILE = 64
_LARGEST_BATCH = 16
# No network here takes more for a pixel; a picture that fits even so is run whole without measuring first.
_CERTAIN_BYTES_PER_PIXEL = 16 * 1024


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one image goes through the network.

    Attributes:
        tile: Side of the square tiles in input pixels; None for the whole image at once.
        batch: Tiles run together.
        demanded: Whether the whole image was asked for, so that tiles must not take its place.
        note: What the user should know of this choice, or None.
    """

    tile: int | None
    batch: int = 1
    demanded: bool = False
    note: str | None = None

    @property
    def context(self) -> Context:
        """Return where channel attention takes its statistics."""
        return "global" if self.tile is None else "tile"


class MemoryModel:
    """What a network takes and what it may take, asked for when first needed and the same from then on.

    Args:
        budget: Returns the bytes its feature maps may take.
        footprint: Returns what it takes.
    """

    def __init__(self, *, budget: Callable[[], int], footprint: Callable[[], Footprint]) -> None:
        self._ask_budget = budget
        self._measure_footprint = footprint

    @cached_property
    def budget(self) -> int:
        """Return the bytes the feature maps may take."""
        return self._ask_budget()

    @cached_property
    def footprint(self) -> Footprint:
        """Return what a run takes."""
        return self._measure_footprint()

    def fits(self, pixels: int) -> bool:
        """Tell whether a run over so many input pixels stays within the budget."""
        certain = pixels * _CERTAIN_BYTES_PER_PIXEL <= self.budget
        return certain or self.footprint.peak_bytes(pixels) <= self.budget


def check_wishes(wishes: RunWishes, arch: Arch) -> None:
    """Refuse wishes that do not exist or contradict themselves, before any work.

    Raises:
        UsageError: What was refused and what can be asked for.
    """
    _check_known("context", wishes.context, ("auto", *get_args(Context)))
    _check_known("padding", wishes.pad, get_args(Padding))
    if wishes.overlap < 0:
        msg = f"an overlap of {wishes.overlap} pixels does not exist"
        raise UsageError(msg, hint="take 0 or more")
    if isinstance(wishes.tile, str):
        _check_known("tile", wishes.tile, ("auto", "off"))
        return
    least = smallest_tile(wishes.overlap, arch.multiple_of)
    if round_up(max(wishes.tile, 1), arch.multiple_of) < least or wishes.tile <= wishes.overlap:
        msg = f"tiles of {wishes.tile} pixels do not advance at an overlap of {wishes.overlap}"
        raise UsageError(msg, hint=f"take --tile {least} or more, or less --overlap")
    if wishes.context == "global" and arch.global_attention:
        msg = "--context global needs the whole image, --tile cuts it"
        raise UsageError(msg, hint="leave one of them out")


def choose_layout(
    height: int, width: int, *, arch: Arch, wishes: RunWishes, memory: MemoryModel, in_batches: bool = False
) -> Layout:
    """Decide how an image goes through the network.

    Args:
        height: Rows of the padded image.
        width: Columns of the padded image.
        arch: What is to be known of the network.
        wishes: Checked by `check_wishes`.
        memory: Asked only where the answer matters.
        in_batches: Whether the device gains from several tiles at once.
    """
    whole_demanded = wishes.tile == "off" or (wishes.context == "global" and arch.global_attention)
    if whole_demanded:
        note = None if memory.fits(height * width) else f"{_shortage(height, width, memory)}; --context tile needs less"
        return Layout(tile=None, demanded=True, note=note)
    if wishes.tile == "auto" and wishes.context != "tile" and memory.fits(height * width):
        return Layout(tile=None)
    side = _tile_side(wishes, arch, memory)
    if side >= max(height, width):
        return Layout(tile=None)
    fitting = memory.footprint.pixels_within(memory.budget) // side**2 if in_batches else 1
    chosen = Layout(tile=side, batch=min(max(1, fitting), _LARGEST_BATCH))
    if arch.global_attention and wishes.tile == "auto" and wishes.context == "auto":
        note = f"{_shortage(height, width, memory)}: in tiles of {side}, each with channel statistics of its own"
        return replace(chosen, note=note)
    return chosen


def smaller_layout(layout: Layout, height: int, width: int, *, arch: Arch, overlap: int) -> Layout | None:
    """Return what to try after memory ran out, or None where nothing smaller is left to try."""
    if layout.demanded:
        return None
    if layout.batch > 1:
        return replace(layout, batch=layout.batch // 2)
    side = layout.tile or max(height, width)
    half = max(round_up(side // 2, arch.multiple_of), _least_side(arch, overlap))
    return Layout(tile=half) if half < side else None


def _tile_side(wishes: RunWishes, arch: Arch, memory: MemoryModel) -> int:
    if isinstance(wishes.tile, int):
        return round_up(wishes.tile, arch.multiple_of)
    most = _USUAL_TILE if wishes.context == "tile" else _LARGEST_AUTO_TILE
    affordable = min(most, math.isqrt(memory.footprint.pixels_within(memory.budget)))
    return max(affordable // arch.multiple_of * arch.multiple_of, _least_side(arch, wishes.overlap))


def _least_side(arch: Arch, overlap: int) -> int:
    return max(round_up(_SMALLEST_TILE, arch.multiple_of), smallest_tile(overlap, arch.multiple_of))


def _shortage(height: int, width: int, memory: MemoryModel) -> str:
    needed = memory.footprint.peak_bytes(height * width) / GIB
    return f"the whole image takes about {needed:.1f} GiB, {memory.budget / GIB:.1f} GiB are planned with"


def _check_known(what: str, wish: str, known: tuple[str, ...]) -> None:
    if wish not in known:
        msg = f"unknown {what} {wish!r}"
        raise UsageError(msg, hint=f"take {', '.join(known)}")

"""Where the tiles of a padded image lie: integers only, no pixels.

Stage 4, CUT. All tiles of an image have one size, so that one compiled shape serves and a batch can be stacked: the
last tile of a row or column is shifted inward until it ends at the border instead of being cut short. Tiles begin at
multiples of `align` (the network's unit), so a tile meets the same attention windows and the same phase of every
downsizing as the whole image would.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle of the padded image, in input pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The tiles along one axis.

    Attributes:
        length: Pixels of the padded image along this axis.
        tile: Pixels of each tile, at most `length`.
        starts: First pixel of each tile, ascending; the last tile ends at `length`.
        overlap: Pixels that regular neighbours share; the last two tiles may share more.
    """

    length: int
    tile: int
    starts: tuple[int, ...]
    overlap: int


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The tiles of one padded image: every vertical start with every horizontal one."""

    vertical: Axis
    horizontal: Axis

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Return all tiles, row by row."""
        return tuple(
            Box(top=top, left=left, height=self.vertical.tile, width=self.horizontal.tile)
            for top in self.vertical.starts
            for left in self.horizontal.starts
        )


def round_up(length: int, multiple_of: int) -> int:
    """Return the smallest multiple of `multiple_of` that is at least `length`."""
    return -(-length // multiple_of) * multiple_of


def smallest_tile(overlap: int, align: int) -> int:
    """Return the smallest tile that advances by at least one unit at this overlap."""
    return round_up(overlap, align) + align


def plan_grid(height: int, width: int, *, tile: int, overlap: int, align: int = 1, even: bool = False) -> Grid:
    """Cover an image of (height, width) with tiles of one size; an axis shorter than that gets one of its own length.

    Args:
        height: Rows of the padded image, a multiple of `align`.
        width: Columns of the padded image, a multiple of `align`.
        tile: Side of a tile, which is square unless `even`; a multiple of `align`.
        overlap: Pixels that neighbours share at least; rounded up to a multiple of `align`.
        align: Tiles begin at multiples of this.
        even: Make tiles smaller, on each axis by itself, as far as their number allows: the last two then share hardly
            more than others do, where up to a whole tile would be computed twice.

    Raises:
        ValueError: If a size is not a positive multiple of `align`, or the tile does not exceed the overlap, so that
            the tiles would not advance.
    """
    for name, value in (("height", height), ("width", width), ("tile", tile)):
        if value <= 0 or value % align:
            msg = f"{name} must be a positive multiple of {align}, not {value}"
            raise ValueError(msg)
    if overlap < 0 or tile < smallest_tile(overlap, align):
        msg = f"a tile of {tile} does not advance at an overlap of {overlap}; it needs {smallest_tile(overlap, align)}"
        raise ValueError(msg)
    shared = round_up(overlap, align)
    sides = [_even_side(length, tile, shared, align) if even else tile for length in (height, width)]
    return Grid(vertical=_axis(height, sides[0], shared), horizontal=_axis(width, sides[1], shared))


def _even_side(length: int, tile: int, overlap: int, align: int) -> int:
    """Return the least side with which no more tiles are needed than with `tile`."""
    count = max(1, -(-(length - overlap) // (tile - overlap)))
    return round_up(-(-(length + (count - 1) * overlap) // count), align)


def _axis(length: int, tile: int, overlap: int) -> Axis:
    if length <= tile:
        return Axis(length=length, tile=length, starts=(0,), overlap=overlap)
    last = length - tile
    return Axis(length=length, tile=tile, starts=(*range(0, last, tile - overlap), last), overlap=overlap)

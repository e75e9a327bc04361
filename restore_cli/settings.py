"""What a person may ask of reading and of the size of results; no Pillow, so that planning can hold it.

Stages 2, 3 and 7.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_PIXELS = 89_500_000


@dataclass(frozen=True, kw_only=True)
class ReadWishes:
    """Say how picture files are read.

    Attributes:
        max_pixels: Refuse pictures with more pixels than this; results may have 16 times as many.
        strict: Refuse what would otherwise cost a warning.
        allow_damaged: Read what there is of a damaged file, with a warning.
    """

    max_pixels: int = MAX_PIXELS
    strict: bool = False
    allow_damaged: bool = False


@dataclass(frozen=True, kw_only=True)
class SizeWishes:
    """Say how large results are to be; None leaves a side to the others, all None to the network.

    Attributes:
        width: Pixels across, at most.
        height: Pixels down, at most.
        long_side: Pixels of the longer side, at most.
    """

    width: int | None = None
    height: int | None = None
    long_side: int | None = None

"""In which form weights are exported, and what came of it; knows no torch.

Stage 2, PLAN, of `restore export`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from restore_cli.weights.entry import WeightsEntry

Form = Literal["safetensors", "pt2", "onnx"]
StoredAs = Literal["float32", "float16", "int8"]

LARGEST_DIFFERENCE = 1e-4
"""A file that gives other pixels than the network, on the scale 0..1, by more than this is refused."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """Say how far results of one size are apart.

    Attributes:
        size: (height, width) of the input in pixels.
        difference: The largest between the file and the network with the file's numbers, on the scale 0..1.
        change: The largest between the file and the network as it was, which rounding its numbers makes; 0..1.
    """

    size: tuple[int, int]
    difference: float
    change: float


@dataclass(frozen=True, kw_only=True)
class Exported:
    """Say what was written.

    Attributes:
        path: The file.
        entry: What it is, with its size and digest.
        checks: What was found at each size; none where no check was asked for.
    """

    path: Path
    entry: WeightsEntry
    checks: tuple[Check, ...] = ()

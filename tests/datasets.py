"""Where the images lie that scores were taken on, below the folder of the development data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Folders:
    """The folders of one dataset; `degraded` may name the {scale}, and is None where inputs are made from the clean."""

    clean: str
    degraded: str | None = None


FOLDERS = {
    "Set5": Folders(clean="test/set5/HR", degraded="test/set5/LR_bicubic/X{scale}"),
    "McMaster": Folders(clean="test/mcmaster"),
    "Set12": Folders(clean="test/set12"),
    "Rain100L, 20 pairs": Folders(clean="test/rain100l/HQ", degraded="test/rain100l/LQ"),
    "val_div2k256": Folders(clean="train/val_div2k256"),
}
# Scores taken while training carry its own protocol's name; `restore eval` does not take them.
EVALUATED = frozenset({"paper", "8bit", "synthetic"})

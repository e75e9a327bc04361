"""Training states on disk: written beside and renamed, so that a kill at any moment leaves the last good one.

The files hold plain dictionaries of tensors, numbers and text and are read back with torch's weights_only loader. They
are not weights to hand on: `restore train export` makes those. This is the only file of training that calls torch.load,
because weights/load.py refuses everything that is not a flat state dict, and rightly so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from restore_cli.errors import StorageError, TrainingError
from restore_cli.storage.files import replacing

FORMAT = 1
LAST, BEST = "last.pt", "best.pt"


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Replace a checkpoint as a whole: what is at `path` is the old or the new one, never a part.

    Raises:
        StorageError: If it cannot be written; the old one stays.
    """
    try:
        with replacing(path) as file:
            torch.save({"format": FORMAT, **content}, file)
    except (StorageError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        reason = error.message if isinstance(error, StorageError) else f"cannot write {path}: {error}"
        raise StorageError(reason, hint="free some space; the last checkpoint stands") from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint into CPU memory.

    Raises:
        TrainingError: If the file is missing, damaged or of another format.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise TrainingError(f"there is no checkpoint {path}") from error
    except Exception as error:  # torch's reader raises whatever a damaged archive makes it stumble over
        raise TrainingError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise TrainingError(f"{path} is no training checkpoint of this version")
    return content

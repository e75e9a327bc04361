"""The manifest entry that a weights file of ours carries in its header.

Stage 2, PLAN: it tells what `--weights FILE` is before anything is loaded, so that a run which finds everything done
needs no torch to know it. `load` writes the entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from restore_cli.errors import ManifestError
from restore_cli.weights.container import recognise, safetensors_header
from restore_cli.weights.content import read_content
from restore_cli.weights.entry import WeightsEntry, entry_from_json
from restore_cli.weights.fields import strict_json

ENTRY_KEY = "restore_entry"
"""Under this key of the header's metadata an entry stands, as JSON."""

_MAX_CONFIG_NUMBER = 1024  # of a config in a file of unknown origin; no network here comes near


def entry_from_file(path: Path) -> WeightsEntry | None:
    """Return the manifest entry that a file of ours carries, None if it carries none.

    Raises:
        WeightsError: If the file cannot be read, is no weights file, or its entry is broken.
    """
    content = read_content(path)
    if recognise(content) != "safetensors":
        return None
    metadata = safetensors_header(content).get("__metadata__")
    text = metadata.get(ENTRY_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        return None
    try:
        entry = entry_from_json(strict_json(text), "its entry")
    except ManifestError as error:
        raise ManifestError(f"{path}: {error.message}", hint=error.hint) from error
    if _largest_number(entry.config) > _MAX_CONFIG_NUMBER:
        raise ManifestError(f"{path}: field 'config' holds a number above {_MAX_CONFIG_NUMBER}")
    return entry


def _largest_number(value: object) -> float:
    if isinstance(value, Mapping):
        return max(map(_largest_number, value.values()), default=0.0)
    if isinstance(value, list):
        return max(map(_largest_number, value), default=0.0)
    return abs(cast("Any", value)) if isinstance(value, int | float) else 0.0

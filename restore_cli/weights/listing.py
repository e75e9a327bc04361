"""Put an entry into a manifest file, whose layout stays as it is.

Used when weights are published, never when they run. The layout is for people who read a diff: a field a line, but
lists of numbers, scores and sources in one line each. Imports no torch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from restore_cli.errors import ManifestError, StorageError
from restore_cli.weights.entry import WeightsEntry, entry_to_json
from restore_cli.weights.manifest import load_manifest, parse_manifest


def put_entry(manifest: Path, entry: WeightsEntry) -> None:
    """Replace the entry of the same id, or add it at the end.

    Args:
        manifest: The file; it appears whole or stays as it was.
        entry: What to list.

    Raises:
        ManifestError: If the file is no manifest, or would be none with this entry in it.
        StorageError: If it cannot be written.
    """
    load_manifest(manifest)
    values = json.loads(manifest.read_bytes())
    entries: list[dict[str, Any]] = values["entries"]
    ids = [listed["id"] for listed in entries]
    if entry.id in ids:
        entries[ids.index(entry.id)] = entry_to_json(entry)
    else:
        entries.append(entry_to_json(entry))
    data = manifest_text(values).encode("ascii")
    try:
        parse_manifest(data)
    except ManifestError as error:
        raise ManifestError(f"{manifest} stays as it was: {error.message}", hint=error.hint) from error
    part = manifest.with_name(f".{manifest.name}.part")
    try:
        part.write_bytes(data)
        part.replace(manifest)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StorageError(f"cannot write the manifest {manifest}: {error.strerror or error}") from error


def manifest_text(values: object) -> str:
    """Lay out a manifest's JSON value as the file has it."""
    return _laid_out(values, 0) + "\n"


def _laid_out(value: object, depth: int) -> str:
    inner, outer = "  " * (depth + 1), "  " * depth
    if isinstance(value, dict) and value:
        rows = [f"{inner}{json.dumps(name)}: {_laid_out(item, depth + 1)}" for name, item in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{outer}}}"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        rows = [inner + (json.dumps(item) if _is_flat(item) else _laid_out(item, depth + 1)) for item in value]
        return "[\n" + ",\n".join(rows) + f"\n{outer}]"
    return json.dumps(value)


def _is_flat(value: object) -> bool:
    return not isinstance(value, dict) or not any(isinstance(item, dict | list) for item in value.values())

"""Put a weights file into the list, and take it out again.

Stage 2, PLAN, of `restore models add` and `remove`. The file is loaded once to see that it is whole, and copied into
the person's own folder byte for byte, so that its digest stays the one that others know it by. What it is comes from
its header, from the list (if its bytes are listed) or from its tensors.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from restore_cli.errors import StorageError, UsageError, WeightsError
from restore_cli.models import OTHERS, get_architecture, mult_adds_a_pixel
from restore_cli.storage.files import replacing
from restore_cli.tasks import get_task
from restore_cli.weights.entry import WeightsEntry, did_you_mean, entry_from_json, entry_to_json
from restore_cli.weights.file import Content, entry_in, read_content, recognise
from restore_cli.weights.foreign import as_id, entry_of_foreign, name_of
from restore_cli.weights.manifest import (
    MANIFEST_NAME,
    load_manifest,
    manifest_text,
    own_folder,
    own_manifest,
    package_manifest,
    parse_manifest,
)


@dataclass(frozen=True, kw_only=True)
class Adding:
    """What a file is to be called, and what is known of it besides.

    Attributes:
        path: The file.
        id: Its weights id, None for the file's name.
        model: The -m name that it shares with others, None for its id.
        task: Command name of what it is for, None where the file tells.
        variant: Special form of the task, None for the plain one.
        licence: Its licence, None where nobody says it.
    """

    path: Path
    id: str | None = None
    model: str | None = None
    task: str | None = None
    variant: str | None = None
    licence: str | None = None


def add_weights(adding: Adding) -> WeightsEntry:
    """Copy a weights file into the person's own folder and list it.

    Raises:
        UsageError: If the name is taken, the file is of no known network, or is for another task than was said.
        WeightsError: If the file cannot be read, is damaged or malicious, or does not fit its network.
        StorageError: If the folder cannot be written.
    """
    from restore_cli.weights.load import load_content

    content = read_content(adding.path)
    entry = _entry(adding, content)
    _require_free(entry)
    config, arch = load_content(entry, content, is_own=True).config, get_architecture(entry.arch)
    entry = replace(entry, mult_adds=mult_adds_a_pixel(arch, config) if arch.restores else None)
    values = _values()
    values.append(entry_to_json(entry))
    data = _checked(values)
    target = _folder() / entry.file
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make {target.parent}: {error.strerror or error}") from error
    with replacing(target) as file:
        file.write(content.data)
    with replacing(target.parent / MANIFEST_NAME) as file:
        file.write(data)
    return entry


def remove_weights(weights_id: str) -> None:
    """Take weights that were added out of the list, also those of a network that is gone, and remove their file.

    Raises:
        UsageError: If none of that id were added.
        StorageError: If the folder cannot be written.
    """
    values = _values()
    kept = [entry for entry in values if entry.get("id") != weights_id]
    if len(kept) == len(values):
        added = ", ".join(str(entry.get("id")) for entry in values) or "none"
        raise UsageError(f"no weights of the id {weights_id!r} were added", hint=f"added are: {added}")
    removed = next(entry for entry in values if entry.get("id") == weights_id)
    with replacing(_folder() / MANIFEST_NAME) as file:
        file.write(_checked(kept))
    name = removed.get("file")
    if not isinstance(name, str) or name != Path(name).name:  # nothing checks an entry that is left out
        return
    path = _folder() / name
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot remove {path}: {error.strerror or error}") from error


def _entry(adding: Adding, content: Content) -> WeightsEntry:
    _require_ids(adding)
    kind = recognise(content)
    found = entry_in(content, kind) or entry_of_foreign(content, task=adding.task)
    if found.arch == OTHERS:
        msg = f"{adding.path} is of a network that only spandrel builds, which no list of weights holds"
        raise UsageError(msg, hint=f"use it as it is: restore {found.task} --weights {adding.path}")
    if adding.task not in (None, found.task):
        raise UsageError(
            f"{adding.path} is for {found.task}, not for {adding.task}", hint="correct --task or leave it out"
        )
    _require_variant(found.task, adding.variant)
    weights_id = adding.id or name_of(adding.path) or found.id
    # As JSON and back, since the licence has not been checked yet.
    said = replace(
        found,
        id=weights_id,
        model=adding.model or weights_id,
        variant=adding.variant or found.variant,
        file=f"{weights_id}.{'safetensors' if kind == 'safetensors' else 'pth'}",
        bytes=len(content.data),
        sha256=content.sha256,
        git_blob_sha1=None,
        trust_on_first_use=False,
        sources=(),
        shared_at=None,
        bundled=False,
        licence=adding.licence or found.licence,
    )
    return entry_from_json(entry_to_json(said), f"entry {weights_id!r}")


def _require_ids(adding: Adding) -> None:
    for option, name in (("--id", adding.id), ("--name", adding.model)):
        if name is not None and name != as_id(name):
            hint = (
                f"write it in small letters, digits and single hyphens{f', such as {as_id(name)}' * bool(as_id(name))}"
            )
            raise UsageError(f"{option} {name!r} cannot be an id", hint=hint)


def _require_variant(task: str, variant: str | None) -> None:
    listed = (entry.variant for entry in load_manifest(package_manifest()).entries if entry.task == task)
    known = sorted({word for word in (*get_task(task).variants, *listed) if word is not None})
    if variant is not None and variant not in known:
        msg = f"{task} has no special form {variant!r}{did_you_mean(variant, known)}"
        raise UsageError(f"{msg} (known: {', '.join(known) or 'none'})", hint="correct --variant or leave it out")


def _require_free(entry: WeightsEntry) -> None:
    listed = load_manifest(package_manifest())
    taken = {*listed.models, *(other.id for other in listed.entries)} & {entry.id, entry.model}
    if taken:
        raise UsageError(f"{taken.pop()!r} is listed already", hint="give it another name with --id")
    if entry.id in {other.get("id") for other in _values()}:
        hint = f"choose another --id, or say `restore models remove {entry.id}` first"
        raise UsageError(f"{entry.id!r} was added already", hint=hint)


def _values() -> list[dict[str, object]]:
    """Return the entries of what was added, as JSON."""
    path = own_manifest()
    if path is None:
        return []
    load_manifest(path)  # which says what is wrong with it
    values: list[dict[str, object]] = json.loads(path.read_bytes())["entries"]
    return values


def _checked(values: list[dict[str, object]]) -> bytes:
    """Return the bytes of a manifest of these entries, after reading them back."""
    data = manifest_text({"schema": 1, "entries": values}).encode("ascii")
    parse_manifest(data, is_own=True)
    return data


def _folder() -> Path:
    folder = own_folder()
    if folder is None:
        raise WeightsError("no home folder to keep weights in", hint="set XDG_DATA_HOME to a folder")
    return folder

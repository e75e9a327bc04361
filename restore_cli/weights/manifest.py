"""The manifest: which weights exist, which of them a request means, and how one is added.

Stage 2, PLAN. weights_manifest.json is data only, one entry a file; it lies inside the package in a wheel and at the
top of a checkout. All of it is checked when it is read, so that what comes after can trust it.
Its layout is for people who read a diff: a field a line, but lists of numbers, scores and sources in one line each.

What a person added to the list lies in a folder of their own, with a manifest beside the files. The folder is the
person's, never the one a command happens to run in: a manifest that came with a downloaded archive lists nothing.
Imports no torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from restore_cli.errors import ManifestError, UsageError, WeightsError
from restore_cli.storage.files import replacing
from restore_cli.weights.entry import (
    Score,
    Source,
    WeightsEntry,
    did_you_mean,
    entry_from_json,
    entry_to_json,
    read_fact,
    require_obtainable,
    strict_json,
)

__all__ = [
    "MANIFEST_NAME",
    "Manifest",
    "Score",
    "Source",
    "WeightsEntry",
    "left_out",
    "list_weights",
    "load_manifest",
    "manifest_text",
    "own_file",
    "own_folder",
    "own_manifest",
    "package_manifest",
    "parse_manifest",
    "put_entry",
]

MANIFEST_NAME = "weights_manifest.json"
_SCHEMA = 1
_MAX_MANIFEST_BYTES = 8 << 20


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All weights that are known, in the manifest's order.

    Attributes:
        entries: Each of them.
        left_out: Why entries that a person added are not among them, a line each.
    """

    entries: tuple[WeightsEntry, ...]
    left_out: tuple[str, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        """Return the -m names, each once, in the manifest's order."""
        return tuple(dict.fromkeys(entry.model for entry in self.entries))

    def get(self, weights_id: str) -> WeightsEntry:
        """Return the entry of a full id.

        Raises:
            UsageError: If there is none; the nearest and the names of models are in the message.
        """
        ids = [entry.id for entry in self.entries]
        if weights_id not in ids:
            raise UsageError(
                f"unknown weights id {weights_id!r}{did_you_mean(weights_id, (*self.models, *ids))} "
                f"(models: {_listed(self.models)}; `restore models list` shows the ids)"
            )
        return self.entries[ids.index(weights_id)]

    def find(
        self,
        name: str,
        *,
        task: str | None = None,
        scale: int | None = None,
        channels: int = 3,
        sigma: float | None = None,
        variant: str | None = None,
    ) -> WeightsEntry:
        """Return the entry that a full id or a model's name means, as far as a program has said what it is for.

        Args:
            name: A full id, or a -m name; where the model has weights for several requests, `task` and `scale` choose.
            task: Command name of the task; None where the name alone decides.
            scale: Factor of super-resolution; None where the name alone decides.
            channels: 1 for gray images, 3 for RGB; as for `sigma` and `variant`, see `select`.
            sigma: Noise level on the 0..255 scale.
            variant: Special form of the task.

        Raises:
            UsageError: If the name is unknown, is for something else, or leaves a choice; what there is is in the
                message.
        """
        offered = [entry for entry in self.entries if entry.model == name] or [self.get(name)]
        served = [
            entry
            for entry in offered
            if (task is None or entry.task == task) and (scale is None or entry.scale == scale)
        ]
        if not served:
            wanted = _phrase(task or offered[0].task, scale or 1)
            raise UsageError(f"{name!r} has no weights for {wanted}; it has {_purposes(offered)}")
        if name not in self.models:
            return served[0]
        requests = {(entry.task, entry.scale) for entry in served}
        if len(requests) > 1:
            msg = f"model {name!r} has weights for {_purposes(served)}"
            raise UsageError(msg, hint=f"say which by task and scale, or name an id: {_listed(e.id for e in served)}")
        ((only_task, only_scale),) = requests
        if variant is None and len({entry.variant for entry in served}) == 1:
            variant = served[0].variant
        return self.select(name, task=only_task, scale=only_scale, channels=channels, sigma=sigma, variant=variant)

    def select(
        self,
        model: str | None = None,
        *,
        task: str,
        scale: int = 1,
        channels: int = 3,
        sigma: float | None = None,
        variant: str | None = None,
    ) -> WeightsEntry:
        """Return the entry that a model name means for a task and its options.

        Gray images go through an RGB network where the model has no gray one. Of networks each trained at one noise
        level the nearest to `sigma` is taken, of two as near the stronger, which leaves no noise behind; else the
        narrowest range that holds it, or the nearest: the caller compares `sigma_range` and says so. Without `sigma`
        it is the widest.

        Args:
            model: A -m name or a full id; None means the bundled weights of the task, the first of several.
            task: Command name of the task.
            scale: Factor of super-resolution, 1 elsewhere.
            channels: 1 for gray images, 3 for RGB.
            sigma: Noise level on the 0..255 scale, None where it is unknown or not the task.
            variant: Special form of the task.

        Raises:
            UsageError: If the model is unknown or has nothing for the request; what there is is in the message.
            WeightsError: If no model is named and nothing is bundled for the request.
        """
        wanted = _Wanted(task=task, scale=scale, channels=channels, variant=variant)
        if model is None:
            served = [entry for entry in self.entries if wanted.is_met_by(entry)]
            found = [entry for entry in served if entry.bundled]
            if not found:
                self._refuse_default(wanted, served)
        elif model in self.models:
            offered = [entry for entry in self.entries if entry.model == model]
            found = [entry for entry in offered if wanted.is_met_by(entry)]
            if not found:
                raise UsageError(f"model {model!r} has no weights for {wanted}; it has {_purposes(offered)}")
        else:
            found = [self._by_id(model, wanted)]
        best_channels = min(found, key=lambda entry: abs(entry.channels - channels)).channels
        found = [entry for entry in found if entry.channels == best_channels]
        return min(found, key=lambda entry: _misfit(entry, sigma))

    def _by_id(self, weights_id: str, wanted: _Wanted) -> WeightsEntry:
        for entry in self.entries:
            if entry.id == weights_id:
                if wanted.is_met_by(entry):
                    return entry
                raise UsageError(f"weights {weights_id!r} are for {_purpose(entry)}, not for {wanted}")
        hint = did_you_mean(weights_id, {*self.models, *(entry.id for entry in self.entries)})
        msg = f"unknown model {weights_id!r}{hint} (known: {_listed(self.models)}, or an id of `restore models list`)"
        raise UsageError(msg)

    def _refuse_default(self, wanted: _Wanted, served: Sequence[WeightsEntry]) -> NoReturn:
        models = dict.fromkeys(entry.model for entry in served)
        if not models:
            offered = [entry for entry in self.entries if entry.task == wanted.task]
            raise UsageError(
                f"no weights are known for {wanted}; there are {_purposes(offered) or 'none for the task'}"
            )
        msg = f"no weights are bundled for {wanted}"
        raise WeightsError(msg, hint=f"name a model to fetch with -m: {_listed(models)}")


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """What a request asks of an entry, noise aside."""

    task: str
    scale: int
    channels: int
    variant: str | None

    def is_met_by(self, entry: WeightsEntry) -> bool:
        """Return whether an entry serves the request; a gray network cannot restore colour."""
        same = (entry.task, entry.scale, entry.variant) == (self.task, self.scale, self.variant)
        return same and entry.channels >= self.channels

    def __str__(self) -> str:
        gray = "gray" if self.channels == 1 else None
        return _phrase(self.task, self.scale, self.variant, gray)


@dataclass(frozen=True, kw_only=True)
class _Top:
    """The manifest's own object."""

    schema: int
    entries: list[Any]


def load_manifest(path: Path | None = None) -> Manifest:
    """Read and check the manifest.

    Args:
        path: The file; None means the one that comes with the package, and with it what a person added.

    Raises:
        ManifestError: If it cannot be read or breaks its schema; file, entry and field are in the message.
    """
    if path is None:
        listed, own = _read(package_manifest()), own_manifest()
        return listed if own is None else _joined(_read(own, is_own=True), listed)
    return _read(path, is_own=path == own_manifest())


def left_out() -> tuple[str, ...]:
    """Return what a person should know of entries that were added and cannot be used now, a line each.

    Raises:
        ManifestError: If the list of what was added cannot be read.
    """
    own = own_manifest()
    reasons = () if own is None else _read(own, is_own=True).left_out
    hint = "the entry is left out; correct it, or take it out with `restore models remove`"
    return tuple(f"{own}: {reason}; {hint}" for reason in reasons)


def _read(path: Path, *, is_own: bool = False) -> Manifest:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise ManifestError(f"cannot read the manifest {path}: {error.strerror or error}") from error
    if len(data) > _MAX_MANIFEST_BYTES:
        raise ManifestError(f"{path}: larger than {_MAX_MANIFEST_BYTES >> 20} MiB, which no manifest is")
    try:
        return parse_manifest(data, is_own=is_own)
    except ManifestError as error:
        hint = "correct it, or move it away" if is_own else error.hint
        raise ManifestError(f"{path}: {error.message}", hint=hint) from error


def _joined(own: Manifest, listed: Manifest) -> Manifest:
    """Return both lists; a name that was added means the same for ever, even where ours has it one day."""
    taken = {*own.models, *(entry.id for entry in own.entries)}
    ours = (entry for entry in listed.entries if not {entry.id, entry.model} & taken)
    return replace(own, entries=(*ours, *own.entries))


def list_weights() -> tuple[WeightsEntry, ...]:
    """Return all weights that are known, whether they are on this machine or not.

    Example:
        >>> from restore_cli import list_weights
        >>> [entry.id for entry in list_weights() if entry.task == "sr" and entry.model == "ramit"]
        ['ramit-sr-x2', 'ramit-sr-x3', 'ramit-sr-x4']
    """
    return load_manifest().entries


def package_manifest() -> Path:
    """Return the manifest that comes with the package, or lies at the top of a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / MANIFEST_NAME
    return inside if inside.is_file() else package.parent / MANIFEST_NAME


def parse_manifest(data: bytes, *, is_own: bool = False) -> Manifest:
    """Check the bytes of a manifest and return what they say.

    Args:
        data: The bytes.
        is_own: They list files that a person added, which come from nowhere; an entry that cannot be used, as of a
            network whose package was removed, is left out, and the others stay.

    Raises:
        ManifestError: If they break the schema; entry and field are in the message.
    """
    top = read_fact(_Top, strict_json(data), "the manifest")
    if top.schema != _SCHEMA:
        raise ManifestError(f"the manifest: field 'schema' is {top.schema}; this version reads {_SCHEMA}")
    entries, unusable = [], []
    for index, values in enumerate(top.entries):
        try:
            entries.append(_listed_entry(values, f"entry {index}", is_own=is_own))
        except ManifestError as error:
            if not (is_own and isinstance(values, dict)):
                raise
            unusable.append(error.message)
    _require_distinct(entries)
    return Manifest(entries=tuple(entries), left_out=tuple(unusable))


def _listed_entry(values: object, where: str, *, is_own: bool) -> WeightsEntry:
    entry = entry_from_json(values, where)
    if not is_own:
        require_obtainable(entry)
    elif entry.sha256 is None:
        raise ManifestError(f"entry {entry.id!r}: field 'sha256' is missing")
    return entry


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
    with replacing(manifest) as file:
        file.write(data)


def manifest_text(values: object) -> str:
    """Lay out a manifest's JSON value as the file has it."""
    return _laid_out(values, 0) + "\n"


def _require_distinct(entries: Iterable[WeightsEntry]) -> None:
    """Refuse entries that share an id, a file name, or all that `select` tells them apart by.

    Only bundled entries of the same bytes may name one file: a network that serves two tasks.
    """
    entries = tuple(entries)
    by_id = {entry.id: entry for entry in entries}
    seen: dict[tuple[str, object], str] = {}
    for entry in entries:
        if any(other.model == entry.id for other in entries if other is not entry):
            raise ManifestError(f"entry {entry.id!r}: field 'id' is the name of a model too")
        request = (entry.model, entry.task, entry.scale, entry.channels, entry.sigma_range, entry.variant)
        for name, key in (("id", entry.id), ("file", entry.file.lower()), ("model", request)):
            if (name, key) in seen and not (name == "file" and _is_one_file(entry, by_id[seen[name, key]])):
                what = "serves the same request as" if name == "model" else "is the same as that of"
                raise ManifestError(f"entry {entry.id!r}: field {name!r} {what} entry {seen[name, key]!r}")
            seen[name, key] = entry.id


def _is_one_file(one: WeightsEntry, other: WeightsEntry) -> bool:
    return one.bundled and other.bundled and (one.file, one.sha256) == (other.file, other.sha256)


def _misfit(entry: WeightsEntry, sigma: float | None) -> tuple[float, float, float]:
    """Return whether an entry is for a range, how far a level is from it, and its width; smaller is better."""
    low, high = entry.sigma_range or (0.0, 255.0)
    if sigma is None:
        return 0.0, 0.0, low - high
    if low == high:
        return 0.0, abs(sigma - low), -low
    return 1.0, max(low - sigma, sigma - high, 0.0), high - low


def _phrase(task: str, scale: int, *details: str | None) -> str:
    factor = f"x{scale}" if scale > 1 else None
    return " ".join(word for word in (task, factor, *details) if word)


def _purpose(entry: WeightsEntry) -> str:
    gray = "gray" if entry.channels == 1 else None
    return _phrase(entry.task, entry.scale, entry.variant, gray)


def _purposes(entries: Iterable[WeightsEntry]) -> str:
    return _listed(dict.fromkeys(_purpose(entry) for entry in entries))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


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


def own_folder() -> Path | None:
    """Return the folder: XDG_DATA_HOME/restore-cli, else ~/.local/share/restore-cli; it may not exist.

    None where there is neither XDG_DATA_HOME nor a home.
    """
    base = Path(os.environ.get("XDG_DATA_HOME", ""))
    if base.is_absolute():  # the rule of XDG: a relative one does not count
        return base / "restore-cli"
    try:
        return Path.home() / ".local" / "share" / "restore-cli"
    except RuntimeError:
        return None


def own_manifest() -> Path | None:
    """Return the manifest of what was added, None where nothing was."""
    folder = own_folder()
    return folder / MANIFEST_NAME if folder is not None and (folder / MANIFEST_NAME).is_file() else None


def own_file(entry: WeightsEntry) -> Path | None:
    """Return where the file of an entry that was added lies, None for any other entry; it may be gone."""
    folder = own_folder()
    is_own = not (entry.bundled or entry.sources or entry.shared_at)
    return folder / entry.file if folder is not None and is_own else None

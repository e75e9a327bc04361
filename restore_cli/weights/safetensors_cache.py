"""Copies of large pickled checkpoints as .safetensors, so that the next start is fast and opens no pickle.

Stage 5, RUN, between `store` (where the original lies) and `load` (which makes and reads both). A copy is kept in the
cache once its original was verified and loaded, and is bound to it by a record: the entry, the original's digest and
identity on the disk (a write changes it), and the copy's own digest. Where any of these differs the original is read
again, so that neither a changed original nor a changed copy is ever run. A cache that cannot be written costs the copy
and nothing else. Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

from restore_cli._version import __version__
from restore_cli.errors import StorageError, WeightsError
from restore_cli.storage.files import remove_unfinished, replacing
from restore_cli.weights import store
from restore_cli.weights.entry import WeightsEntry, entry_to_json
from restore_cli.weights.file import Content, read_content

WORTHWHILE_BYTES = 16 << 20
"""Smaller originals load in no time, and copies of them would only fill the cache."""

# File systems tell two writes apart that are at least this far from each other.
_CLOCK_GRAIN_NS = 100_000_000

Identity = tuple[int, int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A copy that may stand for its original.

    Attributes:
        content: Its bytes, of the recorded digest.
        sha256: The original's digest in hexadecimal.
    """

    content: Content
    sha256: str


def identity_of(path: Path) -> Identity | None:
    """Return what tells a file on the disk from others and from itself after a write; None where it cannot be told."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def find_copy(entry: WeightsEntry, original: Path) -> Copy | None:
    """Return the copy of an entry's file as it lies there, None where there is none that may be used."""
    try:
        record = json.loads(_record_of(entry).read_text(encoding="ascii"))
        held_to = store.recorded_digest(entry) if entry.trust_on_first_use else record["original"]
        expected = {**_facts(entry), "identity": list(identity_of(original) or ()), "original": held_to}
        if any(record[name] != value for name, value in expected.items()):
            return None
        content = read_content(_copy_of(entry))
    except (OSError, ValueError, KeyError, TypeError, WeightsError):
        return None
    return Copy(content=content, sha256=record["original"]) if content.sha256 == record["copy"] else None


def keep_copy(entry: WeightsEntry, original: Content, identity: Identity | None, data: bytes) -> bool:
    """Keep a copy of a verified original; return whether that was possible.

    Args:
        entry: Whose file it is.
        original: The bytes that were verified.
        identity: The original's identity before they were read; without one nothing is kept.
        data: The copy, a .safetensors file.
    """
    if identity is None or identity != identity_of(original.path):
        return False
    if time.time_ns() - max(identity[-2:]) < _CLOCK_GRAIN_NS:
        return False  # a write in this very moment would not show
    record = {
        **_facts(entry),
        "identity": list(identity),
        "original": original.sha256,
        "copy": hashlib.sha256(data).hexdigest(),
    }
    try:
        _record_of(entry).unlink(missing_ok=True)
        _write(_copy_of(entry), data)
        _write(_record_of(entry), json.dumps(record).encode("ascii"))
    except (OSError, StorageError, WeightsError):
        return False
    return True


def _facts(entry: WeightsEntry) -> dict[str, str]:
    """Return what a copy depends on besides its original."""
    text = json.dumps(entry_to_json(entry), sort_keys=True, default=str)
    return {"version": __version__, "entry": hashlib.sha256(text.encode()).hexdigest()}


def _copy_of(entry: WeightsEntry) -> Path:
    return store.cache_dir() / "copies" / f"{entry.id}.safetensors"


def _record_of(entry: WeightsEntry) -> Path:
    return _copy_of(entry).with_suffix(".json")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(path.parent)
    with replacing(path) as file:
        file.write(data)

"""Where weights files lie and how they get there.

Stage 5, RUN, between `manifest` and `load`. A file is looked for in the package, in RESTORE_WEIGHTS_DIR, in the cache
and in the Hub's cache, and fetched only when a command asks for it; one that a person added lies in their own folder.
Nothing is put under its final name before its digest was right. Two processes that want the same file at once wait for
each other. Imports no torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal
from urllib.parse import unquote, urlsplit

from restore_cli.errors import DecodeError, DigestError, DownloadError, StorageError, WeightsError
from restore_cli.storage.buckets import read_object
from restore_cli.storage.files import is_in_bucket, replace_with, replacing
from restore_cli.storage.web import Patience
from restore_cli.weights import download
from restore_cli.weights.download import Progress
from restore_cli.weights.entry import MAX_WEIGHTS_BYTES, Source, WeightsEntry
from restore_cli.weights.file import Content, read_content, recognise
from restore_cli.weights.manifest import own_file

__all__ = [
    "Found",
    "Patience",
    "Place",
    "Progress",
    "Verified",
    "cache_dir",
    "check",
    "discard",
    "fetch",
    "fetch_own",
    "find",
    "locate",
    "record_first_use",
    "recorded_digest",
    "verify",
]

Place = Literal["bundled", "own", "folder", "cache", "hub"]

_BUNDLED = Path(__file__).parent / "bundled"
_TRUE = {"1", "on", "yes", "true"}


@dataclass(frozen=True, kw_only=True)
class Found:
    """A file at hand and where: in the package, the person's own, in RESTORE_WEIGHTS_DIR, in our cache or the Hub's."""

    path: Path
    place: Place


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A file whose bytes are those that the entry names.

    Attributes:
        digest: "sha256:" and the hexadecimal digest.
        note: What a person should be told (a digest recorded just now), None for nothing.
    """

    digest: str
    note: str | None


def cache_dir() -> Path:
    """Return the folder of fetched files: XDG_CACHE_HOME/restore-cli, else ~/.cache/restore-cli; it may not exist.

    Raises:
        WeightsError: If there is neither XDG_CACHE_HOME nor a home.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():  # the rule of XDG: a relative one does not count
        return base / "restore-cli"
    try:
        return Path.home() / ".cache" / "restore-cli"
    except RuntimeError as error:
        msg = "no home folder to keep weights in"
        raise WeightsError(
            msg, hint="set XDG_CACHE_HOME to a folder, or RESTORE_WEIGHTS_DIR to one that has them"
        ) from error


def find(entry: WeightsEntry) -> Found | None:
    """Look for the file of an entry on this machine; its digest is not looked at.

    Raises:
        WeightsError: If RESTORE_WEIGHTS_DIR is set to something that is no folder.
    """
    if entry.bundled and (path := _BUNDLED / entry.file).is_file():
        return Found(path=path, place="bundled")
    if (own := own_file(entry)) is not None and own.is_file():
        return Found(path=own, place="own")
    if (laid := _find_below(_weights_dir(), entry.file)) is not None:
        return Found(path=laid, place="folder")
    with contextlib.suppress(WeightsError):  # without a home there is no cache to look in
        if (path := cache_dir() / entry.file).is_file():
            return Found(path=path, place="cache")
    for source in entry.sources:
        if source.kind == "huggingface" and (kept := download.cached_by_hub(source)) is not None:
            return Found(path=kept, place="hub")
    return None


def locate(entry: WeightsEntry) -> Path | None:
    """Return the file of an entry on this machine, None where it is not; its digest is not looked at.

    Raises:
        WeightsError: If RESTORE_WEIGHTS_DIR is set to something that is no folder.
    """
    found = find(entry)
    return None if found is None else found.path


def fetch(
    entry: WeightsEntry, *, offline: bool = False, progress: Progress | None = None, patience: Patience | None = None
) -> Path:
    """Return the file of an entry, from this machine or else from its sources in turn.

    A file that was fetched has the right digest; one that was there is not looked at: `load` checks at each load.

    Args:
        entry: Whose file.
        offline: Never touch the network; HF_HUB_OFFLINE=1 says the same.
        progress: Called with how far a download is.
        patience: How long to wait for servers.

    Raises:
        WeightsError: If it is not at hand and cannot be fetched; what to do is in the message.
    """
    found = locate(entry)
    if found is not None:
        return found
    if entry.shared_at is not None:
        msg = f"{entry.file} of {entry.id} cannot be fetched: its authors share it by hand"
        raise WeightsError(msg, hint=f"download it from {entry.shared_at} and give it with --weights PATH")
    if not entry.sources and (own := own_file(entry)) is not None:
        hint = f"add it again after `restore models remove {entry.id}`"
        raise WeightsError(f"{own}, the file of {entry.id} that was added, is gone", hint=hint)
    if not entry.sources:
        msg = f"the file {entry.file} of {entry.id} is missing from this installation"
        raise WeightsError(msg, hint="install restore-cli again")
    hint = f"fetch {entry.sources[0]} yourself and lay it into a folder that RESTORE_WEIGHTS_DIR names"
    if offline or os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in _TRUE:
        msg = f"{entry.file} of {entry.id} is not on this machine, and --offline or HF_HUB_OFFLINE forbids to fetch it"
        raise WeightsError(msg, hint=hint)
    faults: list[WeightsError] = []
    for source in entry.sources:
        try:
            if source.kind == "huggingface":
                return _fetch_from_hub(entry, source, progress, patience)
            return _fetch_over_https(entry, source, progress, patience)
        except (DownloadError, DigestError) as error:
            faults.append(error)
    raise type(faults[-1])(" | ".join(fault.message for fault in faults), hint=hint)


def fetch_own(url: str, *, offline: bool = False, progress: Progress | None = None) -> Path:
    """Return a person's own weights file that lies at an address, fetched anew each time.

    Args:
        url: https address, or an object in a bucket.
        offline: Never touch the network: the file that was fetched last.
        progress: Called with how far a download is.

    Raises:
        WeightsError: If it cannot be fetched, or is no weights file; none of it stays then.
        StorageError: If its bucket cannot be read.
    """
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    target = cache_dir() / "addresses" / hashlib.sha256(url.encode()).hexdigest()[:16] / (name or "weights")
    if offline:
        if not target.is_file():
            raise WeightsError(f"{url} was not fetched before, and --offline forbids it now")
        return target
    with _alone(target):
        part = target.with_name(f".{target.name}.part")
        if is_in_bucket(url):
            with _cache_faults(part):
                try:
                    part.write_bytes(read_object(url, MAX_WEIGHTS_BYTES)[0])
                except DecodeError as error:
                    raise DownloadError(error.message, hint=error.hint) from error
        else:
            download.download(url, part, size=None, resume=False, progress=progress)
        try:
            recognise(read_content(part))
        except WeightsError as error:  # a gigabyte that is none would stay for good
            part.unlink(missing_ok=True)
            raise WeightsError(error.message.replace(str(part), url), hint=error.hint) from error
        with _cache_faults(target):
            replace_with(target, part)
    return target


def verify(entry: WeightsEntry, path: Path) -> Verified:
    """Compare a file with what the entry says of its bytes; where it says nothing, at least see that it is weights.

    Raises:
        DigestError: If they differ.
        WeightsError: If the file cannot be read, or is no weights file.
    """
    content = read_content(path)
    check(entry, content)
    note = None
    if entry.trust_on_first_use and recorded_digest(entry) is None:
        recognise(content)
        note = f"no digest of {entry.file} is published: the first load that succeeds records it"
    return Verified(digest=f"sha256:{content.sha256}", note=note)


def check(entry: WeightsEntry, content: Content) -> None:
    """Compare bytes with what the entry, or the record of its first use, says of them.

    Raises:
        DigestError: If they differ.
    """
    fault = _difference(entry, content)
    if fault is not None:
        hint = (
            f"fetch it anew with `restore models pull {entry.id}`, or run it as your own with --weights {content.path}"
        )
        if entry.trust_on_first_use:
            hint += f"; to trust another file from now on, remove {_record_of(entry)}"
        raise DigestError(f"{content.path} is not the file of {entry.id}: {fault}", hint=hint)


def record_first_use(entry: WeightsEntry, content: Content) -> str | None:
    """Record the digest of bytes that a network was just loaded from, where none is published or recorded.

    Returns:
        A note for the person when it was recorded now, else None.

    Raises:
        WeightsError: If the record cannot be written.
    """
    if not entry.trust_on_first_use or recorded_digest(entry) is not None:
        return None
    record = _record_of(entry)
    with _cache_faults(record):
        record.parent.mkdir(parents=True, exist_ok=True)
        with replacing(record) as file:
            file.write(f"{content.sha256}  {entry.file}\n".encode("ascii"))
    return (
        f"no digest of {entry.file} is published: sha256:{content.sha256} is recorded and held to from now on "
        f"(remove {record} to forget it)"
    )


def discard(entry: WeightsEntry) -> bool:
    """Remove the entry's file from our cache or the Hub's, so that it is fetched anew; return whether there was one.

    Files of the package, of the person and of RESTORE_WEIGHTS_DIR are not ours to remove.
    """
    found = find(entry)
    if found is None or found.place in {"bundled", "own", "folder"}:
        return False
    if found.place == "hub":
        download.forget_in_hub(found.path)
    else:
        found.path.unlink(missing_ok=True)
    return True


def _weights_dir() -> Path | None:
    value = os.environ.get("RESTORE_WEIGHTS_DIR")
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise WeightsError(f"RESTORE_WEIGHTS_DIR is set to {value}, which is no folder", hint="correct or unset it")
    return folder


def _find_below(folder: Path | None, name: str) -> Path | None:
    """Return the file of that name that lies least deep, the first by name of several."""
    if folder is None:
        return None
    hits = [Path(root, name) for root, _, files in os.walk(folder) if name in files]
    hits = [hit for hit in hits if hit.is_file()]  # not a FIFO or a broken link of that name
    return min(hits, key=lambda hit: (len(hit.parts), str(hit)), default=None)


def _fetch_over_https(
    entry: WeightsEntry, source: Source, progress: Progress | None, patience: Patience | None
) -> Path:
    target = cache_dir() / entry.file
    with _alone(target) as is_alone:
        if target.is_file():  # another process was faster
            return target
        name = entry.file if is_alone else f"{entry.file}.{secrets.token_hex(8)}"
        part = target.with_name(f".{name}.part")
        # Pieces are joined only where a digest will tell whether they belong together.
        for resume in (is_alone and not entry.trust_on_first_use, False):
            joined = download.download(
                str(source), part, size=entry.bytes, resume=resume, progress=progress, patience=patience
            )
            fault = _fault_of(entry, part)
            if fault is None:
                with _cache_faults(target):
                    replace_with(target, part)
                return target
            part.unlink(missing_ok=True)
            if not joined:  # else the pieces may be of two files: once more, from the start
                break
    raise DigestError(f"{source} is not the published file: {fault}")


def _fetch_from_hub(entry: WeightsEntry, source: Source, progress: Progress | None, patience: Patience | None) -> Path:
    for anew in (False, True):  # a file joined from an earlier, cut download may be of two: once more, from the start
        path = download.download_from_hub(source, progress=progress, anew=anew, patience=patience)
        fault = _fault_of(entry, path)
        if fault is None:
            return path
        download.forget_in_hub(path)
    raise DigestError(f"{source} is not the published file: {fault}")


def _fault_of(entry: WeightsEntry, path: Path) -> str | None:
    try:
        content = read_content(path)
        if entry.trust_on_first_use:  # nothing else would notice a web page
            recognise(content)
    except WeightsError as error:
        return error.message
    return _difference(entry, content)


def _difference(entry: WeightsEntry, content: Content) -> str | None:
    """Return how bytes differ from what the entry, or its record of the first use, says; None for not at all."""
    facts: list[tuple[str, object, object]] = [
        ("size", len(content.data), entry.bytes),
        ("sha256", content.sha256, entry.sha256),
    ]
    if entry.git_blob_sha1 is not None:
        facts.append(("git blob", content.git_blob_sha1, entry.git_blob_sha1))
    for name, found, published in facts:
        if published is not None and found != published:
            return f"its {name} is {found}, published is {published}"
    recorded = recorded_digest(entry) if entry.trust_on_first_use else None
    if recorded is not None and content.sha256 != recorded:
        return f"its sha256 is {content.sha256}, at its first use it was {recorded}"
    return None


def _record_of(entry: WeightsEntry) -> Path:
    return cache_dir() / f"{entry.id}.sha256"


def recorded_digest(entry: WeightsEntry) -> str | None:
    """Return the SHA-256 that was recorded at the first use of an entry's file, None where none was.

    Raises:
        WeightsError: If the record cannot be read.
    """
    try:
        return _record_of(entry).read_text(encoding="ascii").split()[0]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, IndexError) as error:
        raise WeightsError(f"the recorded digest {_record_of(entry)} cannot be read", hint="remove it") from error


@contextlib.contextmanager
def _cache_faults(path: Path) -> Iterator[None]:
    """Turn trouble with the cache's disk into an error that names the file and another place."""
    try:
        yield
    except (OSError, StorageError) as error:
        msg = f"cannot write {path}: {error.strerror or error}" if isinstance(error, OSError) else error.message
        raise WeightsError(msg, hint="make room, or choose another cache with XDG_CACHE_HOME") from error


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[bool]:
    """Wait until no other process fetches `target`; return whether the system has a way to make sure of that.

    Where it has none (Windows, some network drives) each process fetches on its own and the last rename wins; all of
    them are whole.
    """
    with _cache_faults(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = target.with_name(f".{target.name}.lock").open("a")
    with lock:
        yield _lock(lock)


def _lock(file: IO[str]) -> bool:
    """Wait for the lock on an open file, which ends with it; return whether there are locks here."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        return False
    return True

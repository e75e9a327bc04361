"""The ledger: what was written into a folder, from what and how, one line of JSON a result.

Stages 2, PLAN (what is done already?) and 7, WRITE. That a file exists proves nothing: it may be another program's, of
other weights, or of an image that has changed since. So each result leaves a line with the digests of all it depends
on and of its own bytes, and `--resume` passes over an image only where all of them are found again, the output's own
by reading it anew. Sizes and times are not asked instead: they can be set, they are coarse on some file systems, and
reading a file back costs next to nothing beside restoring it.

The line is written before its file gets its name. A kill in between leaves a line whose output is not there, which
proves nothing and is redone; the other order would leave a result that nobody vouches for.

Several processes may work on one folder. Each line is one write to the end of the file, and who works on an image
holds a lock on a byte of the ledger that stands for it: the system itself drops the locks of a process that dies, so
there is nothing to clean up.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

from restore_cli.errors import StorageError
from restore_cli.jobs.prints import Prints

try:
    import fcntl
except ImportError:  # Windows: processes on one folder may do an image twice there, with the same result
    _HAS_LOCKS = False
else:
    _HAS_LOCKS = True

LEDGER_NAME = ".restore-ledger.jsonl"

_LINE_START = b'{"ledger": 1, '
_fields_of = itemgetter("target", "input", "weights", "options", "version", "output")
_DIGEST_PREFIX = "sha256:"
_READ_BYTES = 1 << 20
_FILE_MODE = 0o666  # what the umask leaves of it, as for any new file
_WITHOUT_WAITING = os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_SAFELY = _WITHOUT_WAITING | getattr(os, "O_NOFOLLOW", 0)
# Names of images are spread over offsets that any file system takes; two that meet only wait for each other.
_LOCK_BYTES = 6
# A file system without locks answers otherwise; there processes do without claims.
_HELD_BY_ANOTHER = {errno.EACCES, errno.EAGAIN}


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a result depends on besides its input.

    Attributes:
        weights: Digest of the weights file.
        options: Digest of all options that shape a result.
        version: Of this program.
        steps: What each step of a chain does and with which weights, for people to read; its digests stand above.
    """

    weights: str
    options: str
    version: str
    steps: tuple[str, ...] = field(default=(), compare=False)


class Ledger:
    """The ledger of one folder; safe to use from several threads and by several processes.

    Args:
        folder: Where results go; names in the ledger are relative to it. It need not exist.

    """

    def __init__(self, folder: Path) -> None:
        self._prefix = f"{folder}/" if folder.name else str(folder)
        self._path = folder / LEDGER_NAME
        self._known = Prints()  # names of results
        self._proved = Prints()  # results: their names, inputs, what they were made with, and their own digests
        self._read_to = 0
        # One descriptor for all: closing any second one of the same file would drop every lock of the process.
        self._descriptor: int | None = None
        self._claims: set[str] = set()
        self._lock = threading.Lock()

    def name_of(self, target: Path | str) -> str:
        """Return what a target below the folder is called in the ledger."""
        return str(target).removeprefix(self._prefix)

    def read(self) -> None:
        """Take in what was written since the last time, by whomever.

        Raises:
            StorageError: If there is a ledger and it cannot be read.
        """
        with self._lock, self._faults("read"), self._open(write=False) as descriptor:
            if descriptor is not None:
                self._read_on(descriptor)

    def outcomes(self) -> Iterator[tuple[str, str | None]]:
        """Yield what each line says: the name of a result, and why it failed or None if it was written.

        Raises:
            StorageError: If there is a ledger and it cannot be read.
        """
        with self._lock, self._faults("read"), self._open(write=False) as descriptor:
            if descriptor is None:
                return
            with open(descriptor, "rb", closefd=False) as file:
                for line in file:
                    for line_json in _parsed([line.rstrip(b"\n")]):
                        name = line_json.get("target") if isinstance(line_json, dict) else None
                        if isinstance(name, str) and ("output" in line_json or "failed" in line_json):
                            yield name, None if "output" in line_json else str(line_json["failed"])

    def knows(self, target: Path | str) -> bool:
        """Return whether a file was ever written as `target`."""
        name = self.name_of(target)
        with self._lock:
            return name in self._known

    def proves(
        self, target: Path | str, origins: Collection[Origin], input_digest: str, *, in_place: bool = False
    ) -> bool:
        """Return whether the file at `target` is what an origin makes of the input: if all digests are found again.

        Args:
            target: The result.
            origins: One of these it should have been made with.
            input_digest: Digest of the source as it is now.
            in_place: The target is the source itself; its input is gone, and its own bytes prove that it is done.
        """
        output = input_digest if in_place else digest_of_file(target)
        given = None if in_place else input_digest
        name = self.name_of(target)
        with self._lock:
            return any(
                (name, given, (origin.weights, origin.options, origin.version, output)) in self._proved
                for origin in origins
            )

    def claim(self, target: Path, *, create: bool) -> bool:
        """Take an image for this process, unless another living one has it.

        Args:
            target: Where its result goes.
            create: Begin a ledger where there is none, so that others see the claim. Else a claim needs no lock there.

        Raises:
            StorageError: If the ledger cannot be opened.
        """
        name = self.name_of(target)
        with self._lock, self._faults("written"), self._open(create=create) as descriptor:
            if descriptor is None:
                return True
            try:
                if _HAS_LOCKS:
                    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _place_of(name))
            except OSError as error:
                if error.errno in _HELD_BY_ANOTHER:
                    return False
            self._claims.add(name)
            return True

    def release(self, target: Path) -> None:
        """Let go of a claim, if there is one."""
        name = self.name_of(target)
        with self._lock, self._faults("written"):
            if name not in self._claims:
                return
            with self._open() as descriptor:
                self._claims.remove(name)
                if _HAS_LOCKS and descriptor is not None:
                    fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, _place_of(name))

    def add(self, target: Path, origin: Origin, *, input_digest: str, output_digest: str, sync: bool = False) -> None:
        """Write down a result that is about to get its name.

        Args:
            target: The name.
            origin: What it was made with.
            input_digest: Digest of the source's bytes.
            output_digest: Digest of the result's bytes.
            sync: See the line on the disk before returning.

        Raises:
            StorageError: If it cannot be written.
        """
        record = {
            "target": self.name_of(target),
            "input": input_digest,
            "weights": origin.weights,
            "options": origin.options,
            "version": origin.version,
            "output": output_digest,
            **({"steps": origin.steps} if origin.steps else {}),
        }
        self._append(record, sync=sync)

    def add_failure(self, target: Path, error: str, *, input_digest: str) -> None:
        """Write down that an image failed; it proves nothing, and the image is tried again by the next run.

        Args:
            target: Where its result would have gone.
            error: Why it failed.
            input_digest: Digest of the source's bytes, "" where they could not be read.

        Raises:
            StorageError: If it cannot be written.
        """
        self._append({"target": self.name_of(target), "input": input_digest, "failed": error}, sync=False)

    def _append(self, record: dict[str, Any], *, sync: bool) -> None:
        line = _LINE_START + json.dumps(record)[1:].encode("ascii") + b"\n"
        with self._lock, self._faults("written"), self._open(create=True) as descriptor:
            if descriptor is None or os.write(descriptor, from_a_new_line(descriptor, line)) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if sync:
                os.fsync(descriptor)

    def _read_on(self, descriptor: int) -> None:
        if os.fstat(descriptor).st_size < self._read_to:  # somebody put another file in its place
            self._read_to = 0
            self._known, self._proved = Prints(), Prints()
        os.lseek(descriptor, self._read_to, os.SEEK_SET)
        rest = b""
        while chunk := os.read(descriptor, _READ_BYTES):
            *lines, tail = (rest + chunk).split(b"\n")
            self._read_to += len(rest) + len(chunk) - len(tail)
            rest = tail
            for line_json in _parsed(lines):
                self._take_in(line_json)

    def _take_in(self, line_json: Any) -> None:
        """Remember one line; what is no record of ours is passed over, since it can prove nothing."""
        try:
            name, given, weights, options, version, output = _fields_of(line_json)
            made_with = weights, options, version, output
            self._proved.note((name, given, made_with))
            self._proved.note((name, None, made_with))
            self._known.note(name)
        except (KeyError, TypeError):
            return

    @contextlib.contextmanager
    def _open(self, *, write: bool = True, create: bool = False) -> Iterator[int | None]:
        """Yield the descriptor, None if there is no ledger; it stays open as long as there are claims."""
        if self._descriptor is None:
            access = (os.O_RDWR | os.O_APPEND if write else os.O_RDONLY) | (os.O_CREAT if create else 0)
            try:
                self._descriptor = os.open(self._path, access | _SAFELY, _FILE_MODE)
            except FileNotFoundError:
                if create:
                    raise
        try:
            if self._descriptor is not None and not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                raise OSError(errno.EINVAL, "it is no regular file")
            yield self._descriptor
        finally:
            if self._descriptor is not None and not self._claims:
                descriptor, self._descriptor = self._descriptor, None
                os.close(descriptor)

    @contextlib.contextmanager
    def _faults(self, verb: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            hint = "change its permissions, or move it away to begin anew" if verb == "read" else None
            msg = f"{self._path}: the ledger cannot be {verb}: {error.strerror or error}"
            raise StorageError(msg, hint=hint) from error


def _parsed(lines: Sequence[bytes]) -> list[Any]:
    """Return what lines say, whatever that is; those that are no lines of a ledger are left out.

    Together they are parsed three times as fast as one by one, and nearly always all of them are whole.
    """
    if all(line.startswith(_LINE_START) for line in lines):
        with contextlib.suppress(ValueError, RecursionError):
            together = json.loads(b"[" + b",".join(lines) + b"]")
            if len(together) == len(lines):
                return list(together)
    parsed = []
    for line in lines:
        # A line torn by a kill may stand before the next one's start.
        start = line.rfind(_LINE_START)
        if start >= 0:
            with contextlib.suppress(ValueError, RecursionError):
                parsed.append(json.loads(line[start:].decode("ascii")))
    return parsed


def digest_of_bytes(data: bytes) -> str:
    """Return the digest of some bytes, its kind before it."""
    return _DIGEST_PREFIX + hashlib.sha256(data).hexdigest()


def digest_of_views(left: str, right: str) -> str:
    """Return the digest of an input of two files, given the digests of both."""
    return digest_of_bytes(f"{left} {right}".encode())


def digest_of_file(path: Path | str) -> str | None:
    """Return the digest of a regular file's bytes; None where there is none that can be read."""
    digest = hashlib.sha256()
    try:
        descriptor = os.open(path, os.O_RDONLY | _WITHOUT_WAITING)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return None
            # The whole buffer is allocated at each read, however little comes.
            read_bytes = min(status.st_size + 1, _READ_BYTES)
            while chunk := os.read(descriptor, read_bytes):
                digest.update(chunk)
        finally:
            os.close(descriptor)
    except (OSError, ValueError):  # ValueError: a name with a null character
        return None
    return _DIGEST_PREFIX + digest.hexdigest()


def _place_of(name: str) -> int:
    """Return the offset of the byte whose lock stands for an image."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:_LOCK_BYTES], "big")


def from_a_new_line(descriptor: int, line: bytes) -> bytes:
    """Return a line with a break before it where a kill tore the last one."""
    size = os.fstat(descriptor).st_size
    if size == 0:
        return line
    os.lseek(descriptor, size - 1, os.SEEK_SET)
    return line if os.read(descriptor, 1) == b"\n" else b"\n" + line

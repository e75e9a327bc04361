"""Which images were begun and not finished: how an image that ends its process is told from one that was cut off.

Stages 5, RUN, and 2, PLAN. An image may take its process with it: the system ends what asks for too much memory, a
decoder or a driver may crash. Nothing is left to say so, and the next run would fare no better. So each image is named
here before it meets the network, and struck out when it is done, has failed or was left. One that was named twice and
struck out never is a failure from then on, until somebody asks to try it again.

The file lies beside the ledger, which keeps a line for each result and each failure. It holds lines of JSON too, shared
by all processes on the folder, and whoever ends last takes it away if nothing in it is still open; a lock says who is
there.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore_cli._version import __version__
from restore_cli.errors import ImageError, StorageError
from restore_cli.jobs.ledger import from_a_new_line

try:
    import fcntl
except ImportError:  # Windows: the file stays
    _HAS_LOCKS = False
else:
    _HAS_LOCKS = True

ATTEMPTS_NAME = ".restore-ledger.begun.jsonl"

MOST_DEATHS = 2
"""So often an image may end its process before it counts as failed."""

_FILE_MODE = 0o666  # what the umask leaves of it, as for any new file
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_READ_BYTES = 1 << 20


class DeadlyImageError(ImageError):
    """Refuse an image that has ended its process as often as it may."""


@dataclass(kw_only=True)
class Attempt:
    """What is open about an image.

    Attributes:
        input: Digest of the source it was begun with.
        version: Of the program.
        begun: How often it was begun and not finished.
    """

    input: str
    version: str
    begun: int = 0

    @property
    def ended_its_process(self) -> bool:
        """Return whether it did so as often as it may."""
        return self.begun >= MOST_DEATHS


class Attempts:
    """The images of one output folder that were begun; safe to use from several threads and by several processes.

    Args:
        folder: Where results go, and the ledger lies.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / ATTEMPTS_NAME
        self._open: dict[str, Attempt] = {}
        self._descriptor: int | None = None
        self._read_to = 0
        self._lock = threading.Lock()

    @property
    def open(self) -> dict[str, Attempt]:
        """Return what is open, by the names of results in the ledger."""
        return dict(self._open)

    def read(self) -> None:
        """Take in what was written since the last time, by whomever.

        Raises:
            StorageError: If there is such a file and it cannot be read.
        """
        with self._lock, self._faults("read"):
            if self._descriptor is not None:
                self._read_on(self._descriptor)
                return
            try:
                descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
            except FileNotFoundError:
                self._forget()
                return
            try:
                self._read_on(descriptor)
            finally:
                os.close(descriptor)

    def is_open(self, name: str) -> bool:
        """Return whether an image was begun and never struck out."""
        with self._lock:
            return name in self._open

    def ended_twice(self, name: str, input_digest: str) -> bool:
        """Return whether an image has ended its process as often as it may, as it is now, under this version."""
        with self._lock:
            attempt = self._open.get(name)
            return attempt is not None and _is_of(attempt, input_digest, __version__) and attempt.ended_its_process

    def begin(self, name: str, input_digest: str) -> None:
        """Name an image that is about to meet what could end the process.

        Raises:
            StorageError: If it cannot be written down.
        """
        self._write({"target": name, "input": input_digest, "version": __version__, "state": "begun"})

    def end(self, name: str, input_digest: str) -> None:
        """Strike an image out: it is done, has failed in good order, or was left when the run was stopped.

        Raises:
            StorageError: If it cannot be written down.
        """
        try:
            self._write({"target": name, "input": input_digest, "version": __version__, "state": "ended"})
        finally:
            with self._lock:  # a disk that is full is no reason to suspect the image
                self._open.pop(name, None)

    def close(self) -> None:
        """Let go of the file, and take it away if nothing is open and nobody else is there."""
        with self._lock, contextlib.suppress(OSError):
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is None:
                return
            try:
                if _HAS_LOCKS:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self._read_on(descriptor)
                    if not self._open:
                        self._path.unlink()
            finally:
                os.close(descriptor)

    def _write(self, value: dict[str, Any]) -> None:
        line = json.dumps(value).encode("ascii") + b"\n"
        with self._lock, self._faults("written"):
            descriptor = self._opened()
            if os.write(descriptor, from_a_new_line(descriptor, line)) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._read_on(descriptor)

    def _opened(self) -> int:
        """Open the file, anew where another process has taken it away in between."""
        while self._descriptor is None:
            descriptor = os.open(self._path, _FLAGS | os.O_CREAT, _FILE_MODE)
            if _HAS_LOCKS:
                with contextlib.suppress(OSError):  # a file system without locks: the file stays
                    fcntl.flock(descriptor, fcntl.LOCK_SH)
            if os.fstat(descriptor).st_nlink or not _HAS_LOCKS:
                self._descriptor = descriptor
            else:
                os.close(descriptor)
        return self._descriptor

    def _read_on(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        if size < self._read_to:  # it was taken away, and begun anew
            self._forget()
        if size == self._read_to:
            return
        os.lseek(descriptor, self._read_to, os.SEEK_SET)
        rest = b""
        while chunk := os.read(descriptor, _READ_BYTES):
            *lines, tail = (rest + chunk).split(b"\n")
            self._read_to += len(rest) + len(chunk) - len(tail)
            rest = tail
            for line in lines:
                self._take_in(line)

    def _forget(self) -> None:
        self._read_to = 0
        self._open.clear()

    def _take_in(self, line: bytes) -> None:
        """Remember one line; what is no line of ours is passed over."""
        try:
            record = json.loads(line)
            name, digest, version, state = record["target"], record["input"], record["version"], record["state"]
        except (ValueError, KeyError, TypeError):
            return
        attempt = self._open.get(name)
        if state == "begun":
            if attempt is None or not _is_of(attempt, digest, version):
                attempt = self._open[name] = Attempt(input=digest, version=version)
            attempt.begun += 1
        else:
            self._open.pop(name, None)

    @contextlib.contextmanager
    def _faults(self, verb: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(f"{self._path}: it cannot be {verb}: {error.strerror or error}") from error


def _is_of(attempt: Attempt, input_digest: str, version: str) -> bool:
    return (attempt.input, attempt.version) == (input_digest, version)

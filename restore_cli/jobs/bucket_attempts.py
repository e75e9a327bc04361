"""Which images of a bucket were begun and not finished: what `attempts` is where no file can be added to.

Stages 5, RUN, and 2, PLAN. A put for each image would double what a batch asks of its server. So a process names the
images that come next together, in one object of its own, `.restore-ledger/begun/NAME.json`, and puts it anew for the
next ones. It deletes it when it ends; who was killed leaves it, and one of these images may be why. Images that others
left are named alone, with the digest of their input: what is then named a second time has ended its process twice.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from restore_cli._version import __version__
from restore_cli.errors import DecodeError
from restore_cli.jobs.attempts import MOST_DEATHS, Attempt
from restore_cli.storage.buckets import delete_object, listed, put_object, read_object

BEGUN_FOLDER = ".restore-ledger/begun/"
_NAMED_TOGETHER = 16
_MOST_BYTES = 1 << 20


@dataclass(kw_only=True)
class _Left:
    """What another process has named: names of results and, where one was named alone, the digest of its input."""

    url: str
    input: str
    names: set[str] = field(default_factory=set)


class BucketAttempts:
    """The images of one folder in a bucket that were begun; safe to use from several threads.

    Args:
        url: Where results go, and the ledger lies.
    """

    def __init__(self, url: str) -> None:
        self._folder = f"{url}/{BEGUN_FOLDER}"
        self._own = f"{self._folder}{secrets.token_hex(8)}.json"
        self._left: list[_Left] | None = None
        self._next: Iterator[str] = iter(())
        self._named: set[str] = set()
        self._is_there = False
        self._lock = threading.Lock()

    @property
    def open(self) -> dict[str, Attempt]:
        """Return what others left, by the names of results in the ledger."""
        with self._lock:
            found: dict[str, Attempt] = {}
            for left in self._left or ():
                for name in left.names:
                    attempt = found.setdefault(name, Attempt(input="", version=__version__))
                    attempt.begun += 1
                    attempt.input = attempt.input or left.input
            for attempt in found.values():
                attempt.begun = attempt.begun if attempt.input else 1  # of several each may have been the one
            return found

    def read(self) -> None:
        """Take in what others left, once.

        Raises:
            StorageError: If it cannot be read.
        """
        with self._lock:
            if self._left is not None:
                return
            self._left = []
            for one in listed(self._folder, recursive=True):
                try:
                    value = json.loads(read_object(self._folder + one.name, _MOST_BYTES)[0])
                    version, digest, names = value["version"], str(value["input"]), set(map(str, value["targets"]))
                except (DecodeError, ValueError, KeyError, TypeError):  # gone since it was listed, or not ours
                    continue
                if version == __version__:
                    self._left.append(_Left(url=self._folder + one.name, input=digest, names=names))

    def expect(self, names: Iterable[str]) -> None:
        """Take the names of what will be begun, in about this order."""
        with self._lock:
            self._next = iter(names)

    def is_open(self, name: str) -> bool:
        """Return whether an image was begun by another process and never struck out."""
        with self._lock:
            return any(name in left.names for left in self._left or ())

    def ended_twice(self, name: str, input_digest: str) -> bool:
        """Return whether an image was named as often as it may, the last time alone and as it is now."""
        with self._lock:
            naming = [left for left in self._left or () if name in left.names]
            return len(naming) >= MOST_DEATHS and any(left.input == input_digest for left in naming)

    def begin(self, name: str, input_digest: str) -> None:
        """Name an image that is about to meet what could end the process, unless that is done.

        Raises:
            StorageError: If it cannot be written down.
        """
        is_suspect = self.is_open(name)
        with self._lock:
            if name in self._named and not is_suspect:
                return
            self._named = {name}
            if not is_suspect:
                self._named.update(islice(self._next, _NAMED_TOGETHER))
            self._put(self._own, input_digest if len(self._named) == 1 else "", self._named)
            self._is_there = True

    def end(self, name: str, input_digest: str) -> None:  # noqa: ARG002 -- as of other attempts
        """Strike out what others left of an image.

        Raises:
            StorageError: If it cannot be written down.
        """
        with self._lock:
            for left in [left for left in self._left or () if name in left.names]:
                left.names.discard(name)
                if left.names:
                    self._put(left.url, left.input, left.names)
                else:
                    delete_object(left.url)

    def close(self) -> None:
        """Take away what this process has named."""
        with self._lock:
            if self._is_there:
                self._is_there = False
                delete_object(self._own)

    def _put(self, url: str, input_digest: str, names: Iterable[str]) -> None:
        value = {"version": __version__, "input": input_digest, "targets": sorted(names)}
        put_object(url, json.dumps(value).encode("ascii"), {}, overwrite=True)

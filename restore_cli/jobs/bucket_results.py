"""Results that go to buckets: put once, with their proof in the object's metadata, and a ledger of parts beside them.

Stages 2, PLAN, and 7, WRITE. The proof has what a line of a ledger has. An object can be asked for it, once its image
has been read; but to ask ten million is slow. So each process also puts what it has done into
`.restore-ledger/RECIPE/NAME.jsonl.gz`, a part every so many results, which is never changed again. A line of a part
holds the server's own names of the states of both objects too, their tags, so that listing inputs and outputs tells
what is done, and nothing is read. What a killed process had not yet put into a part is found when its turn comes.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from restore_cli.errors import TargetExistsError
from restore_cli.jobs.ledger import Origin, digest_of_bytes
from restore_cli.jobs.prints import Prints
from restore_cli.storage.buckets import Listed, find_object, listed, put_object, read_object

_INPUT, _WEIGHTS, _OPTIONS = "restore-input", "restore-weights", "restore-options"
_VERSION, _OUTPUT = "restore-version", "restore-output"

_FOLDER = ".restore-ledger/"
_PART_SUFFIX = ".jsonl.gz"
_RECIPE_DIGITS = 16
_MOST_LINES = 1000
_MOST_SECONDS = 60.0
_MOST_BYTES = 1 << 28


class Parts:
    """The ledger of a folder in a bucket; safe to use from several threads, and by any number of processes.

    Args:
        folder: Where results go; names in the ledger are relative to it.
    """

    def __init__(self, folder: Path) -> None:
        self._url = url_of(folder)
        self._own = secrets.token_hex(8)
        self._count = 0
        self._lines: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self._since = time.monotonic()
        self._proved = Prints()
        self._lock = threading.Lock()

    def read(self, origins: Collection[Origin]) -> None:
        """Take in what parts say of results of some origins that are still what was put.

        Raises:
            StorageError: If they cannot be read.
        """
        recipes = {_recipe(origin) for origin in origins}
        there, parts = Prints(), []
        for one in listed(self._url, recursive=True):
            if not one.name.startswith(_FOLDER):
                there.note((one.name, one.tag))
            elif one.name.split("/")[1] in recipes:
                parts.append(one)
        for line in self._lines_of(parts):
            name, given, *made_with, tags = map(line.get, ("target", "input", "weights", "options", "version", "tags"))
            if isinstance(tags, list) and tags[1] is not None and (name, tags[1]) in there:
                for fact in (given, print_of_tag(tags[0])):
                    self._proved.note((name, fact, *made_with))

    def outcomes(self) -> Iterator[tuple[str, str | None]]:
        """Yield what each line says, as `Ledger.outcomes` does, the oldest part first.

        Raises:
            StorageError: If parts cannot be read.
        """
        parts = (one for one in listed(f"{self._url}/{_FOLDER}", recursive=True) if one.name.endswith(_PART_SUFFIX))
        parts = (one._replace(name=_FOLDER + one.name) for one in parts)
        for line in self._lines_of(sorted(parts, key=lambda one: one.modified)):
            if isinstance(name := line.get("target"), str):
                yield name, str(line["failed"]) if "failed" in line else None

    def proves(self, target: Path, origin: Origin, given: str | int) -> bool:
        """Return whether the object at a target is what an origin makes of an input.

        Args:
            target: The result.
            origin: What it should have been made with.
            given: The input, by its digest or the print of its tag.
        """
        with self._lock:
            return bool(given) and (
                (self.name_of(target), given, origin.weights, origin.options, origin.version) in self._proved
            )

    def add(
        self,
        target: Path,
        origin: Origin,
        *,
        input_digest: str,
        output_digest: str,
        tags: tuple[str | None, str | None],
    ) -> None:
        """Write down a result that was put; `tags` are those of the input and of the result.

        Raises:
            StorageError: If a part is full and cannot be put.
        """
        record = {
            "target": self.name_of(target),
            "input": input_digest,
            "weights": origin.weights,
            "options": origin.options,
            "version": origin.version,
            "output": output_digest,
            "tags": tags,
        }
        self._add(_recipe(origin), record)

    def add_failure(self, target: Path, error: str, *, input_digest: str) -> None:
        """Write down that an image failed; raises as `add` does."""
        self._add("failed", {"target": self.name_of(target), "input": input_digest, "failed": error})

    def flush(self) -> None:
        """Put what is not yet in a part.

        Raises:
            StorageError: If it cannot be put.
        """
        with self._lock:
            self._put()

    def _add(self, recipe: str, record: dict[str, Any]) -> None:
        with self._lock:
            self._lines[recipe].append(record)
            if sum(map(len, self._lines.values())) >= _MOST_LINES or time.monotonic() - self._since > _MOST_SECONDS:
                self._put()

    def _put(self) -> None:
        for recipe, lines in list(self._lines.items()):
            text = "".join(json.dumps({"ledger": 1, **line}) + "\n" for line in lines)
            self._count += 1
            url = f"{self._url}/{_FOLDER}{recipe}/{self._own}-{self._count}{_PART_SUFFIX}"
            put_object(url, gzip.compress(text.encode("ascii")), {})
            del self._lines[recipe]
        self._since = time.monotonic()

    def _lines_of(self, parts: Iterable[Listed]) -> Iterator[dict[str, Any]]:
        """Yield the lines of some parts; what is no line of ours is passed over."""
        for part in parts:
            data, _ = read_object(f"{self._url}/{part.name}", _MOST_BYTES)
            for text in gzip.decompress(data).splitlines():
                with contextlib.suppress(ValueError, RecursionError):
                    line = json.loads(text)
                    if isinstance(line, dict):
                        yield line

    def name_of(self, target: Path) -> str:
        """Return what the object at a target is called in the ledger."""
        return url_of(target).removeprefix(f"{self._url}/")


def print_of_tag(tag: str | None) -> int:
    """Return 64 bits that stand for a tag in all processes, 0 for none."""
    return 0 if tag is None else int.from_bytes(hashlib.sha256(tag.encode()).digest()[:8], "big")


def _recipe(origin: Origin) -> str:
    """Return what the parts of results of one kind are filed under."""
    text = " ".join((origin.weights, origin.options, origin.version))
    return hashlib.sha256(text.encode()).hexdigest()[:_RECIPE_DIGITS]


def url_of(path: Path) -> str:
    """Return the address that a path stands for, as planning keeps it: "s3:/bucket/key".

    Example:
        >>> url_of(Path("s3://bucket/out/a.png"))
        's3://bucket/out/a.png'
    """
    scheme, _, rest = path.as_posix().partition(":/")
    return f"{scheme}://{rest}"


def proof_of(target: Path, origins: Iterable[Origin], input_digest: str) -> tuple[Origin, str, str | None] | None:
    """Return which of some origins made the object at a target of an input, its digest and its tag; None for none.

    Raises:
        StorageError: If it cannot be asked.
    """
    found = find_object(url_of(target))
    for origin in () if found is None else origins:
        if found is not None and _facts(origin, input_digest).items() <= found.metadata.items():
            return origin, found.metadata.get(_OUTPUT, ""), found.tag
    return None


def publish_in_bucket(
    data: bytes, target: Path, proof: tuple[Origin, str] | None, *, overwrite: bool, resume: bool
) -> str | None:
    """Put a result, and return its tag.

    Args:
        data: Its bytes.
        target: Where.
        proof: What it was made with, and the digest of its input.
        overwrite: Replace whatever is there.
        resume: Replace what is ours and was made otherwise.

    Raises:
        TargetExistsError: If something is there that may not be replaced, or is this very result.
        StorageError: If it cannot be written.
    """
    url = url_of(target)
    known = {} if proof is None else {**_facts(*proof), _OUTPUT: digest_of_bytes(data)}
    try:
        return put_object(url, data, known, overwrite=overwrite)
    except TargetExistsError:
        found = find_object(url) if resume else None
        if found is None or not _is_ours(found.metadata) or known.items() <= found.metadata.items():
            raise
        return put_object(url, data, known, replaces=found.state)


def _facts(origin: Origin, input_digest: str) -> dict[str, str]:
    return {
        _INPUT: input_digest,
        _WEIGHTS: origin.weights,
        _OPTIONS: origin.options,
        _VERSION: origin.version,
    }


def _is_ours(metadata: Collection[str]) -> bool:
    return _INPUT in metadata and _OUTPUT in metadata

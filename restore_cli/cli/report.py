"""The file of `--report`: an object of JSON a line for each image, then the summary, here or in a bucket.

Stage 1, ASK, and the way back. A report that cannot take a line is told when it ends: the images go on.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

from restore_cli.errors import StorageError, UsageError
from restore_cli.storage.buckets import find_object, put_object, read_object
from restore_cli.storage.files import is_in_bucket

_OTHER = "name another file with --report, or say --existing overwrite"
_MOST_BYTES = 1 << 32


class Report:
    """Write objects to a file, a line each, up to the first that it cannot take."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._fault: OSError | None = None

    @classmethod
    @contextmanager
    def opened(cls, place: Path | str, *, overwrite: bool = False, append: bool = False) -> Iterator[Report]:
        """Yield a report; an object in a bucket is put at the end.

        Args:
            place: The file or object.
            overwrite: Replace a report that exists; otherwise it is refused.
            append: Add to a report that exists.

        Raises:
            UsageError: If it exists and may be neither replaced nor added to.
            StorageError: If it cannot be made; or, when all is done, if it could not take every line.
        """
        with ExitStack() as behind:
            path = Path(place)
            if isinstance(place, str) and is_in_bucket(place):
                path = behind.enter_context(_sent_to(place, overwrite=overwrite, append=append))
            elif path.is_file() and not (overwrite or append):
                raise UsageError(f"the report {place} exists already", hint=_OTHER)
            try:
                report = cls(path.open("a" if append else "w", encoding="ascii", buffering=1))
            except OSError as error:
                raise _error(place, error) from error
            try:
                yield report
            finally:
                fault = report._close()
            if fault is not None:
                raise _error(place, fault)

    def add(self, value: Mapping[str, Any]) -> None:
        """Write an object, unless an earlier one could not be."""
        if self._fault is None:
            try:
                self._file.write(json.dumps(value) + "\n")
                self._file.flush()
            except OSError as error:
                self._fault = error

    def _close(self) -> OSError | None:
        """Close the file, and return why it did not take every line, None where it did."""
        try:
            self._file.close()
        except OSError as error:
            return self._fault or error
        return self._fault


@contextmanager
def _sent_to(url: str, *, overwrite: bool, append: bool) -> Iterator[Path]:
    """Yield a file here that is put into a bucket in the end, whatever came of the run: objects take no lines."""
    with tempfile.TemporaryDirectory(prefix="restore-") as folder:
        path = Path(folder) / "report.jsonl"
        if find_object(url) is not None:
            if append:
                path.write_bytes(read_object(url, _MOST_BYTES)[0])
            elif not overwrite:
                raise UsageError(f"the report {url} exists already", hint=_OTHER)
        try:
            yield path
        finally:
            put_object(url, path.read_bytes() if path.exists() else b"", {}, overwrite=True)


def _error(place: Path | str, error: OSError) -> StorageError:
    return StorageError(f"cannot write the report {place}: {error.strerror}", hint="name another file with --report")

"""Replace a file that is written piece by piece: the old one stands until the new one is whole and on the disk.

Beside `publish`, for what is too large to lie in memory twice (training states) or gathers over several runs
(downloads). Faults are always those of the storage here: these names are ours, not the user's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedWriter
from pathlib import Path
from typing import BinaryIO

from restore_cli.errors import StorageError
from restore_cli.storage.publish import HAS_LOCKS, new_file, sync_folder


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """Yield a file to write into; it takes the target's name when the block ends, and vanishes if the block fails.

    Args:
        target: Its final name, in a folder that exists; what is there is replaced.

    Raises:
        StorageError: If it cannot be written; the old file stays.
    """
    with _storage_faults(target):
        raw, temporary = new_file(target.parent)
        try:
            with raw:
                file = BufferedWriter(raw)
                try:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                    if not HAS_LOCKS:
                        file.close()
                    temporary.replace(target)
                finally:
                    with suppress(OSError):  # of a flush that failed before
                        file.close()
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        sync_folder(target.parent)


def replace_with(target: Path, finished: Path) -> None:
    """Give a file that gathered beside its target, and was checked there, the target's name.

    Raises:
        StorageError: If that cannot be done; both files stay.
    """
    with _storage_faults(target):
        finished.replace(target)
        sync_folder(target.parent)


@contextmanager
def _storage_faults(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror or error}") from error

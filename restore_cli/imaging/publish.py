"""Put finished bytes on the disk under their final name, whole or not at all.

Stage 7, WRITE. The bytes go to a file of their own beside the target and reach the disk before the name does, so that a
full disk, a pulled plug or a kill leaves either the old file or the new one, never half of either.
"""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path

from restore_cli.errors import ImageError, StorageError

# Short whatever the target is called, since 255 bytes is all a name may have, and hidden from folder listings.
_TEMPORARY_PREFIX = ".restore-"
_HEADER_BYTES = 64
_ORDINARY_FILE_MODE = 0o666  # what the umask leaves of it, as for any new file
_OPEN_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | getattr(os, "O_BINARY", 0)

# Faults of this one name; any other means that the next picture would fare no better.
_FAULTS_OF_THE_NAME = {errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EINVAL, errno.EILSEQ, errno.ENOTEMPTY}
# File systems without hard links (FAT, some network shares) answer with one of these.
_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
_CANNOT_SYNC_FOLDERS = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP}


def publish(data: bytes, target: Path, *, overwrite: bool) -> None:
    """Write a file so that it appears at once and complete, or not at all.

    Args:
        data: All its bytes.
        target: Its final name, in a folder that exists.
        overwrite: Replace what is there; False refuses, even if it appears only while we write.

    Raises:
        ImageError: If the target exists and must not be overwritten, or its name cannot be used.
        StorageError: If the storage is full, read-only, failing or gone. Nothing is left behind.
    """
    temporary = target.parent / f"{_TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    try:
        try:
            _write(data, temporary)
            _give_name(temporary, target, overwrite=overwrite)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        _sync_folder(target.parent)
    except FileExistsError as error:
        raise ImageError(f"{target}: it exists already") from error
    except OSError as error:
        reason = f"{target}: it cannot be written: {error.strerror or error}"
        if error.errno in _FAULTS_OF_THE_NAME:
            raise ImageError(reason) from error
        raise StorageError(reason) from error


def make_folder(folder: Path) -> None:
    """Make an output folder and those above it, unless they exist.

    Raises:
        ImageError: If a file stands in the way or the name cannot be used.
        StorageError: If the storage is full, read-only, failing or gone.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"{folder}: the folder cannot be made: {error.strerror or error}"
        if isinstance(error, FileExistsError) or error.errno in _FAULTS_OF_THE_NAME:
            raise ImageError(reason) from error
        raise StorageError(reason) from error


def _write(data: bytes, path: Path) -> None:
    """Write a new file and see it on the disk: its bytes synced, its length and first bytes read back."""
    with open(os.open(path, _OPEN_FLAGS, _ORDINARY_FILE_MODE), "wb", buffering=0) as file:  # noqa: PTH123 - pathlib cannot ask for O_EXCL
        remaining = memoryview(data)
        while remaining:
            remaining = remaining[file.write(remaining) :]
        os.fsync(file.fileno())
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size != len(data) or file.read(_HEADER_BYTES) != data[:_HEADER_BYTES]:
            raise OSError(errno.EIO, "what was written does not read back")


def _give_name(temporary: Path, target: Path, *, overwrite: bool) -> None:
    if overwrite:
        temporary.replace(target)
        return
    try:
        os.link(temporary, target)  # unlike a rename, it fails if the name is taken
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
        temporary.rename(target)


def _sync_folder(folder: Path) -> None:
    """Bring the new name itself to the disk, where the system can sync folders."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC_FOLDERS:
            raise
    finally:
        os.close(descriptor)

"""Files opened without surprises, and written under their final name whole or not at all.

Stages 3, READ, and 7, WRITE. Written bytes go to a file of their own beside the target and reach the disk before the
name does, so that a full disk, a pulled plug or a kill leaves either the old file or the new one, never half of either.
`publish` puts a result in a user's folder; `replacing` is for files of ours that are too large to lie in memory twice
(training states) or gather over several runs (downloads), whose faults are always those of the storage.

A killed process cannot take its unfinished file away, so the next run does: each is locked as long as its writer lives,
and the system itself lets go of the locks of the dead. A name with a process number in it would not tell: numbers come
again, and another machine or container on the same folder counts its own.

Never more people may read a result than may read its source (`Like`).

A pipe named photo.png would make an ordinary open wait for ever, a device would hand out bytes without end; so what is
read is opened without waiting and looked at first (`open_regular_file`). Words of a command line that name no file of
this machine are known by how they begin (`is_in_bucket`, `is_address`). A name may hold what moves a cursor or fakes a
line, so whoever shows one to a person makes it safe first (`printable`).
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import BinaryIO

from restore_cli.errors import DecodeError, ImageError, StorageError, TargetExistsError, UsageError

try:
    import fcntl
except ImportError:  # Windows
    HAS_LOCKS = False
else:
    HAS_LOCKS = True
"""Whether there are locks of this kind; where there are none (Windows), an open file cannot be renamed either."""

_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # controls, bidi marks, surrogates, line and paragraph ends
_BYTE_SURROGATES = range(0xDC80, 0xDD00)  # how Python holds the undecodable bytes 0x80..0xff of a file name

_BUCKETS = ("s3://", "gs://", "az://")
_ADDRESSES = ("https://", "http://")

# Short whatever the target is called, since 255 bytes is all a name may have, and hidden from folder listings.
_TEMPORARY_PREFIX = ".restore-"
_TEMPORARY_NAME = re.compile(re.escape(_TEMPORARY_PREFIX) + "[0-9a-f]{16}")
_NAME_ATTEMPTS = 8
_HEADER_BYTES = 64
_ORDINARY_FILE_MODE, _ORDINARY_FOLDER_MODE = 0o666, 0o777  # what the umask leaves of them, as for anything new
_OWNERS_OWN, _OWNERS_OWN_FOLDER = 0o600, 0o700
_ACCESS_LIST = "system.posix_acl_access"
_WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | getattr(os, "O_BINARY", 0)

# Faults of this one name; any other means that the next image would fare no better.
_FAULTS_OF_THE_NAME = {errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EINVAL, errno.EILSEQ, errno.ENOTEMPTY}
# File systems without hard links (FAT, some network shares) answer with one of these.
_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
_CANNOT_SYNC_FOLDERS = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP}


def is_in_bucket(text: str) -> bool:
    """Return whether a word of the command line is an object or a folder in a bucket, and no path."""
    return text.lower().startswith(_BUCKETS)


def is_address(text: str) -> bool:
    """Return whether a word of the command line is an address, and no path."""
    return text.lower().startswith(_ADDRESSES)


def printable(text: str, *, keeping: str = "") -> str:
    r"""Escape what could move a cursor, turn the reading direction, fake a line or fail to encode.

    Args:
        text: Any, a whole file of CSV or HTML too.
        keeping: What may stay, such as the ends of lines of a whole file.

    Example:
        >>> printable("line\nbreak \udcff")
        'line\\nbreak \\xff'
    """
    if text.isprintable():
        return text
    found = {c for c in set(text) - set(keeping) if unicodedata.category(c) in _UNPRINTABLE}
    return text.translate({ord(character): _escaped(character) for character in found})


def _escaped(character: str) -> str:
    if ord(character) in _BYTE_SURROGATES:
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def require_place(option: str, file: Path | None, *, overwrite: bool, makes_folder: bool = False) -> None:
    """Refuse a file that could not be written, before work is spent on what it would hold.

    Args:
        option: What messages call it.
        file: The file; None for none.
        overwrite: Whether a file that exists may be replaced.
        makes_folder: Whether its folder will be made.

    Raises:
        UsageError: If its folder does not exist, or something is in its place.
    """
    if file is None:
        return
    if not makes_folder and not file.parent.is_dir():
        raise UsageError(f"{option} {file}: there is no folder {file.parent}", hint="make it first")
    if file.is_dir() or (file.exists() and not overwrite):
        hint = "name another" if file.is_dir() else "name another, or say --existing overwrite"
        raise UsageError(f"{option}: {file} exists", hint=hint)


def publish(data: bytes, target: Path, *, overwrite: bool, like: Like | None = None) -> None:
    """Write a file so that it appears at once and complete, or not at all.

    Args:
        data: All its bytes.
        target: Its final name, in a folder that exists.
        overwrite: Replace what is there; False refuses, even if it appears only while we write.
        like: The file whose readers are all that this one may have; None for an ordinary new file.

    Raises:
        TargetExistsError: If the target exists and must not be overwritten.
        ImageError: If its name cannot be used.
        StorageError: If the storage is full, read-only, failing or gone. Nothing is left behind.
    """
    try:
        file, temporary = new_file(target.parent, mode=first_mode(like))
        try:
            with file:
                if like is not None and like.takes_its_place:
                    take_place(file, like)
                _write(data, file, temporary)
                if like is not None and like.keeps_times:
                    keep_times(temporary, like)
                if not HAS_LOCKS:
                    file.close()
                _give_name(temporary, target, overwrite=overwrite)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        sync_folder(target.parent)
    except FileExistsError as error:
        raise TargetExistsError(f"{target}: it exists already") from error
    except OSError as error:
        reason = f"{target}: it cannot be written: {error.strerror or error}"
        if error.errno in _FAULTS_OF_THE_NAME:
            raise ImageError(reason) from error
        raise StorageError(reason) from error


def make_folder(folder: Path, *, like: Sequence[Path] = ()) -> None:
    """Make an output folder and those above it, unless they exist.

    Args:
        folder: The folder.
        like: The folders that it and those above it repeat, itself first: only who may look into one of them may look
            into its new one.

    Raises:
        ImageError: If a file stands in the way or the name cannot be used.
        StorageError: If the storage is full, read-only, failing or gone.
    """
    try:
        _make_folder(folder, like)
    except OSError as error:
        reason = f"{folder}: the folder cannot be made: {error.strerror or error}"
        if isinstance(error, FileExistsError) or error.errno in _FAULTS_OF_THE_NAME:
            raise ImageError(reason) from error
        raise StorageError(reason) from error


def _make_folder(folder: Path, like: Sequence[Path]) -> None:
    if folder.is_dir():
        return
    if folder.parent != folder:
        _make_folder(folder.parent, like[1:])
    folder.mkdir(mode=_mode_like(like[:1], _ORDINARY_FOLDER_MODE, _OWNERS_OWN_FOLDER), exist_ok=True)


def require_writable(folder: Path) -> None:
    """Refuse a folder that no file can be made in, before work is spent on one; nothing is left there.

    Args:
        folder: Where files will go; of one that does not exist yet the nearest folder above is tried.

    Raises:
        StorageError: If a new file cannot be made.
    """
    path = folder.absolute()
    existing = next((place for place in (path, *path.parents) if place.is_dir()), path)
    try:
        file, temporary = new_file(existing)
        with file:
            temporary.unlink()
    except OSError as error:
        msg = f"{folder}: nothing can be written there: {error.strerror or error}"
        raise StorageError(msg, hint="choose another output") from error


def remove_unfinished(folder: Path) -> int:
    """Remove the unfinished files that killed processes left in a folder, and return how many there were.

    Those of living processes stay, and so does everything where the file system knows no locks. Trouble is passed
    over: what hinders the removal hinders the next `publish` too, which tells it.
    """
    removed = 0
    if HAS_LOCKS:
        with suppress(OSError), os.scandir(folder) as listing:
            hidden = [entry.name for entry in listing if entry.name.startswith(_TEMPORARY_PREFIX)]
            names = [name for name in hidden if _TEMPORARY_NAME.fullmatch(name)]
            for name in names:
                with suppress(OSError):
                    removed += _remove_if_nobodys(folder / name)
    return removed


def _remove_if_nobodys(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()  # still under the lock, so that a writer who opened it just now sees that it is gone
    finally:
        os.close(descriptor)
    return True


def new_file(folder: Path, *, mode: int = _ORDINARY_FILE_MODE) -> tuple[FileIO, Path]:
    """Make a file that stays locked until it is closed; return it and its path."""
    for attempt in range(_NAME_ATTEMPTS):
        path = folder / f"{_TEMPORARY_PREFIX}{secrets.token_hex(8)}"
        file = FileIO(os.open(path, _WRITE_FLAGS, mode), "wb")
        if not HAS_LOCKS or _is_kept(file) or attempt == _NAME_ATTEMPTS - 1:
            break
        file.close()
    return file, path


def _is_kept(file: FileIO) -> bool:
    """Lock a new file; return whether nobody took it for a dead one's in the moment before."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks on this file system, so nobody removes anything either
        return True
    return os.fstat(file.fileno()).st_nlink > 0


def _write(data: bytes, file: FileIO, path: Path) -> None:
    """Fill a new file and see it on the disk: its bytes synced, its length and first bytes read back."""
    remaining = memoryview(data)
    while remaining:
        remaining = remaining[file.write(remaining) or 0 :]
    os.fsync(file.fileno())
    with path.open("rb") as written:
        if os.fstat(written.fileno()).st_size != len(data) or written.read(_HEADER_BYTES) != data[:_HEADER_BYTES]:
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


def sync_folder(folder: Path) -> None:
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


@dataclass(frozen=True, kw_only=True)
class Like:
    """Say which file a new one is to be like.

    Attributes:
        source: A file whose readers are all that the new one may have.
        takes_its_place: The new file also gets its mode, and as far as the system allows its owner and extended
            attributes.
        keeps_times: The new file also gets its times of last change and last access.
        others: Further files whose readers are all that the new one may have, since it shows them too.
    """

    source: Path
    takes_its_place: bool = False
    keeps_times: bool = False
    others: tuple[Path, ...] = ()

    @classmethod
    def all_of(cls, sources: Iterable[Path | None]) -> Like | None:
        """Return what a page is to be like that shows some files; None where it shows none."""
        shown = tuple(source for source in sources if source is not None)
        return cls(source=shown[0], others=shown[1:]) if shown else None


def first_mode(like: Like | None) -> int:
    """Return the mode to make a file with, before the umask: no wider than those of the files it is like."""
    sources = () if like is None else (like.source, *like.others)
    return _mode_like(sources, _ORDINARY_FILE_MODE, _OWNERS_OWN)


def _mode_like(sources: Iterable[Path], mode: int, least: int) -> int:
    """Return what all sources leave of a mode, and the least of it: what its owner needs."""
    for source in sources:
        try:
            known = source.stat()
        except OSError:  # it went away meanwhile
            return least
        left = known.st_mode
        # What is new gets the group of its maker, and no list of single readers, who show as if they were a group.
        if (hasattr(os, "getegid") and known.st_gid != os.getegid()) or _has_access_list(source):
            left = _with_group_as_others(left)
        mode &= left | least
    return mode


def _has_access_list(path: Path) -> bool:
    try:
        return _ACCESS_LIST in os.listxattr(path)
    except (OSError, AttributeError):  # a file system, or a system, without
        return False


def _with_group_as_others(mode: int) -> int:
    """Return a mode whose group may do no more than everybody."""
    return mode & (~0o070 | (mode & 0o007) << 3)


def take_place(file: FileIO, like: Like) -> None:
    """Give a new file the owner, mode and extended attributes of the one it is to replace.

    Trouble is passed over: the new file stays as narrow as it was made.
    """
    with suppress(OSError):
        known = like.source.stat()
        descriptor = file.fileno()
        mode = stat.S_IMODE(known.st_mode) & 0o777
        if hasattr(os, "fchown"):
            for owner, group in ((-1, known.st_gid), (known.st_uid, -1)):
                with suppress(OSError):
                    os.fchown(descriptor, owner, group)
            if os.fstat(descriptor).st_gid != known.st_gid:  # another group may do no more than everybody
                mode = _with_group_as_others(mode)
        if hasattr(os, "fchmod"):
            os.fchmod(descriptor, mode)
        if hasattr(os, "listxattr"):
            for name in os.listxattr(like.source):
                with suppress(OSError):
                    os.setxattr(descriptor, name, os.getxattr(like.source, name))


def keep_times(path: Path, like: Like) -> None:
    """Give a new file the times of the one it is like.

    Trouble is passed over: the file then says when it was written, as any other.
    """
    with suppress(OSError):
        known = like.source.stat()
        os.utime(path, ns=(known.st_atime_ns, known.st_mtime_ns))


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


# Both optional flags are absent on some systems.
_READ_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@contextmanager
def open_regular_file(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading; faults while it is read are reported in the same way.

    Raises:
        DecodeError: If it is no regular file, or cannot be opened or read.
    """
    try:
        descriptor = os.open(path, _READ_FLAGS)
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                hint = "name - to read one image from standard input" if stat.S_ISFIFO(mode) else None
                raise DecodeError(f"{path}: it is {_kind_of_node(mode)}, not a file", hint=hint)
            with open(descriptor, "rb", closefd=False) as file:
                yield file
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        reason = getattr(error, "strerror", None) or error
        raise DecodeError(f"{path}: it cannot be read: {reason}") from error


def _kind_of_node(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    if stat.S_ISFIFO(mode):
        return "a named pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"

"""Who may read a result: never more people than may read its source.

Stage 7, WRITE.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

_ORDINARY_FILE_MODE = 0o666  # what the umask leaves of it, as for any new file
_OWNERS_OWN = 0o600


@dataclass(frozen=True, kw_only=True)
class Like:
    """Say which file a new one is to be like.

    Attributes:
        source: A file whose readers are all that the new one may have.
        takes_its_place: The new file also gets its mode, and as far as the system allows its owner and extended
            attributes.
        keeps_times: The new file also gets its times of last change and last access.
    """

    source: Path
    takes_its_place: bool = False
    keeps_times: bool = False


def first_mode(like: Like | None) -> int:
    """Return the mode to make a file with, before the umask: no wider than that of the file it is like."""
    if like is None:
        return _ORDINARY_FILE_MODE
    try:
        return _ORDINARY_FILE_MODE & (like.source.stat().st_mode | _OWNERS_OWN)
    except OSError:  # it went away meanwhile
        return _OWNERS_OWN


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
                mode &= ~0o070 | (mode & 0o007) << 3
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

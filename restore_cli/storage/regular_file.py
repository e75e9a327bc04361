"""Open what lies under an image's name, without waiting and without surprises.

Stage 3, READ (and 2, PLAN, for headers). A pipe named photo.png would make an ordinary open wait for ever, a device
would hand out bytes without end; so the file is opened without waiting and looked at before it is read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from restore_cli.errors import DecodeError

# Both optional flags are absent on some systems.
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@contextmanager
def open_regular_file(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading; faults while it is read are reported in the same way.

    Raises:
        DecodeError: If it is no regular file, or cannot be opened or read.
    """
    try:
        descriptor = os.open(path, _OPEN_FLAGS)
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise DecodeError(f"{path}: it is {_kind_of_node(mode)}, not a file")
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

"""The bytes of a weights file and what they digest to.

Stage 5, RUN, before anything is parsed. A file is read once and those very bytes are digested and then parsed, so that
nothing can be exchanged in between. Imports no torch.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from restore_cli.errors import WeightsError
from restore_cli.weights.entry import MAX_WEIGHTS_BYTES

# A FIFO or a device named x.pth must not hang the run: opened without waiting, looked at, refused.
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True, kw_only=True)
class Content:
    """One file, read once.

    Attributes:
        path: Where it lay, for messages.
        data: All its bytes.
    """

    path: Path
    data: bytes = field(repr=False)

    @cached_property
    def sha256(self) -> str:
        """Return the SHA-256 in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def git_blob_sha1(self) -> str:
        """Return the name git gives to these bytes, in hexadecimal."""
        digest = hashlib.sha1(b"blob %d\0" % len(self.data), usedforsecurity=False)
        digest.update(self.data)
        return digest.hexdigest()


def read_content(path: Path, *, limit: int = MAX_WEIGHTS_BYTES) -> Content:
    """Read a regular file of at most `limit` bytes.

    Raises:
        WeightsError: If it is missing, unreadable, no regular file, empty or too large.
    """
    try:
        handle = os.open(path, _OPEN_FLAGS)
        with open(handle, "rb") as file:  # noqa: PTH123  (a descriptor, which Path cannot open)
            facts = os.fstat(handle)
            if not stat.S_ISREG(facts.st_mode):
                raise WeightsError(f"{path} is not a file")
            if facts.st_size > limit:
                raise WeightsError(f"{path} is larger than {limit >> 20} MiB, which no weights file is")
            data = file.read(facts.st_size)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise WeightsError(f"cannot read weights {path}: {getattr(error, 'strerror', None) or error}") from error
    if not data:
        raise WeightsError(f"{path} is empty")
    return Content(path=path, data=data)

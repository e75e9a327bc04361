"""Which part of the images is this process's, where many share the work and none speaks to another.

Stage 2, PLAN. The part follows from an image's name below the input alone: every machine finds the same one whatever
order its file system lists names in, and files that are added or removed move no other image to another part.
"""

from __future__ import annotations

import hashlib
import re

from restore_cli.errors import UsageError
from restore_cli.settings import Shard

_HASHED_BYTES = 8


def parse_shard(text: str) -> Shard:
    """Read "I/N", parts counted from 0.

    Raises:
        UsageError: If it is no part of a whole.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text, flags=re.ASCII)
    if match is None or int(match[2]) == 0:
        raise UsageError(
            f"--shard {text} is no part such as 0/4", hint="write the part, counted from 0, and their number"
        )
    index, count = int(match[1]), int(match[2])
    if index >= count:
        msg = f"--shard {text}: there is no such part"
        raise UsageError(msg, hint=f"{count} parts are counted from 0 to {count - 1}")
    return Shard(index=index, count=count)


def in_shard(inner: str, shard: Shard) -> bool:
    """Return whether an image belongs to a part.

    Args:
        inner: Its name relative to the input it was found through, with slashes.
        shard: The part.
    """
    digest = hashlib.sha256(inner.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:_HASHED_BYTES], "big") % shard.count == shard.index

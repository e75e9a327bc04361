"""Which images have arrived in a folder: whole ones only, each once, again when it changes.

Stage 2, PLAN, for `restore watch`. Nothing tells that a file is whole, and systems that tell of changes differ from
each other and are silent on network shares; so the folder is looked at again and again, and a file counts once its size
and time have stood still for a while.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from restore_cli.errors import StorageError
from restore_cli.imaging.formats import SUFFIXES

_Stamp = tuple[int, int, int]  # inode, size, time of change


@dataclass(kw_only=True)
class _Seen:
    stamp: _Stamp
    since: float
    given: bool = False


class Arrivals:
    """Look at a folder and tell which images have settled since the last look.

    Args:
        folder: Where images arrive; its subfolders are not looked at.
        settle_seconds: How long a file must stand still.
        clock: Tells seconds.
    """

    def __init__(self, folder: Path, *, settle_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._settle_seconds = settle_seconds
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    def settled(self) -> tuple[Path, ...]:
        """Return the images that have settled and were not returned before, in the order of their names.

        Raises:
            StorageError: If the folder cannot be listed.
        """
        now = self._clock()
        stamps = self._stamps()
        for name in self._seen.keys() - stamps.keys():
            del self._seen[name]
        settled = []
        for name, stamp in sorted(stamps.items()):
            seen = self._seen.get(name)
            if seen is None or seen.stamp != stamp:
                self._seen[name] = _Seen(stamp=stamp, since=now)
            elif not seen.given and now - seen.since >= self._settle_seconds and stamp[1]:
                seen.given = True
                settled.append(self._folder / name)
        return tuple(settled)

    def are_awaited(self) -> bool:
        """Return whether some image was seen that has not settled yet; an empty one is not waited for."""
        return any(not seen.given and seen.stamp[1] for seen in self._seen.values())

    def namesake(self, path: Path) -> Path | None:
        """Return another image of the same name but for its suffix that came before, whose result would be lost."""
        own = path.stem.casefold()
        for name, seen in self._seen.items():
            other = self._folder / name
            if seen.given and other != path and other.stem.casefold() == own and self._came_before(name, path.name):
                return other
        return None

    def _came_before(self, name: str, other: str) -> bool:
        return (self._seen[name].since, name) < (self._seen[other].since, other)

    def _stamps(self) -> dict[str, _Stamp]:
        stamps = {}
        try:
            with os.scandir(self._folder) as listing:
                for entry in listing:
                    if entry.name.startswith(".") or Path(entry.name).suffix.lower() not in SUFFIXES:
                        continue
                    try:
                        status = entry.stat()
                    except OSError:  # gone since it was listed
                        continue
                    if stat.S_ISREG(status.st_mode):
                        stamps[entry.name] = status.st_ino, status.st_size, status.st_mtime_ns
        except OSError as error:
            msg = f"{self._folder}: it cannot be listed: {error.strerror or error}"
            raise StorageError(msg, hint="look whether it is still there") from error
        return stamps

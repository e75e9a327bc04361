"""Find the pictures that paths on the command line mean.

Stage 2, PLAN: looks at names and folders, opens nothing. A file that is named is always taken, whatever it is called;
in a folder only names with a picture's suffix are, and hidden ones (our unfinished files among them) never.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from restore_cli.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Source:
    """One picture to read.

    Attributes:
        path: Where it is, as it was named.
        root: The input it was found through: itself, or a folder above it.
    """

    path: Path
    root: Path

    @property
    def inner(self) -> Path:
        """Return its place below the root folder, or its bare name where it was named itself."""
        return Path(self.path.name) if self.path == self.root else self.path.relative_to(self.root)


def find_sources(
    inputs: Sequence[Path], *, suffixes: Collection[str], recursive: bool, leave_out: Path | None = None
) -> tuple[Source, ...]:
    """List the pictures of some files and folders, each once, folders in the order of their names.

    Args:
        inputs: Files and folders.
        suffixes: Lower-case suffixes (".png") of pictures in folders.
        recursive: Take subfolders too. Links to folders are not followed.
        leave_out: A folder that is not read, the output's, if it lies inside an input.

    Raises:
        UsageError: If no input exists, a folder cannot be listed, or there is no picture at all.
    """
    _require_some(inputs)
    forbidden = _identity(leave_out) if leave_out is not None else None
    found: dict[Path, Source] = {}
    for root in inputs:
        paths = _pictures_in(root, suffixes, recursive, forbidden) if root.is_dir() else iter([root])
        for path in paths:
            found.setdefault(path.absolute(), Source(path=path, root=root))
    if not found:
        names = ", ".join(str(path) for path in inputs)
        hint = "name the files themselves" if recursive else "add -r to look into subfolders"
        raise UsageError(f"no pictures in {names}", hint=hint)
    return tuple(found.values())


def _require_some(inputs: Sequence[Path]) -> None:
    """Refuse at once when nothing that was named is there; one missing file among others fails at its turn."""
    if not any(os.path.lexists(path) for path in inputs):
        first, nearest = inputs[0], _nearest_name(inputs[0])
        msg = f"{first} does not exist"
        if len(inputs) > 1:
            msg = f"none of the {len(inputs)} inputs exists, {first} the first"
        raise UsageError(msg, hint=f"did you mean {nearest}?" if nearest else None)


def _nearest_name(path: Path) -> Path | None:
    try:
        names = [neighbour.name for neighbour in path.parent.iterdir()]
    except OSError:
        return None
    nearest = difflib.get_close_matches(path.name, names, n=1)
    return path.with_name(nearest[0]) if nearest else None


def _pictures_in(
    folder: Path, suffixes: Collection[str], recursive: bool, forbidden: tuple[int, int] | None
) -> Iterator[Path]:
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        subfolders: list[Path] = []
        for entry in _listed(current):
            path = current / entry.name
            if entry.name.startswith("."):
                continue
            if recursive and entry.is_dir():
                if not entry.is_symlink() and _identity(path) != forbidden:
                    subfolders.append(path)
            elif path.suffix.lower() in suffixes:
                yield path  # a folder or a pipe of that name is refused by its reader, with its reason
        waiting += reversed(subfolders)


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as listing:
            return sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        raise UsageError(
            f"cannot list {folder}: {error.strerror}", hint="change its permissions or name files"
        ) from error


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino

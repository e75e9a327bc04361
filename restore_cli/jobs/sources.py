"""Find the images that paths on the command line mean.

Stage 2, PLAN: looks at names and folders. A file that is named is always taken, whatever it is called; in a folder
names with an image's suffix are, others where their first bytes are an image's beyond doubt, and hidden ones (our
unfinished files among them) never. Patterns that no shell expanded (quoted ones, or on Windows) are expanded here.
"""

from __future__ import annotations

import difflib
import fnmatch
import glob
import os
import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, chain
from pathlib import Path
from typing import overload

from restore_cli.errors import DecodeError, UsageError
from restore_cli.imaging.formats import RAW_SUFFIXES, format_of_bytes
from restore_cli.jobs.prints import Prints
from restore_cli.storage.files import open_regular_file

# Formats whose first bytes nothing else begins with; a TIFF may be any camera's raw file.
_BEYOND_DOUBT = {"PNG", "JPEG", "WEBP", "GIF", "AVIF", "HEIF", "JXL"}
_HEADER_BYTES = 64
# Copies of images that programs put aside, and cameras' thumbnails.
_PUT_ASIDE = {".bak", ".orig", ".old", ".tmp", ".part", ".partial", ".crdownload", ".download", ".thm"}


@dataclass(frozen=True, kw_only=True)
class ImageSource:
    """One image to read.

    Attributes:
        path: Where it is, as it was named.
        root: The input it was found through: itself, or a folder above it.
        inner: Its place below the root folder, with slashes, or its bare name where it was named itself.
        url: The address it lies at, and `path` only says so; None for a file of this machine.
        tag: Print of what its bucket called its state when it was listed; 0 where that is not known.
    """

    path: Path
    root: Path
    inner: str
    url: str | None = None
    tag: int = 0


@dataclass(frozen=True, kw_only=True)
class Found:
    """The images that were found through one input.

    Attributes:
        root: The input.
        inners: Places of images below it, with slashes, "" for itself; None where it is the image.
        url: The address it lies at; None for a file or folder of this machine.
        tags: The tags of the images; None where they have none.
    """

    root: Path
    inners: Sequence[str] | None = None
    url: str | None = None
    tags: Sequence[int] | None = None

    def __len__(self) -> int:
        """Return how many images there are."""
        return 1 if self.inners is None else len(self.inners)

    def source(self, index: int) -> ImageSource:
        """Return one of the images."""
        inner = "" if self.inners is None else self.inners[index]
        if not inner:
            return ImageSource(path=self.root, root=self.root, inner=self.root.name, url=self.url)
        url = None if self.url is None else f"{self.url.rstrip('/')}/{inner}"
        tag = 0 if self.tags is None else self.tags[index]
        return ImageSource(path=Path(self._prefix + inner), root=self.root, inner=inner, url=url, tag=tag)

    def file(self, index: int) -> str | None:
        """Return the path of one of the images, None where it is no file of this machine."""
        if self.url is not None:
            return None
        inner = "" if self.inners is None else self.inners[index]
        return self._prefix + inner if inner else str(self.root)

    def names(self) -> Iterator[str]:
        """Yield the paths of the images."""
        return (self._prefix + inner if inner else str(self.root) for inner in self.inners or ("",))

    @cached_property
    def _prefix(self) -> str:
        return prefix_of(self.root)


def prefix_of(folder: Path) -> str:
    """Return what the paths of files in a folder begin with, as pathlib writes them."""
    return str(folder / "_")[:-1]


class Sources(Sequence[ImageSource]):
    """The images of several inputs. Only their names are held, 80 bytes each; the rest is made when it is asked for.

    Args:
        found: What was found through each input.
    """

    def __init__(self, found: Iterable[Found]) -> None:
        self._found = tuple(found)
        self._ends = list(accumulate(map(len, self._found)))

    def __len__(self) -> int:
        """Return how many images there are."""
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> ImageSource: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[ImageSource, ...]: ...
    def __getitem__(self, index: int | slice) -> ImageSource | tuple[ImageSource, ...]:
        """Return one of them, or some."""
        if isinstance(index, slice):
            return tuple(self[place] for place in range(*index.indices(len(self))))
        number, within = self._place(index)
        return self._found[number].source(within)

    def names(self) -> Iterator[str]:
        """Yield their paths, which is faster than making each."""
        return chain.from_iterable(found.names() for found in self._found)

    def __add__(self, other: Sources) -> Sources:
        """Return these and others behind them."""
        return Sources((*self._found, *other._found))

    def place(self, index: int) -> tuple[Path, str, str | None]:
        """Return the input that an image was found through, its place below it and its path.

        The place is "" for the input itself, the path None for what is no file of this machine.
        """
        number, within = self._place(index)
        found = self._found[number]
        return found.root, "" if found.inners is None else found.inners[within], found.file(within)

    def folder(self, index: int) -> tuple[int, str]:
        """Return what is equal for the images of one folder alone: the input's number, and the path below it."""
        number, within = self._place(index)
        inners = self._found[number].inners
        return number, "" if inners is None else inners[within].rpartition("/")[0]

    def _place(self, index: int) -> tuple[int, int]:
        number = bisect_right(self._ends, index)
        return number, index - (self._ends[number - 1] if number else 0)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Say which files of folders are taken.

    A pattern is a shell's (`*`, `?`, `[a-z]`). It is held against a file's name, or, if it has a slash in it, against
    the path below the folder that was named, where `*` passes over slashes too.

    Attributes:
        suffixes: Lower-case suffixes (".png") of images in folders.
        recursive: Take subfolders too. Links to folders are not followed.
        include: Take only what fits one of these patterns; none takes all.
        exclude: Leave out what fits one of these patterns, folders with all that is in them; also files named outright.
    """

    suffixes: Collection[str]
    recursive: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def takes(self, inner: str) -> bool:
        """Return whether the patterns let a file through; `inner` is its path below the named folder, with slashes."""
        return not self.leaves_out(inner) and (not self.include or _fits_one(inner, self.include))

    def leaves_out(self, inner: str) -> bool:
        """Return whether a file or folder is excluded."""
        return _fits_one(inner, self.exclude)


@dataclass(kw_only=True)
class PassedOver:
    """What folders hold besides images.

    Attributes:
        count: How many files.
        raws: Cameras' raw files without an image of the same name beside them.
        warnings: What could not be looked at and may have been meant, a line each.
    """

    count: int = 0
    raws: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def _fits_one(inner: str, patterns: Sequence[str]) -> bool:
    return any(
        fnmatch.fnmatchcase(inner if "/" in pattern else inner.rpartition("/")[2], pattern) for pattern in patterns
    )


def expand_patterns(typed: Sequence[str]) -> tuple[str, ...]:
    """Return inputs with those patterns replaced by the files they fit that no shell has expanded.

    What exists under its very name is that file, whatever signs are in it. `**` stands for any number of folders.

    Raises:
        UsageError: If nothing fits a pattern.
    """
    expanded: list[str] = []
    for name in typed:
        if os.path.lexists(name) or not glob.has_magic(name):
            expanded.append(name)
            continue
        try:
            fitting = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - it keeps ./ and the like as typed
        except re.error:
            fitting = []
        if not fitting:
            raise UsageError(f"nothing fits the pattern {name}", hint="look at it with ls, or name the files")
        expanded += fitting
    return tuple(expanded)


def find_sources(
    inputs: Sequence[Path],
    selection: Selection,
    *,
    leave_out: Path | None = None,
    passed_over: PassedOver | None = None,
) -> Sources:
    """List the images of some files and folders, each once, folders in the order of their names.

    Args:
        inputs: Files and folders.
        selection: Which files of folders are taken.
        leave_out: A folder that is not read, the output's, if it lies inside an input.
        passed_over: Takes what is left out of folders.

    Returns:
        The images; also subfolders that cannot be listed, and links with an image's name that lead nowhere, whose
        reader says so at their turn.

    Raises:
        UsageError: If no input exists, the only one cannot be listed, or there is no image at all.
    """
    passed_over = PassedOver() if passed_over is None else passed_over
    _require_some(inputs)
    forbidden = _identity(leave_out) if leave_out is not None else None
    found = []
    for root in inputs:
        if os.path.isdir(root):  # noqa: PTH112 - unlike Path's it takes any name, too long ones and circles
            inners = _images_in(root, selection, forbidden, passed_over, is_only=len(inputs) == 1)
            found.append(Found(root=root, inners=list(inners)))
        elif selection.takes(root.name):
            found.append(Found(root=root))
    sources = Sources(found if len(found) < 2 else _each_once(found))
    if not sources:
        names = ", ".join(str(path) for path in inputs)
        hint = "name a folder with images in it, or the images themselves"
        if not selection.recursive and any(map(_has_folders, inputs)):
            hint = "add -r to look into its subfolders" if len(inputs) == 1 else "add -r to look into their subfolders"
        if passed_over.raws:
            hint = f"develop camera raws such as {passed_over.raws[0].name} first, with a raw converter"
        if selection.include or selection.exclude:
            hint = "look at --include and --exclude"
        raise UsageError(f"no images in {names}", hint=hint)
    if passed_over.raws:
        first, *others = passed_over.raws
        raws = (
            f"{1 + len(others)} camera raws left out, such as {first}" if others else f"{first}: a camera raw, left out"
        )
        passed_over.warnings.append(f"{raws}: develop {'them' if others else 'it'} first, with a raw converter")
    return sources


def _each_once(found: Sequence[Found]) -> Iterator[Found]:
    """Leave out what was found through an earlier input too."""
    known, repeated = Prints(), Prints()
    for one in found:
        for index in range(len(one)):
            if known.add(path := _absolute(one, index)):
                repeated.note(path)
    paths: set[str] = set()  # those of which there may be two
    for one in found:
        kept = []
        for index in range(len(one)):
            path = _absolute(one, index)
            if path not in paths:
                kept.append(index)
            if path in repeated:
                paths.add(path)
        if len(kept) == len(one):
            yield one
        elif one.inners is not None:
            yield Found(root=one.root, inners=[one.inners[index] for index in kept])


def _absolute(found: Found, index: int) -> str:
    return str(found.source(index).path.absolute())


def _has_folders(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(entry.is_dir() for entry in entries)
    except OSError:
        return False


def _require_some(inputs: Sequence[Path]) -> None:
    """Refuse at once when nothing that was named is there; one missing file among others fails at its turn."""
    if not any(os.path.lexists(path) for path in inputs):
        first, nearest = inputs[0], _nearest_name(inputs[0])
        msg = f"{first} does not exist"
        if len(inputs) > 1:
            msg = f"none of the {len(inputs)} inputs exists, {first} the first"
        raise UsageError(msg, hint=f"did you mean {nearest}?" if nearest else "look at its name")


def _nearest_name(path: Path) -> Path | None:
    try:
        names = [neighbour.name for neighbour in path.parent.iterdir()]
    except OSError:
        return None
    nearest = difflib.get_close_matches(path.name, names, n=1)
    return path.with_name(nearest[0]) if nearest else None


def _images_in(
    root: Path, selection: Selection, forbidden: tuple[int, int] | None, passed_over: PassedOver, *, is_only: bool
) -> Iterator[str]:
    """Yield the places of images below a folder, and of subfolders that cannot be listed; "" for the folder itself."""
    waiting = [(root, "")]
    while waiting:
        folder, below = waiting.pop()
        try:
            images, others, subfolders = _listed(folder, below, selection)
        except OSError as error:
            if folder == root and is_only:
                hint = "change its permissions or name files"
                raise UsageError(f"cannot list {folder}: {error.strerror}", hint=hint) from error
            yield below.rstrip("/")
            continue
        if others:
            images += _images_by_content(others, images, folder, passed_over)
        images.sort()
        yield from (below + name for name in images) if below else images
        del images, others
        inside = [(folder / name, f"{below}{name}/") for name in sorted(subfolders, reverse=True)]
        waiting += [(path, inner) for path, inner in inside if forbidden is None or _identity(path) != forbidden]


def _listed(folder: Path, below: str, selection: Selection) -> tuple[list[str], list[os.DirEntry[str]], list[str]]:
    """Return what is in a folder: names of images, other files, and names of the subfolders that are taken too."""
    images: list[str] = []
    others: list[os.DirEntry[str]] = []
    subfolders: list[str] = []
    with os.scandir(folder) as listing:
        for entry in listing:
            name = entry.name
            if name.startswith("."):
                continue
            if selection.recursive and _is_folder(entry):
                if not entry.is_symlink() and not selection.leaves_out(below + name):
                    subfolders.append(name)
            elif not selection.takes(below + name):
                continue
            # A folder or a pipe that is called an image is refused by its reader, with its reason.
            elif name[name.rfind(".") :].lower() in selection.suffixes:
                images.append(name)
            else:
                others.append(entry)
    return images, others, subfolders


def _images_by_content(
    others: list[os.DirEntry[str]], images: Iterable[str], folder: Path, passed_over: PassedOver
) -> list[str]:
    """Return the names of those files that are images though their names do not say so, and count the others."""
    others.sort(key=lambda entry: entry.name)
    stems = {Path(entry.name).stem for entry in others}
    taken = {stem for name in images if (stem := Path(name).stem) in stems}
    found = []
    for entry in others:
        if Path(entry.name).stem not in taken and _holds_image(entry):
            found.append(entry.name)
        else:
            _pass_over(entry, folder / entry.name, passed_over, is_lone=Path(entry.name).stem not in taken)
    return found


def _holds_image(entry: os.DirEntry[str]) -> bool:
    """Return whether a file with another name is an image by its first bytes, and not one that was put aside."""
    if Path(entry.name).suffix.lower() in _PUT_ASIDE or entry.name.endswith("~"):
        return False
    try:
        if not entry.is_file():
            return False
        with open_regular_file(Path(entry.path)) as file:
            return format_of_bytes(file.read(_HEADER_BYTES)) in _BEYOND_DOUBT
    except (OSError, DecodeError):
        return False


def _pass_over(entry: os.DirEntry[str], path: Path, passed_over: PassedOver, *, is_lone: bool) -> None:
    """Count what is no image; name raws that are lone, and links that lead nowhere, for they may have led to images."""
    try:
        if entry.is_symlink():
            path.stat()
    except OSError as error:
        passed_over.warnings.append(f"{path}: a link that leads nowhere, left out: {error.strerror}")
        return
    if not _is_folder(entry):
        passed_over.count += 1
        if is_lone and path.suffix.lower() in RAW_SUFFIXES:
            passed_over.raws.append(path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder; a link in a circle, or to a name that cannot be, is none.

    Where its name is an image's, its reader refuses it in its turn and the batch goes on.
    """
    try:
        return entry.is_dir()
    except OSError:
        return False


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino

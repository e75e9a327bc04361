"""See to it that no two results meet, no input is overwritten unasked, and nothing that exists is lost.

Stage 2, PLAN: names, and what already lies there. Whatever cannot be is refused here, before any work.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from restore_cli.errors import UsageError
from restore_cli.jobs.prints import Prints
from restore_cli.jobs.shard import in_shard
from restore_cli.jobs.targets import ImageJob, Jobs, Place, picked, places, target_folders
from restore_cli.settings import Existing, Shard


def never_ours(_place: Place) -> bool:
    """Return that what lies at a target is not ours to replace."""
    return False


def settle(
    jobs: Sequence[ImageJob],
    existing: Existing,
    shard: Shard | None = None,
    *,
    is_ours: Callable[[Place], bool] = never_ours,
) -> tuple[Sequence[ImageJob], Sequence[ImageJob]]:
    """Make targets distinct and safe to write; return the jobs to work on and those to skip.

    Args:
        jobs: Every source once.
        existing: What to do where a target exists that is not ours; "rename" also tells results apart that would meet.
        shard: Return only this part of the jobs. Targets must be distinct among all of them, and no input of any part
            is written over; outputs that exist are the business of the part they belong to.
        is_ours: Tells whether what lies at a target is a result of ours, which may be replaced.

    Raises:
        UsageError: If results would meet, an input would be overwritten, or a target exists and may not.
    """
    if existing == "rename":
        jobs = _renamed(jobs)
    _require_folders(jobs)
    found = _look_at(jobs, shard, is_ours)
    _require_inputs_kept(jobs, found.outputs, picked(jobs, found.existing))
    others = picked(jobs, found.others)
    if others and existing == "error":
        first = others[0].target
        msg = f"{first} exists already"
        if len(others) > 1:
            msg = f"{len(others)} outputs exist already, {first} the first"
        hint = "add --resume to go on with a batch, or --existing skip, overwrite or rename"
        raise UsageError(msg, hint=hint)
    for job in others if existing == "overwrite" else ():
        if job.target.is_dir():
            raise UsageError(f"the output {job.target} is a folder", hint="move it away or choose another name")
    if existing != "skip":
        return (jobs if len(found.mine) == len(jobs) else picked(jobs, found.mine)), ()
    is_skipped = bytearray(len(jobs))
    for index in found.others:
        is_skipped[index] = True
    return picked(jobs, [index for index in found.mine if not is_skipped[index]]), others


@dataclass(frozen=True, kw_only=True)
class _Looked:
    """What lies where results are to go; jobs by their places.

    Attributes:
        mine: Those of this part.
        existing: Of these, those whose target exists.
        others: Of these, those whose target is not ours.
        outputs: Hashes of what the existing ones are, links followed.
    """

    mine: array[int]
    existing: array[int]
    others: array[int]
    outputs: array[int]


def _look_at(jobs: Sequence[ImageJob], shard: Shard | None, is_ours: Callable[[Place], bool]) -> _Looked:
    """Look where results are to go.

    Raises:
        UsageError: If two would be written to one file.
    """
    looked = _Looked(mine=array("q"), existing=array("q"), others=array("q"), outputs=array("q"))
    is_in_place = bool(jobs) and jobs[0].is_in_place
    for index, place in enumerate(places(jobs) if len(jobs) == 1 else _distinct(jobs)):
        if shard is not None and not in_shard(place.inner, shard):
            continue
        looked.mine.append(index)
        if is_in_place or (identity := _identity_there(place.target)) is None:
            continue
        looked.existing.append(index)
        looked.outputs.append(hash(identity))
        if not is_ours(place):
            looked.others.append(index)
    return looked


def _renamed(jobs: Sequence[ImageJob]) -> Sequence[ImageJob]:
    """Number the targets that exist or meet an earlier one: photo-2.png."""
    taken: set[str] = set()
    targets: dict[int, Path] = {}
    folded = _Folded()
    for index, job in enumerate(jobs):
        target, number = job.target, 2
        while folded(target) in taken or os.path.lexists(target):
            target = job.target.with_name(f"{job.target.stem}-{number}{job.target.suffix}")
            number += 1
        taken.add(folded(target))
        if target != job.target:
            targets[index] = target
    if isinstance(jobs, Jobs):
        return jobs.renamed(targets)
    return [replace(job, target=targets.get(index, job.target)) for index, job in enumerate(jobs)]


def _require_folders(jobs: Sequence[ImageJob]) -> None:
    """Refuse targets below something that is no folder."""
    for folder in target_folders(jobs):
        there = _nearest_existing(folder)
        if not there.is_dir():
            raise UsageError(f"{there} is a file, so nothing can be written below it", hint="choose another output")


def _distinct(jobs: Sequence[ImageJob]) -> Iterator[Place]:
    """Yield the places of all jobs, then refuse targets that meet: two passes over a million cost a quarter more."""
    known, repeated, folded = Prints(), Prints(), _Folded()
    for place in places(jobs):
        if known.add(name := folded(place.target)):
            repeated.note(name)
        yield place
    if not repeated.is_empty:
        meeting = [index for index, place in enumerate(places(jobs)) if folded(place.target) in repeated]
        _require_distinct(picked(jobs, meeting))


def _require_distinct(jobs: Sequence[ImageJob]) -> None:
    """Refuse targets that are one file, or would be on a file system that takes their names for the same."""
    groups: defaultdict[str, list[ImageJob]] = defaultdict(list)
    folded = _Folded()
    for job in jobs:
        groups[folded(job.target)].append(job)
    for first, *others in groups.values():
        for other in others:
            if not _stay_distinct(first, other):
                msg = f"{first.source} and {other.source} would both be written to {other.target}"
                raise UsageError(msg, hint="add --existing rename to number them, or restore them apart")


def _stay_distinct(first: ImageJob, other: ImageJob) -> bool:
    """Return whether the output's file system surely keeps two targets apart that differ in case or accents' coding.

    It does where it is the inputs' own and those differ in nothing else.
    """
    folded = _Folded()
    if first.target == other.target or folded(first.source) != folded(other.source):
        return False
    try:
        one, two = first.source.stat(), other.source.stat()
        return (one.st_dev, one.st_ino) != (two.st_dev, two.st_ino) and all(
            status.st_dev == _nearest_existing(job.target).stat().st_dev for status, job in ((one, first), (two, other))
        )
    except OSError:
        return False


def _require_inputs_kept(jobs: Sequence[ImageJob], outputs: array[int], there: Iterable[ImageJob]) -> None:
    """Refuse to write over anything that is an input.

    Args:
        jobs: All of them.
        outputs: Hashes of what outputs that exist are, links followed.
        there: The jobs of these outputs.
    """
    if not outputs:
        return
    known = Prints()
    for output in outputs:
        known.note(output)
    for source in jobs.source_names() if isinstance(jobs, Jobs) else (job.source for job in jobs):
        identity = _identity(source)
        if identity is None or hash(identity) not in known:
            continue
        job = next((job for job in there if _identity(job.target) == identity), None)
        if job is None:
            continue
        if job.source == Path(source):
            msg = f"{source} would be written over itself"
            raise UsageError(msg, hint="choose another output, or say --in-place")
        raise UsageError(f"the result of {job.source} would overwrite the input {source}", hint="choose another output")


def _nearest_existing(path: Path) -> Path:
    path = path.absolute()
    return next((place for place in (path, *path.parents) if os.path.lexists(place)), path)


class _Folded:
    """Fold paths into what names share that some file system takes for the same, in case and composition of accents.

    Folders are kept folded: most images lie in few.
    """

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}

    def __call__(self, path: Path | str) -> str:
        folder, name = os.path.split(path)
        if folder not in self._folders:
            self._folders[folder] = _folded(str(Path(folder).absolute()))
        return f"{self._folders[folder]}/{_folded(name)}"


def _folded(name: str) -> str:
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name.casefold())


def _identity_there(path: str) -> tuple[int, int] | None:
    """Return what lies at a path, a link's target where it has one; asked once of nearly all."""
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return None
    is_link = stat.S_ISLNK(status.st_mode)
    return (_identity(path) if is_link else None) or (status.st_dev, status.st_ino)


def _identity(path: Path | str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - a million times, and of text
    except (OSError, ValueError):  # ValueError: a name with a null character
        return None
    return status.st_dev, status.st_ino

"""Decide where each result goes: names only, and what already lies there.

Stage 2, PLAN. A target is a pure function of its source and the wanted destination (`target_of`); `settle` then sees to
it that no two results meet, no input is overwritten unasked, and nothing that exists is lost. Whatever cannot be is
refused here, before any work.
"""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from restore_cli.errors import UsageError
from restore_cli.jobs.bucket_results import url_of
from restore_cli.jobs.shard import in_shard
from restore_cli.jobs.sources import ImageSource
from restore_cli.settings import Existing, Shard


@dataclass(frozen=True, kw_only=True)
class ImageJob:
    """One image to restore: read `source`, write `target`.

    Attributes:
        source: The file to read.
        target: The file to write.
        home: The folder whose ledger tells of the result; None for no ledger.
        is_in_place: The result replaces the source.
        replaces: What lies at `target` is replaced whatever else is requested: the result in place, or one of ours that
            the ledger knows.
        from_stdin: The image comes through standard input, and `source` only says so.
        to_stdout: The result goes to standard output, and `target` only says so.
        data: The bytes that came through standard input, once they were read.
        right: The right view of the scene whose left view is `source`; None where there is one view.
        inner: The source's name relative to the input it was found through, with slashes.
        url: The address the image lies at, and `source` only says so; None for a file.
        allow_private: That address may lead into private networks, and over http.
        to_bucket: The result goes to a bucket, and `target` only says to which object.
    """

    source: Path
    target: Path
    home: Path | None = None
    is_in_place: bool = False
    replaces: bool = False
    from_stdin: bool = False
    to_stdout: bool = False
    data: bytes | None = field(default=None, repr=False)
    right: Path | None = None
    inner: str = ""
    url: str | None = None
    allow_private: bool = False
    to_bucket: bool = False

    @property
    def source_name(self) -> str:
        """Return what messages call the source."""
        return "standard input" if self.from_stdin else self.url or str(self.source)

    @property
    def file(self) -> Path | None:
        """Return the file that is read, None where the image comes from elsewhere."""
        return None if self.from_stdin or self.url is not None else self.source

    @property
    def target_name(self) -> str:
        """Return what messages call the target."""
        if self.to_bucket:
            return url_of(self.target)
        return "standard output" if self.to_stdout else str(self.target)

    @property
    def folder(self) -> Path | None:
        """Return the folder that the result is written to, None where it goes elsewhere."""
        return None if self.to_stdout or self.to_bucket else self.target.parent

    @property
    def keeps_proof(self) -> bool:
        """Return whether it is written down what the result was made of."""
        return self.home is not None or self.to_bucket


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Say where results go.

    Attributes:
        kind: "beside" each input under a changed name, "in place" of it, into one "file", or into a "folder".
        path: The file or folder; None for the other two.
        suffix: Put behind a result's stem (beside: behind the name of the folder too); empty for none.
        nested: Give each input folder a folder of its own name in the output folder, as several need.
        ledger: Keep a ledger wherever results go; else only in output folders, not among the files of others.
        written_suffix: Takes a source's suffix, returns the one its result is written with.
    """

    kind: Literal["beside", "in place", "file", "folder"]
    path: Path | None = None
    suffix: str = ""
    nested: bool = False
    ledger: bool = False
    written_suffix: Callable[[str], str]


def _never(_home: Path, _target: Path) -> bool:
    return False


def plan_jobs(
    sources: Iterable[ImageSource], destination: Destination, *, is_ours: Callable[[Path, Path], bool] = _never
) -> list[ImageJob]:
    """Return a job for each source: where its result goes, and which ledger tells of it.

    Args:
        sources: What to read.
        destination: Where results go.
        is_ours: Takes the folder of a ledger and a target, tells whether what lies there may be replaced as our own.
    """
    folders: dict[Path, Path] = {}
    jobs = []
    for source in sources:
        if source.path == source.root or destination.kind == "in place":
            jobs.append(_job_of_file(source, destination, is_ours))
            continue
        if source.root not in folders:
            folders[source.root] = _folder_of(source.root, destination)
        folder = folders[source.root]
        suffix = "" if destination.path is None else destination.suffix
        below, slash, _ = source.inner.rpartition("/")
        target = folder / (below + slash + _result_name(source.path, destination, suffix))
        home = destination.path or folder
        jobs.append(
            ImageJob(
                source=source.path,
                target=target,
                home=home,
                replaces=is_ours(home, target),
                inner=source.inner,
                url=source.url,
            )
        )
    return jobs


def _job_of_file(source: ImageSource, destination: Destination, is_ours: Callable[[Path, Path], bool]) -> ImageJob:
    if destination.kind == "in place":
        # A link stays a link, and what it points to is replaced.
        target = Path(os.path.realpath(source.path)) if source.path.is_symlink() else source.path
    elif destination.path is None:
        name = _result_name(source.path, destination, destination.suffix)
        target = source.path.with_name(name) if source.url is None else Path(name)  # beside: where one stands
    elif destination.kind == "file":
        target = destination.path
    else:
        target = destination.path / _result_name(source.path, destination, destination.suffix)
    is_in_place = destination.kind == "in place"
    home = target.parent if destination.ledger or destination.kind == "folder" else None
    return ImageJob(
        source=source.path,
        target=target,
        home=home,
        is_in_place=is_in_place,
        replaces=is_in_place or (home is not None and is_ours(home, target)),
        inner=source.inner,
        url=source.url,
    )


def _folder_of(root: Path, destination: Destination) -> Path:
    """Return the folder that the results of an input folder go to."""
    if destination.path is not None:
        return destination.path / root.resolve().name if destination.nested else destination.path
    named = root if root.name not in ("", "..") else root.resolve()
    return named.with_name(named.name + destination.suffix)


def _result_name(path: Path, destination: Destination, suffix: str) -> str:
    return path.stem + suffix + destination.written_suffix(path.suffix)


def settle(
    jobs: Sequence[ImageJob], existing: Existing, shard: Shard | None = None
) -> tuple[tuple[ImageJob, ...], tuple[ImageJob, ...]]:
    """Make targets distinct and safe to write; return the jobs to work on and those to skip.

    Args:
        jobs: Every source once.
        existing: What to do where a target exists, unless its job may replace it; "rename" also tells results apart
            that would meet.
        shard: Return only this part of the jobs. Targets must be distinct among all of them, and no input of any part
            is written over; outputs that exist are the business of the part they belong to.

    Raises:
        UsageError: If results would meet, an input would be overwritten, or a target exists and may not.
    """
    if existing == "rename":
        jobs = _renamed(jobs)
    _require_folders(jobs)
    _require_distinct(jobs)
    mine = [job for job in jobs if shard is None or in_shard(job.inner, shard)]
    there = [job for job in mine if not job.is_in_place and os.path.lexists(job.target)]
    _require_inputs_kept(jobs, there)
    there = [job for job in there if not job.replaces]
    if there and existing == "error":
        first = there[0].target
        msg = f"{first} exists already" if len(there) == 1 else f"{len(there)} outputs exist already, {first} the first"
        hint = "add --resume to go on with a batch, or --existing skip, overwrite or rename"
        raise UsageError(msg, hint=hint)
    for job in there if existing == "overwrite" else ():
        if job.target.is_dir():
            raise UsageError(f"the output {job.target} is a folder", hint="move it away or choose another name")
    if existing != "skip":
        return tuple(mine), ()
    skipped = set(there)
    return tuple(job for job in mine if job not in skipped), tuple(there)


def target_folders(jobs: Iterable[ImageJob]) -> tuple[Path, ...]:
    """Return the folders that results go to, each once."""
    # As text: ten thousand paths in one folder take ten times as long to take apart and to compare.
    return tuple(map(Path, dict.fromkeys(os.path.dirname(job.target) for job in jobs)))  # noqa: PTH120


def _renamed(jobs: Iterable[ImageJob]) -> list[ImageJob]:
    """Number the targets that exist or meet an earlier one: photo-2.png."""
    taken: set[str] = set()
    renamed = []
    for job in jobs:
        target, number = job.target, 2
        while _folded(target) in taken or os.path.lexists(target):
            target = job.target.with_name(f"{job.target.stem}-{number}{job.target.suffix}")
            number += 1
        taken.add(_folded(target))
        renamed.append(replace(job, target=target))
    return renamed


def _require_folders(jobs: Iterable[ImageJob]) -> None:
    """Refuse targets below something that is no folder."""
    for folder in target_folders(jobs):
        there = _nearest_existing(folder)
        if not there.is_dir():
            raise UsageError(f"{there} is a file, so nothing can be written below it", hint="choose another output")


def _require_distinct(jobs: Iterable[ImageJob]) -> None:
    """Refuse targets that are one file, or would be on a file system that takes their names for the same."""
    groups: defaultdict[str, list[ImageJob]] = defaultdict(list)
    for job in jobs:
        groups[_folded(job.target)].append(job)
    for first, *others in groups.values():
        for other in others:
            if not _stay_distinct(first, other):
                msg = f"{first.source} and {other.source} would both be written to {other.target}"
                raise UsageError(msg, hint="add --existing rename to number them, or restore them apart")


def _stay_distinct(first: ImageJob, other: ImageJob) -> bool:
    """Return whether the output's file system surely keeps two targets apart that differ in case or accents' coding.

    It does where it is the inputs' own and those differ in nothing else.
    """
    if first.target == other.target or _folded(first.source) != _folded(other.source):
        return False
    try:
        one, two = first.source.stat(), other.source.stat()
        return (one.st_dev, one.st_ino) != (two.st_dev, two.st_ino) and all(
            status.st_dev == _nearest_existing(job.target).stat().st_dev for status, job in ((one, first), (two, other))
        )
    except OSError:
        return False


def _require_inputs_kept(jobs: Iterable[ImageJob], there: Iterable[ImageJob]) -> None:
    """Refuse to write over anything that is an input."""
    outputs = {_identity(job.target): job for job in there}
    if not outputs:
        return
    for source in (job.source for job in jobs):
        job = outputs.get(_identity(source))
        if job is None or _identity(source) is None:
            continue
        if job.source == source:
            msg = f"{source} would be written over itself"
            raise UsageError(msg, hint="choose another output, or say --in-place")
        raise UsageError(f"the result of {job.source} would overwrite the input {source}", hint="choose another output")


def _nearest_existing(path: Path) -> Path:
    path = path.absolute()
    return next((place for place in (path, *path.parents) if os.path.lexists(place)), path)


def _folded(path: Path) -> str:
    """Return what names share that some file system takes for the same: case and composition of accents folded."""
    return unicodedata.normalize("NFC", str(path.absolute()).casefold())


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino

"""Decide where each result goes: names only, and what already lies there.

Stage 2, PLAN. A target is a pure function of its source and the wanted destination (`target_of`); `settle` then sees to
it that no two results meet, no input is overwritten unasked, and nothing that exists is lost. Whatever cannot be is
refused here, before any work.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, overload

from restore_cli.errors import UsageError
from restore_cli.jobs.bucket_results import url_of
from restore_cli.jobs.prints import Prints
from restore_cli.jobs.shard import in_shard
from restore_cli.jobs.sources import ImageSource, Sources, prefix_of
from restore_cli.settings import Existing, Shard


@dataclass(frozen=True, kw_only=True)
class ImageJob:
    """One image to restore: read `source`, write `target`.

    Attributes:
        source: The file to read.
        target: The file to write.
        home: The folder whose ledger tells of the result; None for no ledger.
        is_in_place: The result replaces the source.
        from_stdin: The image comes through standard input, and `source` only says so.
        to_stdout: The result goes to standard output, and `target` only says so.
        data: The bytes that came through standard input, once they were read.
        right: The right view of the scene whose left view is `source`; None where there is one view.
        inner: The source's name relative to the input it was found through, with slashes.
        url: The address the image lies at, and `source` only says so; None for a file.
        allow_private: That address may lead into private networks, and over http.
        bucket: The folder of a bucket that results and their ledger go to; `target` only says to which object.
        tag: As that of the source.
    """

    source: Path
    target: Path
    home: Path | None = None
    is_in_place: bool = False
    from_stdin: bool = False
    to_stdout: bool = False
    data: bytes | None = field(default=None, repr=False)
    right: Path | None = None
    inner: str = ""
    url: str | None = None
    allow_private: bool = False
    bucket: Path | None = None
    tag: int = 0

    @property
    def to_bucket(self) -> bool:
        """Return whether the result goes to a bucket."""
        return self.bucket is not None

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


class Place(NamedTuple):
    """Where the result of one image goes, as text: what planning asks of every image, and cheaper than its job.

    Attributes:
        inner: As of the job.
        target: The file to write.
        home: As of the job.
    """

    inner: str
    target: str
    home: Path | None


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


class Jobs(Sequence[ImageJob]):
    """The jobs of a plan, each made when it is asked for: of a million only the sources' names lie in memory.

    Args:
        sources: What to read.
        job_of: Returns the job of a source; as often as it is asked the same one.
        place_of: Takes an input and the place of an image below it, and returns where its result goes.
        scattered: Results of one folder's images may go to several folders.
        picked: Which of the sources; None for all.
        targets: Other targets than those of `job_of`, by the source's place in `sources`.
    """

    def __init__(
        self,
        sources: Sources,
        job_of: Callable[[ImageSource], ImageJob],
        place_of: Callable[[Path, str], Place],
        *,
        scattered: bool = False,
        picked: Sequence[int] | None = None,
        targets: Mapping[int, Path] | None = None,
    ) -> None:
        self._sources = sources
        self._job_of = job_of
        self._place_of = place_of
        self._scattered = scattered
        self._picked = range(len(sources)) if picked is None else picked
        self._targets = targets or {}

    def __len__(self) -> int:
        """Return how many jobs there are."""
        return len(self._picked)

    @overload
    def __getitem__(self, index: int) -> ImageJob: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[ImageJob, ...]: ...
    def __getitem__(self, index: int | slice) -> ImageJob | tuple[ImageJob, ...]:
        """Return one of them, or some."""
        if isinstance(index, slice):
            return tuple(self._made(place) for place in self._picked[index])
        return self._made(self._picked[index])

    def __iter__(self) -> Iterator[ImageJob]:
        """Make one after the other."""
        return map(self._made, self._picked)

    def source_names(self) -> Iterator[str]:
        """Yield the paths of all sources, picked or not, which is faster than making their jobs."""
        return self._sources.names()

    def places(self) -> Iterator[Place]:
        """Yield where the results of all go, which is faster than making their jobs."""
        for index in self._picked:
            root, inner = self._sources.place(index)
            if not inner or self._scattered or index in self._targets:
                yield _place_of_job(self._made(index))
            else:
                yield self._place_of(root, inner)

    def pick(self, indices: Sequence[int]) -> Jobs:
        """Return some of them, by their places."""
        picked = array("q", (self._picked[index] for index in indices))
        return self._with(picked=picked, targets=self._targets)

    def renamed(self, targets: Mapping[int, Path]) -> Jobs:
        """Return all of them, some with other targets in the same folders."""
        return self._with(picked=self._picked, targets=targets)

    @cached_property
    def one_a_folder(self) -> Sequence[ImageJob]:
        """Return one of each folder's, which tells where the results of all go and how."""
        if self._scattered:
            return self
        seen: dict[object, int] = {}
        for place in self._picked:
            seen.setdefault(self._sources.folder(place), place)
        return tuple(map(self._made, seen.values()))

    def _made(self, place: int) -> ImageJob:
        job = self._job_of(self._sources[place])
        target = self._targets.get(place)
        return job if target is None else replace(job, target=target)

    def _with(self, *, picked: Sequence[int], targets: Mapping[int, Path]) -> Jobs:
        return Jobs(
            self._sources, self._job_of, self._place_of, scattered=self._scattered, picked=picked, targets=targets
        )


def one_a_folder(jobs: Sequence[ImageJob]) -> Sequence[ImageJob]:
    """Return some of a plan's jobs that tell of all where their results go and how: folders, ledgers, buckets."""
    return jobs.one_a_folder if isinstance(jobs, Jobs) else jobs


def picked(jobs: Sequence[ImageJob], indices: Sequence[int]) -> Sequence[ImageJob]:
    """Return some jobs, by their places."""
    return jobs.pick(indices) if isinstance(jobs, Jobs) else tuple(jobs[index] for index in indices)


def _place_of_job(job: ImageJob) -> Place:
    return Place(job.inner, str(job.target), job.home)


def _places(jobs: Sequence[ImageJob]) -> Iterator[Place]:
    return jobs.places() if isinstance(jobs, Jobs) else map(_place_of_job, jobs)


def never_ours(_place: Place) -> bool:
    """Return that what lies at a target is not ours to replace."""
    return False


def plan_jobs(
    sources: Sources,
    destination: Destination,
    *,
    allow_private: bool = False,
    to_bucket: bool = False,
) -> Jobs:
    """Return a job for each source: where its result goes, and which ledger tells of it.

    Args:
        sources: What to read.
        destination: Where results go.
        allow_private: Addresses may lead into private networks, and over http.
        to_bucket: The destination is a bucket.
    """
    folders: dict[Path, tuple[Path, str]] = {}
    suffix = "" if destination.path is None else destination.suffix

    def place_of(root: Path, inner: str) -> Place:
        if root not in folders:
            folder = _folder_of(root, destination)
            folders[root] = folder, prefix_of(folder)
        folder, prefix = folders[root]
        below, slash, name = inner.rpartition("/")
        target = prefix + below + slash + _result_name(name, destination, suffix)
        return Place(inner, target, None if to_bucket else destination.path or folder)

    def job_of(source: ImageSource) -> ImageJob:
        if source.path is source.root or destination.kind == "in place":
            target, home = _target_of_file(source, destination)
        else:
            _, text, home = place_of(source.root, source.inner)
            target = Path(text)
        bucket = (destination.path if destination.kind == "folder" else target.parent) if to_bucket else None
        return ImageJob(
            source=source.path,
            target=target,
            home=None if to_bucket else home,
            is_in_place=destination.kind == "in place",
            inner=source.inner,
            url=source.url,
            allow_private=allow_private and source.url is not None,
            bucket=bucket,
            tag=source.tag,
        )

    return Jobs(sources, job_of, place_of, scattered=destination.kind == "in place")


def _target_of_file(source: ImageSource, destination: Destination) -> tuple[Path, Path | None]:
    """Return where the result of an image goes that was named itself, and the folder of its ledger."""
    if destination.kind == "in place":
        # A link stays a link, and what it points to is replaced.
        target = Path(os.path.realpath(source.path)) if source.path.is_symlink() else source.path
    elif destination.path is None:
        name = _result_name(source.path.name, destination, destination.suffix)
        target = source.path.with_name(name) if source.url is None else Path(name)  # beside: where one stands
    elif destination.kind == "file":
        target = destination.path
    else:
        target = destination.path / _result_name(source.path.name, destination, destination.suffix)
    return target, target.parent if destination.ledger or destination.kind == "folder" else None


def _folder_of(root: Path, destination: Destination) -> Path:
    """Return the folder that the results of an input folder go to."""
    if destination.path is not None:
        return destination.path / root.resolve().name if destination.nested else destination.path
    named = root if root.name not in ("", "..") else root.resolve()
    return named.with_name(named.name + destination.suffix)


def _result_name(name: str, destination: Destination, suffix: str) -> str:
    stem, dot, end = name.rpartition(".")
    if not stem or not end:  # as pathlib has it: ".png" and "a." have no suffix
        stem, dot, end = name, "", ""
    return stem + suffix + destination.written_suffix(dot + end)


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
    for index, place in enumerate(_places(jobs) if len(jobs) == 1 else _distinct(jobs)):
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


def target_folders(jobs: Sequence[ImageJob]) -> tuple[Path, ...]:
    """Return the folders that results go to, each once."""
    # As text: ten thousand paths in one folder take ten times as long to take apart and to compare.
    return tuple(map(Path, dict.fromkeys(os.path.dirname(job.target) for job in one_a_folder(jobs))))  # noqa: PTH120


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
    for place in _places(jobs):
        if known.add(name := folded(place.target)):
            repeated.note(name)
        yield place
    if not repeated.is_empty:
        meeting = [index for index, place in enumerate(_places(jobs)) if folded(place.target) in repeated]
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

"""Decide where each result goes, by names alone; make the jobs of a plan, and say what became of each.

Stage 2, PLAN. A target is a pure function of its source and the wanted destination. What already lies there is the
business of `settle`. Results of jobs (`JobResult`) travel to whoever watches, and between processes.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, overload

from restore_cli.jobs.bucket_results import url_of
from restore_cli.jobs.sources import ImageSource, Sources, prefix_of

if TYPE_CHECKING:
    from restore_cli.errors import RestoreError
    from restore_cli.jobs.stages import Advice
    from restore_cli.metrics.noise_level import NoiseEstimate

Status = Literal["ok", "skipped", "failed", "stopped"]


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
        repeated: How many folders above the source are repeated above the target: those below the input it was found
            through, and that input.
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
    repeated: int = 0

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

    def repeats(self, folder: Path) -> tuple[Path, ...]:
        """Return the folders above the source that a folder above the target, and those above it, repeat."""
        if self.file is None:
            return ()
        return tuple(self.source.parents)[list(self.target.parents).index(folder) : self.repeated]

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
        source: The file to read, where that is one, is not replaced, and the result lies on this machine too; None
            where more is to be known.
    """

    inner: str
    target: str
    home: Path | None
    source: str | None = None


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
        place_of: Takes an input, the place of an image below it and its path, None where it is no file; returns where
            its result goes.
        scattered: Results of one folder's images may go to several folders.
        picked: Which of the sources; None for all.
        targets: Other targets than those of `job_of`, by the source's place in `sources`.
    """

    def __init__(
        self,
        sources: Sources,
        job_of: Callable[[ImageSource], ImageJob],
        place_of: Callable[[Path, str, str | None], Place],
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
            root, inner, source = self._sources.place(index)
            if not inner or self._scattered or index in self._targets:
                yield _place_of_job(self._made(index))
            else:
                yield self._place_of(root, inner, source)

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


def places(jobs: Sequence[ImageJob]) -> Iterator[Place]:
    """Yield where the results of a plan go, as text."""
    return jobs.places() if isinstance(jobs, Jobs) else map(_place_of_job, jobs)


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

    def place_of(root: Path, inner: str, source: str | None) -> Place:
        if root not in folders:
            folder = _folder_of(root, destination)
            folders[root] = folder, prefix_of(folder)
        folder, prefix = folders[root]
        below, slash, name = inner.rpartition("/")
        target = prefix + below + slash + _result_name(name, destination, suffix)
        if to_bucket:
            return Place(inner, target, None)
        return Place(inner, target, destination.path or folder, source)

    def job_of(source: ImageSource) -> ImageJob:
        if source.path is source.root or destination.kind == "in place":
            target, home = _target_of_file(source, destination)
        else:
            place = place_of(source.root, source.inner, None)
            target, home = Path(place.target), place.home
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
            repeated=0 if source.path is source.root else source.inner.count("/") + 1,
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


def target_folders(jobs: Sequence[ImageJob]) -> tuple[Path, ...]:
    """Return the folders that results go to, each once."""
    # As text: ten thousand paths in one folder take ten times as long to take apart and to compare.
    return tuple(map(Path, dict.fromkeys(os.path.dirname(job.target) for job in one_a_folder(jobs))))  # noqa: PTH120


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """What became of one image.

    Attributes:
        job: The image read, and what was written or would have been.
        status: "ok"; "skipped" by the plan, or since another process has done it; "failed" with an error; "stopped"
            before it was done, nothing written.
        seconds: Time spent on it in all stages, waiting not counted.
        error: Why it failed, the file named; an unforeseen fault is its `__cause__`.
        warnings: What was decided or lost on the way, a line each.
        advice: What would have helped it more.
        size_in: (height, width) read, None if it could not be.
        size_out: (height, width) written, None if nothing was.
        weights: Id of the weights the image got, None if it was not read.
        noise: What was estimated of its noise, None where nobody asked for it.
    """

    job: ImageJob
    status: Status
    seconds: float = 0.0
    error: RestoreError | None = None
    warnings: tuple[str, ...] = ()
    advice: tuple[Advice, ...] = ()
    size_in: tuple[int, int] | None = None
    size_out: tuple[int, int] | None = None
    weights: str | None = None
    noise: NoiseEstimate | None = None

    @property
    def source(self) -> Path:
        """Return the image read."""
        return self.job.source

    @property
    def target(self) -> Path:
        """Return the file written, or that would have been."""
        return self.job.target


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What became of all images.

    Attributes:
        ok: How many were written.
        skipped: How many were left out, by the plan or since another process has done them.
        failed: How many failed.
        stopped: How many were not done because the run ended early.
        seconds: From the first image to the last.
        fatal: The fault that ended the run early (storage or device gone), or None.
    """

    ok: int
    skipped: int
    failed: int
    stopped: int
    seconds: float
    fatal: RestoreError | None = None

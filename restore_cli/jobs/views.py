"""Find the right view of each scene that a dual-pixel sensor took as two.

Stage 2, PLAN, behind `plan`: looks at names and folders, opens nothing. A left view is named as any image is; its
right view is a file named outright, or the file of a folder that has the left one's name, whatever its suffix. What has
no partner, or shares one, is refused before any work: a wrong pair would be restored to nonsense without a sound.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from restore_cli.errors import UsageError
from restore_cli.imaging.formats import SUFFIXES
from restore_cli.jobs.sources import Selection, find_sources
from restore_cli.jobs.targets import ImageJob

_HINT = "give both views of a scene the same name, or name two files"


def pair_views(jobs: Sequence[ImageJob], right: Path) -> tuple[ImageJob, ...]:
    """Give each job the right view of its scene.

    Args:
        jobs: Their sources are the left views.
        right: The right view of the only job, or a folder whose tree has the names of the left views.

    Raises:
        UsageError: If a left view has no partner, two have the same, or a view would be overwritten or paired with
            itself.
    """
    if not right.exists():
        raise UsageError(f"{right} does not exist", hint="look at --right")
    if right.is_dir():
        partners = _partners_in(right)
        paired = tuple(replace(job, right=_partner_of(job, partners, right)) for job in jobs)
    elif len(jobs) > 1:
        raise UsageError(
            f"--right {right} is one file for {len(jobs)} left views", hint="name the folder of all of them"
        )
    else:
        paired = tuple(replace(job, right=right) for job in jobs)
    _require_distinct(paired)
    return paired


def _partners_in(folder: Path) -> dict[tuple[str, ...], Path]:
    """Return the images below a folder by their place in it, suffixes left out."""
    partners: dict[tuple[str, ...], Path] = {}
    for source in find_sources([folder], Selection(suffixes=SUFFIXES, recursive=True)):
        place = Path(source.inner).with_suffix("").parts
        if place in partners:
            raise UsageError(f"{partners[place]} and {source.path} are two right views of one name", hint=_HINT)
        partners[place] = source.path
    return partners


def _partner_of(job: ImageJob, partners: dict[tuple[str, ...], Path], folder: Path) -> Path:
    """Return the right view of a job: the one whose place is the longest end of the left view's path."""
    if job.from_stdin:
        raise UsageError("standard input has no name to find its right view by", hint="name the file with --right")
    parts = job.source.with_suffix("").parts
    for start in range(len(parts)):
        if parts[start:] in partners:
            return partners[parts[start:]]
    raise UsageError(f"{job.source} has no right view in {folder}", hint=_HINT)


def _require_distinct(jobs: Sequence[ImageJob]) -> None:
    """Refuse a right view that is taken twice, is a left view too, or would be written over."""
    rights: dict[str, ImageJob] = {}
    for job in jobs:
        other = rights.setdefault(_real(job.right), job)
        if other is not job:
            msg = f"{job.right} would be the right view of {other.source_name} and of {job.source_name}"
            raise UsageError(msg, hint=_HINT)
    for job in jobs:
        if not job.from_stdin and _real(job.source) in rights:
            raise UsageError(f"{job.source} is named as a left and as a right view", hint="look at --right")
        if not job.to_stdout and _real(job.target) in rights:
            raise UsageError(f"the result of {job.source_name} would overwrite the right view {job.target}", hint=None)


def _real(path: Path | None) -> str:
    return os.path.realpath(str(path))

"""Turn a request into a frozen plan: which images, to which files, with which weights, under which settings.

Stage 2, PLAN, between the command line and the work: looks at names and folders, never at pixels, never at torch. All
that can be refused is refused here, before anything heavy is loaded.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from restore_cli.errors import EncodeError, UsageError
from restore_cli.imaging.formats import SUFFIXES, WRITABLE_FORMATS, output_format, promised_format, suffix_of
from restore_cli.jobs.addresses import found_in_bucket, source_at
from restore_cli.jobs.choose import WeightsRequest
from restore_cli.jobs.ledger import Ledger
from restore_cli.jobs.settle import never_ours, settle
from restore_cli.jobs.sources import Found, ImageSource, PassedOver, Selection, Sources, expand_patterns, find_sources
from restore_cli.jobs.steps import Step
from restore_cli.jobs.targets import Destination, ImageJob, Place, plan_jobs
from restore_cli.settings import PathSettings, ReadSettings, RunSettings, Workers, WriteSettings
from restore_cli.storage.files import is_address, is_in_bucket

STREAM = "-"
"""How standard input and standard output are written among paths; a file of that name is `./-`."""


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """How images are restored, whichever they are: what a request for a batch says, and its plan keeps.

    Attributes:
        weights: Which weights, and for which task.
        steps: Several tasks one after the other, whose networks take the place of `weights`; empty for that one.
        run: How the network runs.
        read: How images are read.
        write: How results are written.
        workers: Who shares the images; results are resumed then. None for this process alone.
        jobs_in_flight: How many images are read ahead and encoded behind the one in the net, of each worker.
        fail_fast: Stop at the first image that fails.
        retry_failed: Try images again that ended their process as often as they may.
    """

    weights: WeightsRequest
    steps: tuple[Step, ...] = ()
    run: RunSettings = field(default_factory=RunSettings)
    read: ReadSettings = field(default_factory=ReadSettings)
    write: WriteSettings = field(default_factory=WriteSettings)
    workers: Workers | None = None
    jobs_in_flight: int = 2
    fail_fast: bool = False
    retry_failed: bool = False


@dataclass(frozen=True, kw_only=True)
class JobPlan(BatchSettings):
    """All that is to be done, decided before it begins.

    Attributes:
        jobs: Images in the order they are worked on; targets are distinct.
        skipped: Images left out because their output exists (`--existing skip`) or is proved done (`--resume`).
        one_by_one: Write each image down as begun before it is decoded, not only before it meets the network; for
            images one of which is suspected of ending its process.
        left_out: How many files of folders are no images, by name or content.
        warnings: What a person should know of what was found, a line each.
        ledgers: Those of output folders that planning has read, so that they are not read again.
    """

    jobs: Sequence[ImageJob]
    skipped: Sequence[ImageJob] = ()
    one_by_one: bool = False
    left_out: int = 0
    warnings: tuple[str, ...] = ()
    ledgers: dict[Path, Ledger] = field(default_factory=dict, repr=False, compare=False)

    @property
    def task(self) -> str:
        """Return the command name of the task."""
        return self.weights.task


def plan_images(
    settings: PathSettings,
    write: WriteSettings,
    *,
    passed_over: PassedOver | None = None,
    ledgers: dict[Path, Ledger] | None = None,
) -> tuple[Sequence[ImageJob], Sequence[ImageJob]]:
    """Turn paths into images to restore and images to skip, in the order of the work.

    Args:
        settings: Which files.
        write: How results are written.
        passed_over: Takes what is left out of folders.
        ledgers: Takes the ledgers that are read, by their folders.

    Raises:
        UsageError: If the paths contradict each other, do not exist, or results would be lost; nothing was touched.
    """
    _require_sense(settings, write)
    typed_inputs, output = _split(settings, resume=write.resume)
    if STREAM in (*typed_inputs, output):
        return _plan_streams(settings, write, typed_inputs, output)
    selection = Selection(
        suffixes=SUFFIXES, recursive=settings.recursive, include=settings.include, exclude=settings.exclude
    )
    addresses = _addresses(settings, typed_inputs, output)
    buckets = _in_buckets(write, typed_inputs, output, selection)
    here = [typed for typed in typed_inputs if not is_address(typed) and not is_in_bucket(typed)]
    paths = [Path(typed) for typed in expand_patterns(here)]
    inputs = [*paths, *(source.path for source in addresses), *(found.root for found in buckets)]
    is_one_file = len(inputs) == 1 and not os.path.isdir(inputs[0])  # noqa: PTH112 - unlike Path's it takes any name
    is_one_file &= all(found.inners is None for found in buckets)
    destination = _destination(settings, write, inputs, output, is_one_file=is_one_file)
    leave_out = destination.path if destination.kind == "folder" else None
    if any(_same_folder(leave_out, folder) for folder in inputs):
        leave_out = None  # refused later, with the reason that input and output are one
    sources = Sources(())
    if paths:
        sources = find_sources(paths, selection, leave_out=leave_out, passed_over=passed_over)
    at_addresses = (Found(root=one.root, url=one.url) for one in addresses if selection.takes(one.inner))
    sources += Sources((*at_addresses, *buckets))
    to_bucket = output is not None and is_in_bucket(output)
    jobs = plan_jobs(sources, destination, allow_private=settings.allow_private, to_bucket=to_bucket)
    if settings.in_place:
        _require_format_kept(jobs)
    is_ours = _Known({} if ledgers is None else ledgers) if write.resume else never_ours
    return settle(jobs, write.existing, settings.shard, is_ours=is_ours)


def _addresses(settings: PathSettings, inputs: Sequence[str], output: str | None) -> tuple[ImageSource, ...]:
    """Return the inputs that lie at addresses, each once."""
    if output is not None and is_address(output):
        raise UsageError(f"nothing can be written to {output}", hint="name the output with -o, or say --beside")
    typed = dict.fromkeys(typed for typed in inputs if is_address(typed))
    if typed and settings.in_place:
        raise UsageError(f"--in-place cannot write {next(iter(typed))} back", hint="name an output with -o")
    return tuple(source_at(url, allow_private=settings.allow_private) for url in typed)


def _in_buckets(
    write: WriteSettings, inputs: Sequence[str], output: str | None, selection: Selection
) -> tuple[Found, ...]:
    """Return what is found through the inputs that lie in buckets.

    Raises:
        UsageError: If buckets do not go with what else is requested.
        StorageError: If one cannot be listed.
    """
    typed = dict.fromkeys(typed for typed in inputs if is_in_bucket(typed))
    if typed and output is None:
        raise UsageError(f"results cannot go beside {next(iter(typed))}", hint="name an output with -o")
    if output is not None and is_in_bucket(output) and write.existing == "rename":
        raise UsageError("--existing rename does not go with a bucket", hint="choose skip or overwrite")
    if output is not None and is_in_bucket(output) and write.keep_times:
        raise UsageError("--keep-times does not go with a bucket", hint="leave it out")
    return tuple(found for url in typed for found in found_in_bucket(url, selection))


def _plan_streams(
    settings: PathSettings, write: WriteSettings, inputs: Sequence[str], output: str | None
) -> tuple[Sequence[ImageJob], Sequence[ImageJob]]:
    """Plan the one image that comes through standard input or goes to standard output, or both."""
    if len(inputs) > 1:
        raise UsageError(f"{STREAM} is one image and cannot be one of several", hint="restore it on its own")
    for option, is_given in (
        ("--shard", settings.shard is not None),
        ("--beside", settings.beside),
        ("--in-place", settings.in_place),
        ("--resume", write.resume),
    ):
        if is_given:
            raise UsageError(f"{STREAM} and {option} contradict each other", hint="name a file")
    source, from_stdin = Path(inputs[0]), inputs[0] == STREAM
    if is_address(inputs[0]):
        found = _addresses(settings, inputs, output)[0]
        job = ImageJob(source=found.path, target=Path(STREAM), to_stdout=True, url=found.url)
        return (replace(job, allow_private=settings.allow_private),), ()
    if not from_stdin:
        source = Path(expand_patterns(inputs)[0])
        if os.path.isdir(source):  # noqa: PTH112 - takes names that are too long, too
            raise UsageError(f"the folder {source} does not fit into standard output", hint="name an output folder")
        find_sources([source], Selection(suffixes=SUFFIXES))
    if output is None or output == STREAM:
        return (ImageJob(source=source, target=Path(STREAM), from_stdin=from_stdin, to_stdout=True),), ()
    target = Path(output)
    if os.path.isdir(target) or output.endswith(("/", os.sep)):  # noqa: PTH112 - as above
        raise UsageError(f"standard input has no name to keep in {output}", hint="name the output file")
    _require_written_format(target, write.format)
    return settle([ImageJob(source=source, target=target, from_stdin=True)], write.existing)


class _Known:
    """Tell what a ledger says was written by us, whatever has become of it."""

    def __init__(self, ledgers: dict[Path, Ledger]) -> None:
        self._ledgers = ledgers

    def __call__(self, place: Place) -> bool:
        return place.home is not None and self.knows(place.home, place.target)

    def knows(self, home: Path, target: Path | str) -> bool:
        """Return whether the ledger of a folder has a line for a target."""
        ledger = self._ledgers.get(home)
        if ledger is None:
            ledger = self._ledgers[home] = Ledger(home)
            ledger.read()
        return ledger.knows(target)


def _require_sense(settings: PathSettings, write: WriteSettings) -> None:
    if "" in (*settings.paths, settings.output):
        raise UsageError("a path is empty", hint="look at the quotes and variables of the command")
    chosen = [
        name
        for name, is_chosen in (
            ("--output", settings.output is not None),
            ("--beside", settings.beside),
            ("--in-place", settings.in_place),
        )
        if is_chosen
    ]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} contradict each other", hint="choose one of them")
    if write.resume and write.existing == "rename":
        msg = "--resume and --existing rename contradict each other: another name is never done"
        raise UsageError(msg, hint="choose one of them")
    if settings.shard is not None and write.existing == "rename":
        msg = "--shard and --existing rename contradict each other: numbers would depend on what other parts wrote"
        raise UsageError(msg, hint="choose one of them")
    if settings.suffix is not None and ("/" in settings.suffix or os.sep in settings.suffix):
        raise UsageError(f"--suffix {settings.suffix} holds a path separator", hint="name a folder with --output")
    for option, is_given in (("--suffix", settings.suffix is not None), ("--format", write.format is not None)):
        if is_given and settings.in_place:
            raise UsageError(f"{option} and --in-place contradict each other", hint="choose one of them")


def _split(settings: PathSettings, *, resume: bool) -> tuple[Sequence[str], str | None]:
    """Tell inputs from the output; a file that exists is one only if a ledger says so."""
    if settings.output is not None or settings.beside or settings.in_place or len(settings.paths) == 1:
        return settings.paths, settings.output
    *inputs, output = settings.paths
    is_new = output == STREAM or not os.path.exists(output) or os.path.isdir(output)  # noqa: PTH110, PTH112 - as above
    if not is_new and not (resume and _Known({}).knows(Path(output).parent, Path(output))):
        msg = f"{output} exists: is it the output or one more input?"
        hint = f"say `--output {output} --existing overwrite` to replace it, or `--beside` to restore it too"
        raise UsageError(msg, hint=hint)
    return inputs, output


def _destination(
    settings: PathSettings, write: WriteSettings, inputs: Sequence[Path], output: str | None, *, is_one_file: bool
) -> Destination:
    written_suffix = functools.cache(functools.partial(_written_suffix, format_name=write.format))
    if settings.in_place:
        return Destination(kind="in place", ledger=write.resume, written_suffix=written_suffix)
    if output is None:
        suffix = settings.task_suffix if settings.suffix is None else settings.suffix
        return Destination(kind="beside", suffix=suffix, ledger=write.resume, written_suffix=written_suffix)
    path = Path(output)
    is_folder = os.path.isdir(path) or output.endswith(("/", os.sep))  # noqa: PTH112 - as above
    if is_one_file and not is_folder:
        _require_written_format(path, write.format)
        return Destination(kind="file", path=path, ledger=write.resume, written_suffix=written_suffix)
    if os.path.exists(path) and not os.path.isdir(path):  # noqa: PTH110, PTH112 - as above
        raise UsageError(f"{path} is a file, and {_several(inputs)} need a folder", hint="name a folder as the output")
    if not is_folder and path.suffix and promised_format(path.name):
        msg = f"{path} does not exist, and as the output of {_several(inputs)} it would be a folder"
        raise UsageError(msg, hint=f"say {output}/ if it is one, or --beside if all are inputs")
    return Destination(
        kind="folder",
        path=path,
        suffix=settings.suffix or "",
        nested=len(inputs) > 1,
        written_suffix=written_suffix,
    )


def _several(inputs: Sequence[Path]) -> str:
    return f"{len(inputs)} inputs" if len(inputs) > 1 else f"the folder {inputs[0]}"


def _same_folder(one: Path | None, other: Path) -> bool:
    folders = one is not None and os.path.isdir(one) and os.path.isdir(other)  # noqa: PTH112 - as above
    return folders and one is not None and one.samefile(other)


def format_named(name: str) -> str:
    """Return Pillow's name of a format that a person names ("jpg", "TIFF").

    Raises:
        UsageError: If no such format is written; the known ones are in the message.
    """
    promised = promised_format(f"x.{name}")
    if promised not in WRITABLE_FORMATS:
        known = ", ".join(written.lower() for written in WRITABLE_FORMATS)
        raise UsageError(f"images are not written as {name!r}", hint=f"choose --format {known}")
    return promised


def _written_suffix(suffix: str, format_name: str | None) -> str:
    """Return the suffix a result is written with, for its source's; a source without one gives a PNG."""
    promised = promised_format(f"x{suffix}")
    wanted = format_name or promised or "PNG"
    return suffix if promised == wanted and wanted in WRITABLE_FORMATS else suffix_of(wanted)


def _require_written_format(output: Path, format_name: str | None) -> None:
    """Refuse the name of an output file that promises no format we write, or another than --format says."""
    if format_name is not None:
        promised = promised_format(output.name)
        if output.suffix and promised != format_name:
            msg = f"{output} and --format {format_name.lower()} contradict each other"
            raise UsageError(msg, hint=f"name it {output.with_suffix(suffix_of(format_name))} or leave --format out")
        return
    if not output.suffix:
        msg = f"{output} does not exist and its name tells no format"
        raise UsageError(msg, hint=f"write {output}/ for a folder, or a name such as {output}.png")
    try:
        output_format("PNG", output.suffix)
    except EncodeError as error:
        raise UsageError(f"{output}: {error.message}", hint=error.hint) from error


def _require_format_kept(jobs: Iterable[ImageJob]) -> None:
    for job in jobs:
        promised = promised_format(job.target.name)
        if promised not in WRITABLE_FORMATS and not os.path.isdir(job.source):  # noqa: PTH112 - its reader refuses it
            msg = f"--in-place cannot write {job.source} back as {job.target.suffix or 'a file without suffix'}"
            raise UsageError(msg, hint="restore it --beside, or leave it out")

"""Turn a request into a frozen plan: which pictures, to which files, with which weights, under which wishes.

Stage 2, PLAN, between the command line and the work: looks at names and folders, never at pixels, never at torch. All
that can be refused is refused here, before anything heavy is loaded.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from restore_cli.errors import EncodeError, UsageError
from restore_cli.imaging.formats import SUFFIXES, WRITABLE_FORMATS, output_format, promised_format, suffix_of
from restore_cli.jobs.ledger import Ledger
from restore_cli.jobs.sources import Selection, expand_patterns, find_sources
from restore_cli.jobs.targets import Destination, Existing, ImageJob, plan_jobs, settle
from restore_cli.settings import ReadWishes, SizeWishes

__all__ = [
    "STREAM",
    "Context",
    "Existing",
    "ImageJob",
    "JobPlan",
    "Padding",
    "PathWishes",
    "ReadWishes",
    "RunWishes",
    "SizeWishes",
    "Tile",
    "WeightsChoice",
    "WriteWishes",
    "format_named",
    "plan_images",
]

STREAM = "-"
"""How standard input and standard output are written among paths; a file of that name is `./-`."""

Context = Literal["mixed", "local", "global", "tile"]
Padding = Literal["reflect", "symmetric"]
Tile = int | Literal["auto", "off"]


@dataclass(frozen=True, kw_only=True)
class RunWishes:
    """Say how a network is to be run.

    Attributes:
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        dtype: "auto", "float32", "bfloat16" or "float16".
        tile: Side of a square tile in input pixels, "auto" from the free memory, "off" for the whole image at once.
        overlap: Input pixels shared by neighbouring tiles.
        context: Where channel attention takes its statistics: the whole image, cells of about the training size, a
            share of both, or each tile; "auto" is what the weights were measured best with.
        max_memory: Bytes a picture's feature maps may take, None for a part of what is free.
        pad: How borders are continued to a multiple of the network's unit.
        tta: Mean over the eight flips and rotations.
        compile: Run the network through torch.compile.
        threads: CPU threads of one operation; None leaves torch's choice.
    """

    device: str = "auto"
    dtype: str = "auto"
    tile: Tile = "auto"
    overlap: int = 32
    context: Context | Literal["auto"] = "auto"
    max_memory: int | None = None
    pad: Padding = "reflect"
    tta: bool = False
    compile: bool = False
    threads: int | None = None


@dataclass(frozen=True, kw_only=True)
class WriteWishes:
    """Say how results are to be written.

    Attributes:
        format: Pillow's name of the output format, or None to keep the input's (GIF, BMP and icons become PNG).
        quality: JPEG, WebP, AVIF, HEIF and JPEG XL quality, 1..100.
        lossless: Keep every value where the format has a choice, and refuse those that never do.
        strip: Leave EXIF, XMP, IPTC, texts and DPI out (the colour profile stays).
        background: RGB in [0, 1] that transparency is laid on where a format knows none.
        size: How large results are to be.
        existing: What to do where the output exists.
        resume: Pass over what the ledger proves done, and replace what it knows and finds otherwise.
    """

    format: str | None = None
    quality: int = 95
    lossless: bool = False
    strip: bool = False
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    size: SizeWishes = field(default_factory=SizeWishes)
    existing: Existing = "error"
    resume: bool = False


@dataclass(frozen=True, kw_only=True)
class WeightsChoice:
    """Name the weights: an entry of the manifest, and a file that takes the place of the entry's own, if any."""

    id: str
    path: Path | None = None


@dataclass(frozen=True, kw_only=True)
class JobPlan:
    """All that is to be done, decided before it begins.

    Attributes:
        task: Command name of the task.
        weights: Which weights.
        jobs: Pictures in the order they are worked on; targets are distinct.
        skipped: Pictures left out because their output exists (`--existing skip`) or is proved done (`--resume`).
        run: How the network runs.
        read: How pictures are read.
        write: How results are written.
        jobs_in_flight: How many pictures are read ahead and encoded behind the one in the net.
        fail_fast: Stop at the first picture that fails.
        offline: Never touch the network.
    """

    task: str
    weights: WeightsChoice
    jobs: tuple[ImageJob, ...]
    skipped: tuple[ImageJob, ...] = ()
    run: RunWishes = RunWishes()
    read: ReadWishes = field(default_factory=ReadWishes)
    write: WriteWishes = WriteWishes()
    jobs_in_flight: int = 2
    fail_fast: bool = False
    offline: bool = False


@dataclass(frozen=True, kw_only=True)
class PathWishes:
    """Say which files are meant, as they were typed.

    Attributes:
        paths: INPUT... [OUTPUT]; a separator at the end of an output means a folder.
        output: The output said outright; all `paths` are inputs then.
        beside: All `paths` are inputs, results go beside them.
        in_place: All `paths` are inputs, results replace them.
        recursive: Take the subfolders of folders too.
        include: Patterns of which a picture's name must fit one; none for all.
        exclude: Patterns of names to leave out.
        suffix: Put behind the names of results; None means `task_suffix` beside the inputs and nothing elsewhere.
        task_suffix: What the task calls its results ("_x4").
    """

    paths: tuple[str, ...]
    output: str | None = None
    beside: bool = False
    in_place: bool = False
    recursive: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    suffix: str | None = None
    task_suffix: str


def plan_images(wishes: PathWishes, write: WriteWishes) -> tuple[tuple[ImageJob, ...], tuple[ImageJob, ...]]:
    """Turn paths into pictures to restore and pictures to skip, in the order of the work.

    Raises:
        UsageError: If the paths contradict each other, do not exist, or results would be lost; nothing was touched.
    """
    _require_sense(wishes, write)
    typed_inputs, output = _split(wishes, resume=write.resume)
    if STREAM in (*typed_inputs, output):
        return _plan_streams(wishes, write, typed_inputs, output)
    inputs = [Path(typed) for typed in expand_patterns(typed_inputs)]
    destination = _destination(wishes, write, inputs, output)
    leave_out = destination.path if destination.kind == "folder" else None
    if any(_same_folder(leave_out, folder) for folder in inputs):
        leave_out = None  # refused later, with the reason that input and output are one
    selection = Selection(suffixes=SUFFIXES, recursive=wishes.recursive, include=wishes.include, exclude=wishes.exclude)
    sources = find_sources(inputs, selection, leave_out=leave_out)
    jobs = plan_jobs(sources, destination, is_ours=_Known()) if write.resume else plan_jobs(sources, destination)
    if wishes.in_place:
        _require_format_kept(jobs)
    return settle(jobs, write.existing)


def _plan_streams(
    wishes: PathWishes, write: WriteWishes, inputs: Sequence[str], output: str | None
) -> tuple[tuple[ImageJob, ...], tuple[ImageJob, ...]]:
    """Plan the one picture that comes through standard input or goes to standard output, or both."""
    if len(inputs) > 1:
        raise UsageError(f"{STREAM} is one picture and cannot be one of several", hint="restore it on its own")
    if wishes.beside or wishes.in_place or write.resume:
        option = "--beside" if wishes.beside else "--in-place" if wishes.in_place else "--resume"
        raise UsageError(f"{STREAM} and {option} contradict each other", hint="name a file")
    source, from_stdin = Path(inputs[0]), inputs[0] == STREAM
    if not from_stdin:
        source = Path(expand_patterns(inputs)[0])
        if source.is_dir():
            raise UsageError(f"the folder {source} does not fit into standard output", hint="name an output folder")
        find_sources([source], Selection(suffixes=SUFFIXES))
    if output is None or output == STREAM:
        return (ImageJob(source=source, target=Path(STREAM), from_stdin=from_stdin, to_stdout=True),), ()
    target = Path(output)
    if target.is_dir() or output.endswith(("/", os.sep)):
        raise UsageError(f"standard input has no name to keep in {output}", hint="name the output file")
    _require_written_format(target, write.format)
    return settle([ImageJob(source=source, target=target, from_stdin=True)], write.existing)


class _Known:
    """Tell what a ledger says was written by us, whatever has become of it."""

    def __init__(self) -> None:
        self._ledgers: dict[Path, Ledger] = {}

    def __call__(self, home: Path, target: Path) -> bool:
        if home not in self._ledgers:
            self._ledgers[home] = Ledger(home)
            self._ledgers[home].read()
        return self._ledgers[home].knows(target)


def _require_sense(wishes: PathWishes, write: WriteWishes) -> None:
    if "" in (*wishes.paths, wishes.output):
        raise UsageError("a path is empty", hint="look at the quotes and variables of the command")
    chosen = [
        name
        for name, is_chosen in (
            ("--output", wishes.output is not None),
            ("--beside", wishes.beside),
            ("--in-place", wishes.in_place),
        )
        if is_chosen
    ]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} contradict each other", hint="choose one of them")
    if write.resume and write.existing == "rename":
        msg = "--resume and --existing rename contradict each other: another name is never done"
        raise UsageError(msg, hint="choose one of them")
    if wishes.suffix is not None and ("/" in wishes.suffix or os.sep in wishes.suffix):
        raise UsageError(f"--suffix {wishes.suffix} holds a path separator", hint="name a folder with --output")
    for option, is_given in (("--suffix", wishes.suffix is not None), ("--format", write.format is not None)):
        if is_given and wishes.in_place:
            raise UsageError(f"{option} and --in-place contradict each other", hint="choose one of them")


def _split(wishes: PathWishes, *, resume: bool) -> tuple[Sequence[str], str | None]:
    """Tell inputs from the output; a file that exists is one only if a ledger says so."""
    if wishes.output is not None or wishes.beside or wishes.in_place or len(wishes.paths) == 1:
        return wishes.paths, wishes.output
    *inputs, output = wishes.paths
    is_new = output == STREAM or not Path(output).exists() or Path(output).is_dir()
    if not is_new and not (resume and _Known()(Path(output).parent, Path(output))):
        msg = f"{output} exists: is it the output or one more input?"
        hint = f"say `--output {output} --existing overwrite` to replace it, or `--beside` to restore it too"
        raise UsageError(msg, hint=hint)
    return inputs, output


def _destination(wishes: PathWishes, write: WriteWishes, inputs: Sequence[Path], output: str | None) -> Destination:
    written_suffix = functools.cache(functools.partial(_written_suffix, format_name=write.format))
    if wishes.in_place:
        return Destination(kind="in place", ledger=write.resume, written_suffix=written_suffix)
    if output is None:
        suffix = wishes.task_suffix if wishes.suffix is None else wishes.suffix
        return Destination(kind="beside", suffix=suffix, ledger=write.resume, written_suffix=written_suffix)
    path = Path(output)
    is_folder = path.is_dir() or output.endswith(("/", os.sep))
    if len(inputs) == 1 and not inputs[0].is_dir() and not is_folder:
        _require_written_format(path, write.format)
        return Destination(kind="file", path=path, ledger=write.resume, written_suffix=written_suffix)
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file, and {_several(inputs)} need a folder", hint="name a folder as the output")
    if not is_folder and path.suffix and promised_format(path.name):
        msg = f"{path} does not exist, and as the output of {_several(inputs)} it would be a folder"
        raise UsageError(msg, hint=f"say {output}/ if it is one, or --beside if all are inputs")
    return Destination(
        kind="folder",
        path=path,
        suffix=wishes.suffix or "",
        nested=len(inputs) > 1,
        written_suffix=written_suffix,
    )


def _several(inputs: Sequence[Path]) -> str:
    return f"{len(inputs)} inputs" if len(inputs) > 1 else f"the folder {inputs[0]}"


def _same_folder(one: Path | None, other: Path) -> bool:
    return one is not None and one.is_dir() and other.is_dir() and one.samefile(other)


def format_named(name: str) -> str:
    """Return Pillow's name of a format that a person names ("jpg", "TIFF").

    Raises:
        UsageError: If no such format is written; the known ones are in the message.
    """
    promised = promised_format(f"x.{name}")
    if promised not in WRITABLE_FORMATS:
        known = ", ".join(written.lower() for written in WRITABLE_FORMATS)
        raise UsageError(f"pictures are not written as {name!r}", hint=f"choose --format {known}")
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
        if promised not in WRITABLE_FORMATS:
            msg = f"--in-place cannot write {job.source} back as {job.target.suffix or 'a file without suffix'}"
            raise UsageError(msg, hint="restore it --beside, or leave it out")

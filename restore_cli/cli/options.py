"""The options several commands share, each written down once.

Stage 1, ASK. An option is an `Annotated` type; options that always come together are the fields of a frozen dataclass,
which a command takes as one parameter (see `registration`).
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from restore_cli.cli.output import Output
from restore_cli.cli.registration import option
from restore_cli.errors import ManifestError, UsageError
from restore_cli.imaging.background import color_named
from restore_cli.jobs.choose import WeightsRequest
from restore_cli.jobs.plan import format_named
from restore_cli.jobs.shard import parse_shard
from restore_cli.settings import (
    MAX_PIXELS,
    Existing,
    Padding,
    PathSettings,
    ReadSettings,
    RunSettings,
    SizeSettings,
    Tile,
    Workers,
    WriteSettings,
)
from restore_cli.storage.files import is_address, is_in_bucket
from restore_cli.weights.manifest import left_out

COMMON = "Options"
FILES = "Reading and writing"
NETWORK = "Network"
RESULTS = "Results"
MESSAGES = "Messages"

_UNITS = {"M": 1 << 20, "G": 1 << 30}


def complete_model(incomplete: str) -> list[str]:
    """Offer the names of models and the full ids of weights that begin with what was typed."""
    from restore_cli.errors import RestoreError
    from restore_cli.weights.manifest import load_manifest

    try:
        entries = load_manifest().entries
    except RestoreError:  # the shell shows nothing; the command itself will tell
        return []
    return sorted(name for name in {e.model for e in entries} | {e.id for e in entries} if name.startswith(incomplete))


@dataclass(frozen=True, kw_only=True)
class ByteSize:
    """An amount of memory as options take it: "512M", "2G", in powers of 1024."""

    size: int

    @classmethod
    def parse(cls, text: str) -> ByteSize:
        """Read a number with a unit of M or G."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([MG])(?:i?B)?", text, flags=re.IGNORECASE)
        size = 0 if match is None else int(float(match[1]) * _UNITS[match[2].upper()])
        if size < _UNITS["M"]:
            msg = f"{text!r} is no amount of memory such as 512M or 2G."
            raise typer.BadParameter(msg)
        return cls(size=size)


# One by one, for commands that need only some of them.
Model = Annotated[
    str | None,
    option(
        COMMON,
        "--model",
        "-m",
        "Use this network or weights id; see `restore models`.",
        autocompletion=complete_model,
        metavar="NAME",
    ),
]
WeightsFile = Annotated[
    str | None, option(NETWORK, "--weights", "Use your own weights, a file or an address.", metavar="FILE")
]
Offline = Annotated[bool, option(NETWORK, "--offline", "Never download anything.")]
Device = Annotated[str, option(COMMON, "--device", "Run on auto, cpu, cuda, cuda:1 or mps.", metavar="NAME")]
Dtype = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"],
    option(NETWORK, "--dtype", "Precision: auto, float32, bfloat16 or float16.", metavar="TYPE"),
]
Threads = Annotated[int | None, option(NETWORK, "--threads", "CPU threads of one operation.", metavar="N", min=1)]
Json = Annotated[bool, option(COMMON, "--json", "Print JSON Lines in place of text.")]
Quiet = Annotated[bool, option(MESSAGES, "--quiet", "-q", "Show only warnings and errors.")]
Verbose = Annotated[bool, option(MESSAGES, "--verbose", "-v", "Show what was chosen, and why.")]
Progress = Annotated[
    bool, option(MESSAGES, "--progress/--no-progress", "Show a bar, or a line for each image in a pipe.")
]
Debug = Annotated[bool, option(MESSAGES, "--debug", "Show a traceback with an error.")]


@dataclass(frozen=True, kw_only=True)
class MessageOptions:
    """Options of what is said while a command runs."""

    json: Json = False
    quiet: Quiet = False
    verbose: Verbose = False
    progress: Progress = True
    debug: Debug = False  # read from argv by app.run, since an error may come before any option is parsed

    def open(self) -> Output:
        """Return the output these options describe, after a warning of each entry of one's own that is left out."""
        out = Output(json=self.json, quiet=self.quiet, verbose=self.verbose, progress=self.progress)
        with suppress(ManifestError):  # what needs the list will tell
            for warning in left_out():
                out.warn(warning)
        return out


Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT... [OUTPUT]",
        show_default=False,
        help="Images, folders, patterns, addresses or -; of several the last is the output, else it goes beside the "
        "input.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Background:
    """A colour as --background takes it, RGB in [0, 1]."""

    color: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @classmethod
    def parse(cls, text: str) -> Background:
        """Read a name or a hexadecimal colour."""
        try:
            return cls(color=color_named(text))
        except ValueError as error:
            msg = f"{text!r} is neither the name of a colour nor one such as '#336699'."
            raise typer.BadParameter(msg) from error


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """Options of how images are read and written."""

    max_pixels: Annotated[int, option(FILES, "--max-pixels", "Refuse images with more pixels.", metavar="N", min=1)] = (
        MAX_PIXELS
    )
    allow_damaged: Annotated[bool, option(FILES, "--allow-damaged", "Read what there is of damaged images.")] = False
    all_pages: Annotated[bool, option(FILES, "--all-pages", "Restore every page of a TIFF, into one TIFF.")] = False
    strict: Annotated[bool, option(FILES, "--strict", "Treat warnings as errors.")] = False
    format: Annotated[
        str | None,
        option(COMMON, "--format", "Write png, jpeg, webp, tiff, ... [default: as the input]", metavar="NAME"),
    ] = None
    quality: Annotated[
        int, option(COMMON, "--quality", "Quality of lossy formats, 1 to 100.", metavar="N", min=1, max=100)
    ] = 95
    lossless: Annotated[bool, option(FILES, "--lossless", "Write WebP, HEIF and JPEG XL without loss.")] = False
    strip: Annotated[bool, option(FILES, "--strip", "Leave EXIF, XMP, IPTC, texts and DPI out of results.")] = False
    background: Annotated[
        Background | None,
        option(
            FILES,
            "--background",
            "Colour behind transparency, such as white or '#336699'.",
            metavar="COLOR",
            parser=Background.parse,
        ),
    ] = None
    width: Annotated[int | None, option(FILES, "--width", "Resize results to this width.", metavar="N", min=1)] = None
    height: Annotated[
        int | None,
        option(FILES, "--height", "Resize results to this height; with --width, into both.", metavar="N", min=1),
    ] = None
    long_side: Annotated[
        int | None,
        option(FILES, "--long-side", "Resize results so that their longer side has this size.", metavar="N", min=1),
    ] = None

    def read_settings(self) -> ReadSettings:
        """Return how images are to be read."""
        return ReadSettings(
            max_pixels=self.max_pixels, strict=self.strict, allow_damaged=self.allow_damaged, all_pages=self.all_pages
        )

    def size_settings(self) -> SizeSettings:
        """Return how large results are to be.

        Raises:
            UsageError: If the options contradict each other.
        """
        if self.long_side is not None and (self.width is not None or self.height is not None):
            other = "--width" if self.width is not None else "--height"
            raise UsageError(f"--long-side and {other} contradict each other", hint="choose one of them")
        return SizeSettings(width=self.width, height=self.height, long_side=self.long_side)


@dataclass(frozen=True, kw_only=True)
class FileOptions(ImageOptions):
    """Options of what is read and where results go."""

    output: Annotated[str | None, option(COMMON, "--output", "-o", "Write to this file or folder.", metavar="PATH")] = (
        None
    )
    beside: Annotated[bool, option(FILES, "--beside", "Write results beside their inputs; all paths are inputs.")] = (
        False
    )
    in_place: Annotated[bool, option(FILES, "--in-place", "Replace the inputs by their results.")] = False
    recursive: Annotated[bool, option(COMMON, "--recursive", "-r", "Restore subfolders too.")] = False
    include: Annotated[
        list[str] | None,
        option(FILES, "--include", "Restore only files whose name fits, such as 'IMG_*'.", metavar="PATTERN"),
    ] = None
    exclude: Annotated[
        list[str] | None, option(FILES, "--exclude", "Leave out files and folders whose name fits.", metavar="PATTERN")
    ] = None
    existing: Annotated[
        Existing,
        option(COMMON, "--existing", "For existing outputs: error, skip, overwrite or rename.", metavar="WHAT"),
    ] = "error"
    resume: Annotated[bool, option(COMMON, "--resume", "Skip what the output folder's ledger proves done.")] = False
    shard: Annotated[
        str | None, option(FILES, "--shard", "Restore only part I of N of the images, from 0.", metavar="I/N")
    ] = None
    allow_private: Annotated[
        bool, option(FILES, "--allow-private", "Let addresses be http, or lead into private networks.")
    ] = False
    keep_times: Annotated[bool, option(FILES, "--keep-times", "Give results the times of their inputs.")] = False
    suffix: Annotated[
        str | None, option(FILES, "--suffix", "Put this behind the names of results.", metavar="TEXT")
    ] = None
    fail_fast: Annotated[bool, option(FILES, "--fail-fast", "Stop at the first image that fails.")] = False
    retry_failed: Annotated[
        bool, option(FILES, "--retry-failed", "Try images again that crashed the program twice.")
    ] = False
    dry_run: Annotated[bool, option(COMMON, "--dry-run", "-n", "Show what would be done, and touch nothing.")] = False
    report: Annotated[
        str | None, option(FILES, "--report", "Write the JSON Lines to a new file or object too.", metavar="FILE")
    ] = None

    compare: Annotated[
        Path | None, option(FILES, "--compare", "Write a page with a slider between before and after.", metavar="PAGE")
    ] = None

    def path_settings(self, paths: list[str]) -> PathSettings:
        """Return which files are meant by INPUT... [OUTPUT] as typed."""
        return PathSettings(
            paths=tuple(paths),
            output=self.output,
            beside=self.beside,
            in_place=self.in_place,
            recursive=self.recursive,
            include=tuple(self.include or ()),
            exclude=tuple(self.exclude or ()),
            suffix=self.suffix,
            shard=None if self.shard is None else parse_shard(self.shard),
            allow_private=self.allow_private,
        )

    def write_settings(self) -> WriteSettings:
        """Return how results are to be written.

        Raises:
            UsageError: If the format is none we write, or options contradict each other.
        """
        return WriteSettings(
            format=None if self.format is None else format_named(self.format),
            quality=self.quality,
            lossless=self.lossless,
            strip=self.strip,
            background=(self.background or Background()).color,
            size=self.size_settings(),
            existing="overwrite" if self.in_place else self.existing,
            resume=self.resume,
            keep_times=self.keep_times,
        )


@dataclass(frozen=True, kw_only=True)
class WeightsOptions:
    """Options of which weights are used."""

    model: Model = None
    weights: WeightsFile = None
    offline: Offline = False

    def request(
        self,
        task: str,
        *,
        scale: int | None = None,
        sigma: float | Literal["auto"] | None = None,
        gray: bool | None = None,
        variant: str | None = None,
    ) -> WeightsRequest:
        """Return which weights are wanted for a task and its options."""
        is_here = self.weights is None or not (is_address(self.weights) or is_in_bucket(self.weights))
        return WeightsRequest(
            task=task,
            model=self.model,
            path=Path(self.weights) if is_here and self.weights is not None else None,
            url=None if is_here else self.weights,
            scale=scale,
            sigma=sigma,
            gray=gray,
            variant=variant,
            offline=self.offline,
        )


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Options of how the network runs on an image."""

    device: Device = "auto"
    dtype: Dtype = "auto"
    tile: Annotated[
        str, option(NETWORK, "--tile", "Cut images into tiles of so many pixels; off: never.", metavar="SIZE")
    ] = "auto"
    overlap: Annotated[
        int, option(NETWORK, "--overlap", "Pixels that neighbouring tiles share.", metavar="N", min=0)
    ] = 32
    context: Annotated[
        Literal["auto", "mixed", "local", "global", "tile"],
        option(NETWORK, "--context", "Channel attention: auto, global, local, mixed or tile.", metavar="WHERE"),
    ] = "auto"
    max_memory: Annotated[
        ByteSize | None,
        option(
            NETWORK,
            "--max-memory",
            "Memory for an image at most, such as 512M or 2G.",
            metavar="SIZE",
            parser=ByteSize.parse,
        ),
    ] = None
    pad: Annotated[
        Padding, option(NETWORK, "--pad", "Edge padding; `symmetric` reproduces published scores.", metavar="KIND")
    ] = "reflect"
    tta: Annotated[bool, option(NETWORK, "--tta", "Average 8 flips and turns: a little better, 8x slower.")] = False
    compile: Annotated[bool, option(NETWORK, "--compile", "Run through torch.compile, which pays on a GPU.")] = False
    threads: Threads = None

    def settings(self) -> RunSettings:
        """Return how the network is to be run.

        Raises:
            UsageError: If an option names nothing known, or two contradict each other.
        """
        if re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", self.device) is None:
            raise UsageError(f"unknown device {self.device!r}", hint="use auto, cpu, cuda, cuda:1 or mps")
        tile = parse_tile(self.tile)
        if isinstance(tile, int) and tile <= self.overlap:
            msg = f"tiles of {tile} pixels do not advance at an overlap of {self.overlap}"
            raise UsageError(msg, hint="use a larger --tile or a smaller --overlap")
        if isinstance(tile, int) and self.context not in {"auto", "tile"}:
            msg = f"--context {self.context} needs the whole image, --tile cuts it"
            raise UsageError(msg, hint="leave one of them out")
        return RunSettings(
            device=self.device,
            dtype=self.dtype,
            tile=tile,
            overlap=self.overlap,
            context=self.context,
            max_memory=None if self.max_memory is None else self.max_memory.size,
            pad=self.pad,
            tta=self.tta,
            compile=self.compile,
            threads=self.threads,
        )


@dataclass(frozen=True, kw_only=True)
class RunOptions(NetworkOptions):
    """Options of how the network runs through many images."""

    jobs: Annotated[int, option(NETWORK, "--jobs", "-j", "Images to read and write at once.", metavar="N", min=1)] = 2
    workers: Annotated[
        str | None, option(NETWORK, "--workers", "Share images among N processes, or MIN-MAX of ray.", metavar="N")
    ] = None
    engine: Annotated[
        Literal["processes", "ray"],
        option(NETWORK, "--engine", "Run workers as processes here, or as actors of ray.", metavar="NAME"),
    ] = "processes"
    address: Annotated[
        str | None,
        option(NETWORK, "--address", "Ray cluster to join, or auto; by default one is started.", metavar="HOST"),
    ] = None

    def sharing(self, files: FileOptions) -> FileOptions:
        """Return what is read and where results go, with --resume where workers share the images.

        Raises:
            UsageError: If something does not go with workers.
        """
        if self.workers is None and self.engine == "ray":
            raise UsageError("--engine ray needs to know how many actors", hint="add --workers N")
        if self.address is not None and self.engine != "ray":
            raise UsageError("--address is that of a Ray cluster", hint="add --engine ray")
        if self.workers is None:
            return files
        if files.compare is not None:
            msg = "--workers and --compare contradict each other"
            raise UsageError(msg, hint="make the page afterwards with `restore compare`")
        return replace(files, resume=True)

    def crew(self) -> Workers | None:
        """Return who shares the images, None for this process alone.

        Raises:
            UsageError: If their number is none.
        """
        if self.workers is None:
            return None
        count, most = parse_workers(self.workers)
        if most is not None and self.engine != "ray":
            raise UsageError(f"--workers {self.workers} is a range", hint="say one number, or add --engine ray")
        return Workers(count=count, most=most, engine=self.engine, address=self.address)


@dataclass(frozen=True, kw_only=True)
class SameSizeOptions(RunOptions):
    """The same for networks whose results have the size of their inputs."""

    strength: Annotated[
        float,
        option(
            COMMON,
            "--strength",
            "Blend: 1 is the result, 0.5 halfway to the input.",
            metavar="0..1",
            min=0.0,
            max=1.0,
            show_default=False,
        ),
    ] = 1.0

    def settings(self) -> RunSettings:
        """Return how the network is to be run; raises as `NetworkOptions.settings` does."""
        return replace(super().settings(), strength=self.strength)


def parse_workers(text: str) -> tuple[int, int | None]:
    """Read a number of workers, "4", or a range, "1-64".

    Raises:
        UsageError: If it is neither.

    Example:
        >>> parse_workers("4"), parse_workers("1-64")
        ((4, None), (1, 64))
    """
    match = re.fullmatch(r"([1-9]\d*)(?:-([1-9]\d*))?", text, flags=re.ASCII)
    least, most = (0, None) if match is None else (int(match[1]), None if match[2] is None else int(match[2]))
    if match is None or (most is not None and most < least):
        raise UsageError(f"--workers {text} is no number of workers", hint="say 4, or 1-64 with --engine ray")
    return least, most


def parse_tile(text: str) -> Tile:
    """Read "auto", "off" or a side in pixels.

    Raises:
        UsageError: If it is none of them.
    """
    if text == "auto":
        return "auto"
    if text == "off":
        return "off"
    if not text.isdecimal() or int(text) == 0:
        raise UsageError(f"--tile {text} is no size", hint="use auto, off or a number of pixels")
    return int(text)

"""What a run can be asked for, each setting declared once: how files are found, read and written, how the network runs.

Stage 1, ASK. The command line, the Python API and the plan all hold these same objects, so this module imports nothing
of the package.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

MAX_PIXELS = 89_500_000
USUAL_QUALITY = 95

Existing = Literal["error", "skip", "overwrite", "rename"]
Context = Literal["mixed", "local", "global", "tile"]
Padding = Literal["reflect", "symmetric"]
Tile = int | Literal["auto", "off"]


@dataclass(frozen=True, kw_only=True)
class ReadSettings:
    """Say how image files are read.

    Attributes:
        max_pixels: Refuse images with more pixels than this; results may have 16 times as many.
        strict: Refuse what would otherwise cost a warning.
        allow_damaged: Read what there is of a damaged file, with a warning.
        all_pages: Read every page of a TIFF, not its first alone.
    """

    max_pixels: int = MAX_PIXELS
    strict: bool = False
    allow_damaged: bool = False
    all_pages: bool = False


@dataclass(frozen=True, kw_only=True)
class SizeSettings:
    """Say how large results are to be; None leaves a side to the others, all None to the network.

    Attributes:
        width: Pixels across, at most.
        height: Pixels down, at most.
        long_side: Pixels of the longer side, at most.
    """

    width: int | None = None
    height: int | None = None
    long_side: int | None = None


@dataclass(frozen=True, kw_only=True)
class Share:
    """Say what of a machine is this process's, where several work on it.

    Attributes:
        memory: Bytes of the machine's memory that it may count as free.
        device: Share of the memory of its GPU, 0..1.
    """

    memory: int
    device: float = 1.0


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Say how a network is to be run.

    Attributes:
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        dtype: "auto", "float32", "bfloat16" or "float16".
        tile: Side of a square tile in input pixels, "auto" from the free memory, "off" for the whole image at once.
        overlap: Input pixels shared by neighbouring tiles.
        context: Where channel attention takes its statistics: the whole image, cells of about the training size, a
            share of both, or each tile; "auto" is what the weights were measured best with.
        max_memory: Bytes an image's feature maps may take, None for a part of what is free.
        pad: How borders are continued to a multiple of the network's unit.
        tta: Mean over the eight flips and rotations.
        compile: Run the network through torch.compile.
        threads: CPU threads of one operation; None leaves torch's choice.
        sigma: Level of the noise on the 0..255 scale for networks that take one; None lets them find it themselves.
        strength: Share of the network's result in what comes out, 0..1; the rest is the input, of the same size.
        share: What of the machine is this process's; None for all that is free.
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
    sigma: float | None = None
    strength: float = 1.0
    share: Share | None = None


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Say who shares the images of a run.

    Attributes:
        count: How many workers begin.
        most: How many there may be while images wait; None for no more.
        engine: "processes" of this machine, or actors of "ray".
        address: Of the Ray cluster, HOST or HOST:PORT; "auto" for the one this machine is part of; None starts one.
    """

    count: int
    engine: Literal["processes", "ray"] = "processes"
    address: str | None = None
    most: int | None = None


@dataclass(frozen=True, kw_only=True)
class WriteSettings:
    """Say how results are to be written.

    Attributes:
        format: Pillow's name of the output format, or None to keep the input's (GIF and BMP become PNG).
        quality: JPEG, WebP, AVIF, HEIF and JPEG XL quality, 1..100.
        lossless: Keep every value where the format has a choice, and refuse those that never do.
        strip: Leave EXIF, XMP, IPTC, texts and DPI out (the colour profile stays).
        background: RGB in [0, 1] that transparency is laid on where a format knows none.
        size: How large results are to be.
        existing: What to do where the output exists.
        resume: Pass over what the ledger proves done, and replace what it knows and finds otherwise.
        keep_times: Give results their sources' times of last change and last access.
    """

    format: str | None = None
    quality: int = USUAL_QUALITY
    lossless: bool = False
    strip: bool = False
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    size: SizeSettings = field(default_factory=SizeSettings)
    existing: Existing = "error"
    resume: bool = False
    keep_times: bool = False


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Say which part of the images is meant, one of several that together are all of them.

    Attributes:
        index: Which part, 0..count-1.
        count: How many parts there are.
    """

    index: int
    count: int


@dataclass(frozen=True, kw_only=True)
class PathSettings:
    """Say which files are meant, as they were typed.

    Attributes:
        paths: INPUT... [OUTPUT]; a separator at the end of an output means a folder.
        output: The output said outright; all `paths` are inputs then.
        beside: All `paths` are inputs, results go beside them.
        in_place: All `paths` are inputs, results replace them.
        recursive: Take the subfolders of folders too.
        include: Patterns of which an image's name must fit one; none for all.
        exclude: Patterns of names to leave out.
        suffix: Put behind the names of results; None means `task_suffix` beside the inputs and nothing elsewhere.
        task_suffix: What the task calls its results ("_x4"); a batch sets it itself.
        shard: Take only this part of the images; None takes all.
        allow_private: Let addresses lead into private networks, and over http.
    """

    paths: tuple[str, ...]
    output: str | None = None
    beside: bool = False
    in_place: bool = False
    recursive: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    suffix: str | None = None
    task_suffix: str = ""
    shard: Shard | None = None
    allow_private: bool = False

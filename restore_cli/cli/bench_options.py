"""The options of `restore bench`: what is measured, under which conditions, and what becomes of the numbers.

Stage 1, ASK. Every condition takes several values, with commas between them or the option given again; all values of
all conditions are crossed with each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar, get_args

from restore_cli.cli.options import COMMON, NETWORK, RESULTS, Device, complete_model, parse_tile
from restore_cli.cli.registration import option
from restore_cli.errors import UsageError
from restore_cli.settings import Context

if TYPE_CHECKING:
    from restore_cli.benchmark.cases import BenchSettings, Size

MEASURING = "Measuring"
CONDITIONS = "Conditions (several values with commas; all are crossed)"

_GROWTH_LOWEST = 0.05
_GROWTH_MOST = 200.0
_QUICK_SECONDS, _FULL_SECONDS = 1.0, 10.0

_Value = TypeVar("_Value")


@dataclass(frozen=True, kw_only=True)
class SubjectOptions:
    """Options of which networks are measured."""

    model: Annotated[
        list[str] | None,
        option(
            COMMON,
            "--model",
            "-m",
            "Measure this network or weights id; several with commas. A network has a row for each scale or task.",
            autocompletion=complete_model,
            metavar="NAME,...",
        ),
    ] = None
    weights: Annotated[
        list[Path] | None,
        option(
            NETWORK,
            "--weights",
            "Measure a network of your own, from its file; give it again for more. A file that does not tell "
            "its network must fit the one that --model names.",
            metavar="FILE",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ConditionOptions:
    """Options of the conditions; several values of one are crossed with those of the others."""

    size: Annotated[
        list[str] | None,
        option(
            CONDITIONS,
            "--size",
            "Size of the output in pixels; the input is that divided by the scale. [default: 256x144, with --full "
            "1280x720 as in papers; classifiers 224x224]",
            metavar="WxH,...",
        ),
    ] = None
    growth: Annotated[
        str | None,
        option(
            CONDITIONS,
            "--growth",
            "Grow inputs from LOW (0.05) to HIGH Mpixel, doubling, through the engine, in place of --size: shows "
            "how straight time and memory grow.",
            metavar="[LOW..]HIGH",
        ),
    ] = None
    batch: Annotated[
        list[str] | None, option(CONDITIONS, "--batch", "Images in a run. [default: 1]", metavar="N,...")
    ] = None
    dtype: Annotated[
        list[str] | None,
        option(
            CONDITIONS, "--dtype", "Precision: auto, float32, bfloat16 or float16. [default: auto]", metavar="NAME,..."
        ),
    ] = None
    threads: Annotated[
        list[str] | None, option(CONDITIONS, "--threads", "CPU threads of one operation.", metavar="N,...")
    ] = None
    context: Annotated[
        list[str] | None,
        option(
            CONDITIONS,
            "--context",
            "Channel attention: auto, global, local, mixed or tile, as in `restore sr`. Measures the engine.",
            metavar="NAME,...",
        ),
    ] = None
    tile: Annotated[
        list[str] | None,
        option(
            CONDITIONS,
            "--tile",
            "Side of the tiles in input pixels, as in `restore sr`. Measures the engine.",
            metavar="auto|off|N,...",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class MeasuringOptions:
    """Options of how it is measured."""

    engine: Annotated[
        bool,
        option(
            MEASURING,
            "--engine",
            "Measure images through the engine, as `restore sr` runs them, in place of the network alone.",
        ),
    ] = False
    runs: Annotated[
        int | None,
        option(
            MEASURING,
            "--runs",
            "Timed runs of a row; 0 only counts. [default: what fits --seconds, 3 to 100, fewer if very slow]",
            metavar="N",
            min=0,
        ),
    ] = None
    warmup: Annotated[
        int | None,
        option(
            MEASURING,
            "--warmup",
            "Runs before the timed ones. [default: a second's worth, 1 to 20; none where one run takes --seconds]",
            metavar="N",
            min=1,
        ),
    ] = None
    full: Annotated[
        bool, option(MEASURING, "--full", "Measure at 1280x720 for longer: minutes in place of seconds.")
    ] = False
    seconds: Annotated[
        float | None,
        option(
            MEASURING,
            "--seconds",
            "Seconds of timed runs for each row, about. [default: 10; without --size, --growth and --full 1]",
            metavar="S",
            min=0,
        ),
    ] = None
    device: Device = "auto"
    compile: Annotated[
        bool, option(NETWORK, "--compile", "Run through torch.compile, whose own time is shown beside it.")
    ] = False


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Options of what becomes of the numbers."""

    csv: Annotated[Path | None, option(RESULTS, "--csv", "Write all rows as CSV too.", metavar="FILE")] = None
    html: Annotated[
        Path | None, option(COMMON, "--html", "Write a page with all numbers and charts too.", metavar="FILE")
    ] = None
    existing: Annotated[
        Literal["error", "overwrite"],
        option(RESULTS, "--existing", "For existing files: error or overwrite.", metavar="WHAT"),
    ] = "error"
    against: Annotated[
        Path | None,
        option(
            COMMON,
            "--against",
            "Show ratios to an earlier --json; exit with 1 where latency or memory grew beyond --tolerance.",
            metavar="FILE.json",
        ),
    ] = None
    tolerance: Annotated[
        float,
        option(RESULTS, "--tolerance", "Growth that --against lets pass; 0.1 is a tenth.", metavar="SHARE", min=0),
    ] = 0.1


def settings_of(conditions: ConditionOptions, measuring: MeasuringOptions) -> BenchSettings:
    """Return what is to be varied, and how it is measured.

    Raises:
        UsageError: If a value cannot be read, or two options contradict each other.
    """
    from restore_cli.benchmark.cases import BenchSettings

    if conditions.size and conditions.growth:
        raise UsageError("--growth chooses the sizes itself", hint="leave --size out")
    quick = not (conditions.size or conditions.growth or measuring.full)
    return BenchSettings(
        sizes=tuple(map(parse_size, split(conditions.size))),
        full=measuring.full,
        growth=None if conditions.growth is None else parse_growth(conditions.growth),
        batches=_each(conditions.batch, lambda text: _count("--batch", text)) or (1,),
        dtypes=split(conditions.dtype) or ("auto",),
        threads=_each(conditions.threads, lambda text: _count("--threads", text)) or (None,),
        engine=measuring.engine,
        tiles=_each(conditions.tile, parse_tile),
        contexts=_each(conditions.context, _context),
        device=measuring.device,
        compile=measuring.compile,
        runs=measuring.runs,
        warmup=measuring.warmup,
        seconds=(_QUICK_SECONDS if quick else _FULL_SECONDS) if measuring.seconds is None else measuring.seconds,
    )


def split(texts: Sequence[str] | None) -> tuple[str, ...]:
    """Return the values of an option, each once, whether they came with commas or one by one.

    Example:
        >>> split(["a,b", "c , a"])
        ('a', 'b', 'c')
    """
    values = (value.strip() for text in texts or () for value in text.split(","))
    return tuple(dict.fromkeys(value for value in values if value))


def parse_size(text: str) -> Size:
    """Read "1280x720" (width first, as people write it) into (height, width).

    Raises:
        UsageError: If it is not of that form.
    """
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text.strip().lower())
    if match is None:
        msg = f"cannot read --size {text!r}"
        raise UsageError(msg, hint="write width and height of the output, such as 1280x720")
    return int(match[2]), int(match[1])


def parse_growth(text: str) -> tuple[float, float]:
    """Read "0.05..16" or "16" into the least and the largest input, in Mpixel.

    Raises:
        UsageError: If it is not of that form, or there is nothing between the two.
    """
    match = re.fullmatch(r"(?:(\d*\.?\d+)\.\.)?(\d*\.?\d+)", text.strip())
    if match is None:
        msg = f"cannot read --growth {text!r}"
        raise UsageError(msg, hint="write the largest input in Mpixel, such as 16, or from and to, such as 0.05..16")
    low, high = float(match[1] or _GROWTH_LOWEST), float(match[2])
    if not 0 < low < high <= _GROWTH_MOST:
        raise UsageError(f"--growth {text}: {low:g} to {high:g} Mpixel is no growth", hint="such as 0.05..16")
    return low, high


def _each(texts: Sequence[str] | None, read: Callable[[str], _Value]) -> tuple[_Value, ...]:
    return tuple(read(text) for text in split(texts))


def _count(option: str, text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise UsageError(f"cannot read {option} {text!r}", hint="write whole numbers from 1, such as 1,2,4")
    return int(text)


def _context(text: str) -> Context | Literal["auto"]:
    known: tuple[Context | Literal["auto"], ...] = ("auto", *get_args(Context))
    for name in known:
        if name == text:
            return name
    raise UsageError(f"unknown context {text!r}", hint=f"use {', '.join(known)}")

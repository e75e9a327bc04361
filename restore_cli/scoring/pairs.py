"""Pair degraded with clean images, by name and never by sorted order.

Stage 2 of scoring, PLAN: names and folders only, no pixels. An image is known by its file name without the suffix. A
degraded image has its clean one's name, or that name with the factor behind it, as the published test sets write it
(`babyx4.png`, `baby_x4.png`, `baby-X4.png` for `baby.png` at factor 4). What has no partner is an error that names it:
a missing file would change the mean without a word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from restore_cli.errors import UsageError
from restore_cli.imaging.decode import SUFFIXES

_NAMED_AT_MOST = 5


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One image to score.

    Attributes:
        name: What tables and files call it: the clean file's name without its suffix.
        clean: The truth.
        degraded: The input that belongs to it, or None where it is made from the clean one.
    """

    name: str
    clean: Path
    degraded: Path | None = None


def find_pairs(
    clean: Path, degraded: Path | None = None, *, scale: int = 1, words: tuple[str, str] | None = None
) -> tuple[Pair, ...]:
    """Pair the images of two folders (or two files) by name.

    Args:
        clean: Folder of the truth, or one file.
        degraded: Folder of the inputs, or one file where `clean` is one; None makes the inputs later on.
        scale: Factor that a degraded file's name may have behind it ("x4"); 1 allows none.
        words: What a clean file's name has in place of what the degraded one's has, such as ("GT", "NOISY").

    Returns:
        The pairs, ordered by name with numbers in their natural order.

    Raises:
        UsageError: If a path is missing, a folder holds no image, two files of a folder share a name, or a file has
            no partner.
    """
    if degraded is not None and clean.is_file() and degraded.is_file():
        return (Pair(name=clean.stem, clean=clean, degraded=degraded),)
    truths = _images_by_name(clean, "--clean")
    if degraded is None:
        return tuple(Pair(name=name, clean=truths[name]) for name in _natural_order(truths))
    inputs = _match(_images_by_name(degraded, "--degraded"), truths, scale, words)
    _refuse_unpaired(truths.keys() - inputs.keys(), truths, f"no degraded image in {degraded}")
    return tuple(Pair(name=name, clean=truths[name], degraded=inputs[name]) for name in _natural_order(truths))


def _images_by_name(path: Path, option: str) -> dict[str, Path]:
    """Return the images of a folder (or the one file) under their names without suffix, NFC-normalised."""
    if path.is_file():
        return {_name_of(path): path}
    if not path.is_dir():
        raise UsageError(f"{option} {path}: no such file or folder")
    found: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        if file.name.startswith(".") or file.suffix.lower() not in SUFFIXES or not file.is_file():
            continue
        name = _name_of(file)
        if name in found:
            raise UsageError(
                f"{found[name]} and {file.name} have the same name, so that no pair can be told", hint="remove one"
            )
        found[name] = file
    if not found:
        raise UsageError(f"{option} {path}: no images in this folder")
    return found


def _name_of(path: Path) -> str:
    return unicodedata.normalize("NFC", path.stem)


def _match(
    inputs: Mapping[str, Path], truths: Mapping[str, Path], scale: int, words: tuple[str, str] | None
) -> dict[str, Path]:
    """Return the degraded files under their clean images' names."""
    matched: dict[str, Path] = {}
    lost: set[str] = set()
    for name, file in inputs.items():
        wanted = name if words is None else name.replace(words[1], words[0], 1)
        truth = wanted if wanted in truths else _without_factor(wanted, scale)
        if truth not in truths:
            lost.add(name)
        elif truth in matched:
            raise UsageError(f"{matched[truth]} and {file.name} both belong to {truths[truth]}", hint="remove one")
        else:
            matched[truth] = file
    _refuse_unpaired(lost, inputs, "no clean image of that name")
    return matched


def _without_factor(name: str, scale: int) -> str:
    """Take a factor's marking off a name: "babyx4", "baby_x4", "baby-X4" -> "baby" at factor 4."""
    return name if scale == 1 else re.sub(rf"(?i)[_-]?x{scale}$", "", name)


def _refuse_unpaired(names: set[str], files: Mapping[str, Path], reason: str) -> None:
    if not names:
        return
    shown = [str(files[name]) for name in _natural_order(names)]
    more = "" if len(shown) <= _NAMED_AT_MOST else f" and {len(shown) - _NAMED_AT_MOST} more"
    raise UsageError(f"{', '.join(shown[:_NAMED_AT_MOST])}{more}: {reason}", hint="images are paired by name")


def _natural_order(names: Mapping[str, Path] | set[str]) -> list[str]:
    """Sort so that img2 stands before img10."""
    return sorted(names, key=lambda name: ([_digits_as_number(part) for part in re.split(r"(\d+)", name)], name))


def _digits_as_number(part: str) -> tuple[int, str]:
    return (int(part), "") if part.isdecimal() else (-1, part)

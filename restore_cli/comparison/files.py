"""Compare files that exist (`restore_cli.compare`, which `restore compare` calls), and write any comparison's page."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from restore_cli.comparison.entry import Entry, scores_of
from restore_cli.comparison.gallery import Gallery
from restore_cli.comparison.page import TITLE, comparison_page
from restore_cli.errors import ImageError, UsageError
from restore_cli.imaging.decode import MAX_PIXELS, decode
from restore_cli.imaging.formats import SUFFIXES
from restore_cli.settings import ReadSettings
from restore_cli.storage.files import Like, publish

Pair = tuple[Path, Path, Path | None]
"""Before, after, and the truth where there is one."""

_FIRST_CHARACTERS = 2000
_OF_RESULTS = ReadSettings(max_pixels=16 * MAX_PIXELS)  # results may have so many times the pixels of an input


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What became of a comparison.

    Attributes:
        page: The page that was written, None where no images could be compared.
        entries: What was compared, the most changed first.
        failures: Why the others could not be.
    """

    page: Path | None
    entries: tuple[Entry, ...]
    failures: tuple[ImageError, ...]


def compare(
    before: str | os.PathLike[str],
    after: str | os.PathLike[str],
    page: str | os.PathLike[str] | None = None,
    *,
    truth: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int, Pair, ImageError | None], None] | None = None,
) -> Compared:
    """Write a page that shows images before and after, with a slider between them.

    Args:
        before: An image or a folder.
        after: The same kind; in a folder the image after has the name of the one before, with anything behind it that
            begins with an underscore.
        page: Where the page goes; None for beside `after`, named after it.
        truth: The perfect image or a folder of them: adds PSNR and SSIM.
        progress: Called for each pair with its number, how many there are, the pair, and why it failed or None.

    Returns:
        The page, and what was measured of each pair.

    Raises:
        UsageError: If images do not exist or fit, or the page would cost somebody a file.
        StorageError: If it cannot be written.

    Example:
        >>> from restore_cli import compare
        >>> compare("scans/", "clean/", "page.html").entries[0].change.mean      # doctest: +SKIP
        0.034
    """
    last = Path(after)
    place = last.absolute().with_name(f"{last.absolute().stem}_compared.html") if page is None else Path(page)
    pairs = find_pairs(Path(before), last, None if truth is None else Path(truth))
    require_place(place)
    failures = []
    with contextlib.closing(Gallery(len(pairs))) as gallery:
        for number, pair in enumerate(pairs, start=1):
            error = _compare_pair(pair, gallery)
            if error is not None:
                failures.append(error)
            if progress is not None:
                progress(number, len(pairs), pair, error)
    if gallery.taken:
        write_page(gallery, place)
    return Compared(page=place if gallery.taken else None, entries=gallery.entries(), failures=tuple(failures))


def find_pairs(before: Path, after: Path, truth: Path | None = None) -> tuple[Pair, ...]:
    """Pair the images of two folders, or two images.

    In folders the image after has the name of the one before, with anything behind it that begins with an underscore
    ("photo.png" and "photo_denoised.png"); the truth has the name of either.

    Args:
        before: An image or a folder.
        after: The same kind.
        truth: The same kind, or None.

    Raises:
        UsageError: If one does not exist, the kinds differ, or no names fit.
    """
    given = [before, after] if truth is None else [before, after, truth]
    for path in given:
        if not path.exists():
            raise UsageError(f"{path} does not exist", hint="look at its name")
    if len({path.is_dir() for path in given}) > 1:
        raise UsageError("a folder and an image cannot be compared", hint="name images only, or folders only")
    if not before.is_dir():
        return ((before, after, truth),)
    afters, truths = _images_in(after), {} if truth is None else _images_in(truth)
    pairs = []
    for stem, source in _images_in(before).items():
        found = afters.get(stem) or next((afters[name] for name in afters if name.startswith(f"{stem}_")), None)
        if found is not None:
            pairs.append((source, found, truths.get(stem) or truths.get(found.stem)))
    if not pairs:
        raise UsageError(f"no image of {after} has the name of one in {before}", hint="name two images instead")
    return tuple(pairs)


def _compare_pair(pair: Pair, gallery: Gallery) -> ImageError | None:
    """Compare one pair of files; return why it could not be, None if the gallery has it."""
    before, after, truth = pair
    try:
        first = decode(before)
        second = decode(after, _OF_RESULTS)
        scores = None
        if truth is not None:
            scores = scores_of(first, second, decode(truth, _OF_RESULTS))
        gallery.observe(str(after), first, second)
        gallery.take(str(after), before=before, after=after, name=before.name, scores=scores)
    except ImageError as error:
        return error
    except ValueError as error:
        return ImageError(f"{truth}: {error}", hint="look at --truth")
    return None


def require_place(page: Path) -> None:
    """Refuse to write a page where it would cost somebody a file; an older page of ours is replaced.

    Raises:
        UsageError: If the name is none of a page, or something else lies there.
    """
    if page.suffix.lower() not in {".html", ".htm"}:
        raise UsageError(f"{page} is no name of a page", hint=f"name it {page.stem or 'page'}.html")
    if not page.parent.is_dir():
        raise UsageError(f"the folder {page.parent} does not exist", hint="make it, or name another page")
    if page.exists() and not _is_ours(page):
        raise UsageError(f"{page} exists already and is no page of ours", hint="name another file")


def write_page(gallery: Gallery, page: Path, *, facts: Sequence[str] = ()) -> None:
    """Write the page of what a gallery has taken.

    Raises:
        UsageError: As in `require_place`.
        StorageError: If it cannot be written.
    """
    require_place(page)
    entries = gallery.entries()
    text = comparison_page(entries, page.parent, facts=facts, left_out=gallery.taken - len(entries))
    # Views of the images lie in it. The file after is read by no more than may read the one before.
    like = Like.all_of(path for entry in entries for path in (entry.before, entry.after))
    publish(text.encode("utf-8"), page, overwrite=True, like=like)


def _images_in(folder: Path) -> dict[str, Path]:
    images = (path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES)
    return {path.stem: path for path in images if not path.name.startswith(".")}


def _is_ours(page: Path) -> bool:
    try:
        with page.open(encoding="utf-8", errors="replace") as file:
            return f"<title>{TITLE}</title>" in file.read(_FIRST_CHARACTERS)
    except OSError:
        return False

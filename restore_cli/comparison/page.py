"""The page of a comparison: each image with a slider between before and after, and what was changed in numbers.

It needs no other file: small views lie in it, the whole images are linked by paths relative to the page.
"""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from restore_cli.comparison.entry import Entry, ImageView, Scores
from restore_cli.pages.document import document, read_text
from restore_cli.pages.viewer import Pane, viewer
from restore_cli.storage.files import printable

TITLE = "Restored, before and after"
_FEW = 4
# What browsers show; others are linked, not shown.
_SHOWN_BY_BROWSERS = {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".avif", ".bmp"}


def comparison_page(entries: Sequence[Entry], folder: Path, *, facts: Sequence[str] = (), left_out: int = 0) -> str:
    """Return a page.

    Args:
        entries: What it shows, in its order.
        folder: Where the page will lie; links are relative to it.
        facts: What holds for all images, a phrase each: the task, the weights.
        left_out: How many images less changed than these it does not show.
    """
    count = f"{len(entries)} image{'' if len(entries) == 1 else 's'}"
    if left_out:
        count = f"the {len(entries)} most changed of {len(entries) + left_out} images"
    facts_items = "".join(f"<li>{escape(printable(fact))}</li>" for fact in (count, *facts))
    # The heading names the weights; where images have different ones, each names its own too.
    differ = len({entry.weights for entry in entries}) > 1
    cards = "".join(_card(entry if differ else replace(entry, weights=None), folder) for entry in entries)
    body = (
        f'<header><h1>Before and after</h1><ul class="facts">{facts_items}</ul></header>'
        f'<div class="pairs{" few" if len(entries) <= _FEW else ""}">{cards}</div>'
    )
    own_style = resources.files("restore_cli.comparison").joinpath("page.css").read_text(encoding="utf-8")
    return document(TITLE, body, style=read_text("viewer.css") + own_style, script=read_text("viewer.js"))


def _card(entry: Entry, folder: Path) -> str:
    full = "", ""
    if entry.whole.reduced and all(_is_shown(path) for path in (entry.before, entry.after)):
        full = _address(entry.before, folder), _address(entry.after, folder)
    panes = [_pane("Most changed area", entry.place)] if entry.place is not None else []
    panes.append(_pane("Whole image", entry.whole, full))
    items = "".join(f"<li>{item}</li>" for item in [*_numbers(entry), *_links(entry, folder)])
    name = printable(entry.name)
    notes = "".join(f'<p class="note">{escape(printable(note))}</p>' for note in entry.notes)
    return f'<article class="pair"><h2>{escape(name)}</h2><ul>{items}</ul>{viewer(name, panes)}{notes}</article>'


def _pane(title: str, view: ImageView, full: tuple[str, str] = ("", "")) -> Pane:
    return Pane(
        title=title,
        before=_inside(view.before),
        after=_inside(view.after),
        size=view.size,
        full_before=full[0],
        full_after=full[1],
    )


def _numbers(entry: Entry) -> list[str]:
    """Return what is to be said of an image, as markup."""
    sizes = [f"{width}x{height}" for height, width in dict.fromkeys((entry.size_before, entry.size_after))]
    numbers = [
        f"<b>{' to '.join(sizes)}</b> pixels",
        f"changed by <b>{entry.change.mean:.2f}</b> of 255 on average, <b>{entry.change.largest:.0f}</b> at most",
    ]
    if entry.weights is not None:
        numbers.append(escape(entry.weights))
    if entry.seconds is not None:
        numbers.append(f"<b>{entry.seconds:.1f}</b> s")
    if entry.scores is not None:
        numbers.append(f"against the truth <b>{escape(_score_text(entry.scores))}</b>")
    return numbers


def _score_text(scores: Scores) -> str:
    (psnr_before, ssim_before), (psnr_after, ssim_after) = scores.before, scores.after
    text = f"{_decibels(psnr_before)} to {_decibels(psnr_after)} dB"
    if not math.isnan(ssim_after):
        text += f", SSIM {ssim_before:.4f} to {ssim_after:.4f}"
    return text


def _decibels(value: float) -> str:
    return "equal" if math.isinf(value) else f"{value:.2f}"


def _links(entry: Entry, folder: Path) -> list[str]:
    files = (("file before", entry.before), ("file after", entry.after))
    return [f'<a href="{escape(_address(path, folder))}">{word}</a>' for word, path in files if path is not None]


def _is_shown(path: Path | None) -> bool:
    return path is not None and path.suffix.lower() in _SHOWN_BY_BROWSERS


def _address(path: Path | None, folder: Path) -> str:
    """Return the way from the page to a file, as a browser takes it; a first ./ keeps "a:b.png" from being a scheme."""
    if path is None:
        return ""
    try:
        way = Path(os.path.relpath(path.absolute(), folder.absolute()))
    except ValueError:  # another drive of Windows
        return path.absolute().as_uri()
    return "./" + quote(os.fsencode(way.as_posix()))


def _inside(data: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(data).decode('ascii')}"

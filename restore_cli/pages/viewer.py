"""Two images with a slider between them, as markup that `viewer.css` and `viewer.js` bring to life.

Without its script a viewer shows both images beside each other, so nothing is lost where scripts are not allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True, kw_only=True)
class Pane:
    """The same part of an image before and after.

    Attributes:
        title: What part it is, a word or two on its button.
        before: Address of the image before; "" where a script fills it in.
        after: Address of the image after.
        size: (height, width) of the part in the image after, shown so at 100 %.
        full_before: Address of the whole image before that replaces a reduced one; "" for none.
        full_after: Address of the whole image after; "" for none.
    """

    title: str
    before: str
    after: str
    size: tuple[int, int]
    full_before: str = ""
    full_after: str = ""


def viewer(name: str, panes: Sequence[Pane]) -> str:
    """Return a viewer.

    Args:
        name: What the image is called, for those who do not see it.
        panes: At least one; the first is shown.
    """
    tabs = ""
    if len(panes) > 1:
        buttons = "".join(
            f'<button type="button" data-pane="{number}" aria-pressed="{"false" if number else "true"}">'
            f"{escape(pane.title)}</button>"
            for number, pane in enumerate(panes)
        )
        tabs = f'<span class="choice" role="group" aria-label="Part">{buttons}</span>'
    zooms = "".join(
        f'<button type="button" data-zoom="{zoom}" aria-pressed="{"false" if zoom else "true"}">{text}</button>'
        for zoom, text in ((0, "Fit"), (1, "100 %"), (2, "200 %"))
    )
    return (
        f'<div class="viewer" role="group" aria-label="{escape(name)}, before and after"><div class="controls">{tabs}'
        f'<span class="choice" role="group" aria-label="Zoom">{zooms}</span></div>'
        f'<div class="stage">{"".join(_pane(name, pane) for pane in panes)}</div>'
        '<label class="slider"><span aria-hidden="true">before</span><input type="range" min="0" max="100" value="50" '
        'aria-label="Share of the image before"><span aria-hidden="true">after</span></label>'
        '<p class="note" role="status" hidden></p></div>'
    )


def _pane(name: str, pane: Pane) -> str:
    height, width = pane.size
    images = "".join(
        f'<img class="{side}" width="{width}" height="{height}" alt="{escape(name)}, {side}"'
        f"{_attribute('src', source)}{_attribute('data-full', full)}>"
        for side, source, full in (("before", pane.before, pane.full_before), ("after", pane.after, pane.full_after))
    )
    tags = "".join(f'<span class="tag {side}-tag" aria-hidden="true">{side}</span>' for side in ("before", "after"))
    return f'<div class="pane">{images}{tags}<i class="line" aria-hidden="true"></i></div>'


def _attribute(name: str, value: str) -> str:
    return f' {name}="{escape(value)}"' if value else ""

"""The frame of a page: its head, its style, and the parts that all pages lay out alike.

A page is a string that a browser shows without a network, light or dark as its reader likes. Most have no script.
Everything that comes from a person (names of files, of weights) is escaped by whoever writes it into markup, and what a
terminal would obey (`less page.html`) here.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from importlib import resources

from restore_cli._version import __version__
from restore_cli.storage.files import printable


def document(title: str, body: str, *, style: str = "", script: str = "") -> str:
    """Return a whole page.

    Args:
        title: Text of the browser's tab.
        body: Markup between the page's head and its last line, which says who made it; without style attributes where
            there is a script.
        style: CSS behind that of all pages.
        script: What the page does; only this and the style may then run in it, and only images may be loaded.
    """
    style = read_text("style.css") + style
    policy = end = ""
    if script:
        policy = (
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data: file: 'self'; "
            f"style-src '{_digest(f'{chr(10)}{style}')}'; script-src '{_digest(script)}'; base-uri 'none'; "
            "form-action 'none'\">"
        )
        end = f"<script>{script}</script>"
    footer = f'<footer class="faint">Made by restore {escape(__version__)}.</footer>'
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{policy}<title>{escape(title)}</title><style>\n{style}</style></head>"
        f"<body><main>{body}{footer}</main>{end}</body></html>\n"
    )
    return printable(page, keeping="\n\t")


def read_text(name: str) -> str:
    """Return a style or a script of this folder."""
    return resources.files("restore_cli.pages").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"


def table(headings: Iterable[str], rows: str, *, kind: str) -> str:
    """Return a table that scrolls sideways where the window is narrow.

    Args:
        headings: Text of the first row; none leaves it out.
        rows: Markup of the others.
        kind: Its class in the style.
    """
    cells = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    head = f"<thead><tr>{cells}</tr></thead>" if cells else ""
    return f'<div class="scroll"><table class="{kind}">{head}<tbody>{rows}</tbody></table></div>'

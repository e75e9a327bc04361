"""The frame of a page: its head, its style, and the parts that all pages lay out alike.

A page is a string that a browser shows without a network and without a script, light or dark as its reader likes.
Everything that comes from a person (names of files, of weights) is escaped here or by whoever writes it into markup.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib import resources

from restore_cli._version import __version__


def document(title: str, body: str) -> str:
    """Return a whole page.

    Args:
        title: Text of the browser's tab.
        body: Markup between the page's head and its last line, which says who made it.
    """
    style = resources.files("restore_cli.pages").joinpath("style.css").read_text(encoding="utf-8")
    footer = f'<footer class="faint">Made by restore {escape(__version__)}.</footer>'
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>\n{style}</style></head><body><main>{body}{footer}</main></body></html>\n"
    )


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

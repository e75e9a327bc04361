"""The server's own page: a place to drop images, the choices, and a list of results with sliders."""

from __future__ import annotations

from importlib import resources

from restore_cli._version import __version__
from restore_cli.pages.viewer import Pane, viewer


def page_text(name: str) -> str:
    """Return a style or script of this folder."""
    return resources.files("restore_cli.server").joinpath(name).read_text(encoding="utf-8")


def page_markup() -> str:
    """Return the page; its style and script are files of their own, as its policy demands."""
    pane = Pane(title="Whole image", before="", after="", size=(1, 1))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>restore</title>'
        '<link rel="stylesheet" href="page.css"><link rel="icon" href="data:,"></head><body><main>'
        f"{page_text('page.html')}"
        '<template id="result"><article class="result"><div class="head"><div><h2></h2>'
        '<p class="state" role="status"></p></div>'
        '<div class="buttons"><button type="button" class="cancel">Cancel</button><a class="save" hidden>Download</a>'
        '<button type="button" class="remove" hidden>Remove</button></div></div>'
        '<progress max="1" aria-label="Progress" hidden></progress><p class="note notes"></p>'
        f'<div class="view" hidden>{viewer("image", [pane])}</div></article>'
        f'</template><footer class="faint">Made by restore {__version__}.</footer></main>'
        '<script src="page.js"></script></body></html>\n'
    )

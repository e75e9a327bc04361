"""A real browser shows the page: the slider divides by keyboard and mouse, zooms, and everything has a name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restore_cli import compare
from tests.browser import Browser

pytestmark = pytest.mark.slow

SPLIT = "parseFloat(document.querySelector('.pane:not([hidden])').style.getPropertyValue('--split'))"


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_the_page_works_in_a_browser(tmp_path: Path, width: int, dark: bool) -> None:
    for name, level in (("before", 40), ("after", 200)):
        Image.fromarray(np.full((1500, 1600, 3), level, np.uint8)).save(tmp_path / f"{name}.png")
    assert compare(tmp_path / "before.png", tmp_path / "after.png", tmp_path / "page.html").failures == ()
    browser = Browser(tmp_path / "profile", width=width, dark=dark)
    try:
        browser.open((tmp_path / "page.html").as_uri())
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.unnamed_controls() == []

        browser.evaluate("document.querySelector('input[type=range]').focus()")
        start = browser.evaluate(SPLIT)
        browser.press("ArrowRight")
        assert browser.evaluate(SPLIT) > start
        browser.press("Home")
        assert browser.evaluate(SPLIT) == 0
        browser.press("End")
        assert browser.evaluate("document.querySelector('input[type=range]').getAttribute('aria-valuetext')") == (
            "100 % before"
        )

        browser.evaluate("document.querySelector('.stage').scrollIntoView({block: 'center'})")
        box = browser.evaluate(
            "(b => [b.x, b.y, b.width, b.height])(document.querySelector('.stage').getBoundingClientRect())"
        )
        middle = box[1] + box[3] / 2
        browser.drag(box[0] + box[2] * 0.5, middle, box[0] + box[2] * 0.5 + 20)
        browser.wait_for(f"{SPLIT} > 0 && document.querySelector('input[type=range]').value < 70")

        browser.evaluate("document.querySelector('[data-pane=\"1\"]').click()")
        browser.evaluate("document.querySelector('[data-zoom=\"1\"]').click()")
        after = "document.querySelector('.pane:not([hidden]) .after')"
        assert browser.evaluate(f"{after}.offsetWidth") == 1600
        browser.wait_for(f"{after}.src.startsWith('file:') && {after}.naturalWidth === 1600")
        assert browser.complaints() == []
    finally:
        browser.close()

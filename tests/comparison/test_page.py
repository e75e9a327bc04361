"""The page needs no other file, trusts no name, stays bounded, and shows the most changed first."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from restore_cli.comparison.entry import Entry, Sides, scores_of
from restore_cli.comparison.gallery import Gallery
from restore_cli.comparison.page import comparison_page
from restore_cli.imaging.decoded_image import DecodedImage


def decoded(height: int = 40, width: int = 50, *, level: float | None = None, seed: int = 0) -> DecodedImage:
    pixels = np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)
    return DecodedImage(pixels=pixels if level is None else np.full_like(pixels, level))


def entry(name: str = "a", *, changed: float = 0.5) -> Entry:
    return Entry.of(name, decoded(level=0.0), decoded(level=changed), Sides.of(1))


def test_the_page_asks_for_no_other_file_and_allows_no_other_script(tmp_path: Path) -> None:
    page = comparison_page([entry()], tmp_path)

    assert not re.search(r"https?:|<link|@import|url\(| style=", page)
    assert "default-src 'none'" in page
    assert "unsafe" not in page
    assert len(re.findall(r'<img [^>]*src="data:image/webp;base64,', page)) == 2


@pytest.mark.parametrize("name", ['"><script>alert(1)</script>.png', "a&b'<i>.png", "\udcff.png", "x\n: .png"])
def test_every_name_is_escaped(tmp_path: Path, name: str) -> None:
    shown = replace(entry(name), before=tmp_path / name.replace("/", "_"), after=tmp_path / "b.png", notes=(name,))

    page = comparison_page([shown], tmp_path, facts=(name,))

    page.encode("utf-8")
    assert page.count("<script>") == 1
    assert "<i>" not in page


def test_links_lead_from_the_page_to_the_files(tmp_path: Path) -> None:
    shown = replace(entry(), before=tmp_path / "in" / "a b#?.png", after=tmp_path / "site" / "javascript:x.png")

    page = comparison_page([shown], tmp_path / "site")

    before, after = re.findall(r'href="([^"]*)"', page)
    assert unquote(before) == "./../in/a b#?.png"
    assert "#" not in before
    assert after.startswith("./")


def test_the_most_changed_comes_first_and_the_least_is_left_out() -> None:
    gallery = Gallery(4, most=3)
    for index, level in enumerate((0.1, 0.9, 0.2, 0.5)):
        gallery.observe(str(index), decoded(level=0.0), decoded(level=level))
        gallery.take(str(index), before=None, after=None)
    gallery.observe("failed", decoded(), decoded())
    gallery.drop("failed")
    gallery.close()

    assert [shown.name for shown in gallery.entries()] == ["1", "3", "2"]
    assert gallery.taken == 4


def test_a_view_that_cannot_be_made_costs_only_itself() -> None:
    gallery = Gallery(1)
    gallery.observe("a", decoded(), replace(decoded(), pixels=np.full((40, 50, 3), np.nan, np.float32)))

    assert gallery.take("a", before=None, after=None) is None
    gallery.close()


def test_views_show_the_pixels_themselves_where_the_image_is_small() -> None:
    before, after = decoded(seed=1), decoded(seed=2)
    shown = Entry.of("a", before, after, Sides.of(1))

    assert shown.place is None
    for data, image in ((shown.whole.before, before), (shown.whole.after, after)):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), np.rint(image.pixels * 255))


@pytest.mark.parametrize(("count", "most_bytes"), [(12, 32e6), (60, 32e6), (300, 32e6)])
def test_pages_stay_small_even_of_noise(count: int, most_bytes: float) -> None:
    sides = Sides.of(count)
    shown = Entry.of("a", decoded(1300, 1300, seed=1), decoded(1300, 1300, seed=2), sides)
    assert shown.place is not None
    views = (shown.whole.before, shown.whole.after, shown.place.before, shown.place.after)

    # Images are not noise from edge to edge: a quarter of such a page's bytes is already much.
    assert count * sum(map(len, views)) * 4 / 3 < 4 * most_bytes


def test_scores_stand_against_the_truth() -> None:
    truth, off = decoded(level=0.5), decoded(level=0.5 + 10 / 255)

    scores = scores_of(off, truth, truth)

    assert scores.after[0] == float("inf")
    assert scores.before[0] == pytest.approx(10 * np.log10(255**2 / 10**2), abs=0.01)
    with pytest.raises(ValueError, match="pixels"):
        scores_of(off, decoded(7, 7), truth)

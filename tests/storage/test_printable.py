"""No page and no table holds what a terminal or an editor would obey, whatever files are called."""

from __future__ import annotations

import csv
import io
from html import escape, unescape

import pytest

from restore_cli.pages.document import document
from restore_cli.storage.files import printable

NAMES = [
    "\x1b[31mred\x1b[0m.png",
    "a\u202egnp.exe",
    "bell\x07 \x9b2J.png",
    "zero\0.png",
    "line\u2028.png",
    "\udcff.png",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_page_holds_no_raw_control_of_a_name(name: str) -> None:
    page = document("Title", f"<p>{escape(name)}</p>\n", style="p {}\n", script="let a = 1\n")
    assert not any(character in page for character in name if not character.isprintable())
    assert f"<p>{escape(printable(name))}</p>" in page
    assert "\\n" not in page
    page.encode()


@pytest.mark.parametrize("name", NAMES)
def test_a_table_holds_no_raw_control_of_a_name_and_keeps_its_lines(name: str) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["image", "score"], [name, "1"], ['plain, "quoted"', "2"]])
    kept = list(csv.reader(io.StringIO(printable(text.getvalue(), keeping="\n"))))
    assert kept == [["image", "score"], [printable(name), "1"], ['plain, "quoted"', "2"]]


def test_text_of_any_language_stays_as_it_is() -> None:
    assert printable(unescape("Stra&szlig;e \u5c71 \u00e9")) == "Stra\u00dfe \u5c71 \u00e9"

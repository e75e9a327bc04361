"""--compare writes a page of what was restored; `restore compare` one of files that exist."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Run, image


def test_a_run_leaves_a_page_with_links_to_its_images(run: Run, tiny: Callable[..., Path]):
    image("in/a.png")
    image("in/b.png")

    ran = run("sr", "--weights", tiny(), "in", "out", "--compare", "page.html", "--device", "cpu")

    assert ran.code == 0
    page = Path("page.html").read_text(encoding="utf-8")
    assert all(f'href="./{folder}/{name}.png"' in page for folder in ("in", "out") for name in "ab")
    assert "ramit-tiny-sr" in page
    assert "9x7 to 18x14" in page
    assert "before and after: page.html" in ran.err


def test_in_place_the_page_still_shows_what_was_there(run: Run, tiny: Callable[..., Path]):
    image("a.png")

    assert run("denoise", "--weights", tiny("denoise", scale=1), "--in-place", "a.png", "--compare", "p.html").code == 0

    page = Path("p.html").read_text(encoding="utf-8")
    assert "file after" in page
    assert "file before" not in page


@pytest.mark.parametrize("by", ["run", "compare", "eval"])
def test_a_page_is_read_by_nobody_who_may_not_read_what_it_shows(run: Run, tiny: Callable[..., Path], by: str):
    for name in ("in/a.png", "in/b.png", "out/a.png", "out/b.png"):
        image(name, size=(24, 24))
    Path("in/b.png").chmod(0o600)
    commands = {
        "run": ("denoise", "--weights", tiny("denoise", scale=1), "in", "new", "--compare", "page.html"),
        "compare": ("compare", "in", "out", "-o", "page.html"),
        "eval": ("eval", "sr", "--scale", 2, "--weights", tiny(), "--clean", "in", "--html", "page.html"),
    }

    assert run(*commands[by]).code == 0

    assert Path("page.html").stat().st_mode & 0o777 == 0o600


def test_a_page_never_replaces_what_is_no_page_of_ours(run: Run, tiny: Callable[..., Path]):
    image("a.png")
    Path("mine.html").write_text("<title>Mine</title>")

    for name in ("mine.html", "page.png", "missing/page.html"):
        ran = run("sr", "--weights", tiny(), "a.png", "out.png", "--compare", name)
        assert ran.code == 2
        assert not Path("out.png").exists()
    assert Path("mine.html").read_text() == "<title>Mine</title>"
    for existing in ("error", "overwrite"):
        again = ("--existing", existing, "--compare", "ours.html")
        assert run("sr", "--weights", tiny(), "a.png", "-o", "out.png", *again).code == 0


def test_nothing_restored_writes_no_page(run: Run, tiny: Callable[..., Path]):
    Path("a.png").write_bytes(b"no image")

    ran = run("sr", "--weights", tiny(), "a.png", "--compare", "page.html")

    assert ran.code == 1
    assert not Path("page.html").exists()
    assert "no image was restored" in ran.err


def test_files_that_exist_are_compared(run: Run):
    image("a.png")
    image("b.png")

    ran = run("compare", "a.png", "b.png", "--truth", "a.png", "--json")

    record, *_ = map(json.loads, ran.out.splitlines())
    assert (ran.code, record["mean_difference"], record["psnr"]) == (0, 0.0, [None, None])
    assert Path("b_compared.html").is_file()


def test_folders_are_paired_by_name_and_a_bad_image_costs_only_itself(run: Run):
    for name in ("in/a.png", "in/b.png", "in/c.png", "out/a.jpg", "out/b_denoised.png"):
        image(name)
    Path("out/c.png").write_bytes(b"no image")

    ran = run("compare", "in", "out", "-o", "page.html")

    assert (ran.code, ran.out) == (1, "page.html\n")
    assert "out/c.png" in ran.err
    page = Path("page.html").read_text(encoding="utf-8")
    assert "./out/a.jpg" in page
    assert "./out/b_denoised.png" in page


@pytest.mark.parametrize("others", [("nowhere.png",), ("empty",), ("a.png", "--truth", "empty")])
def test_what_cannot_be_compared_is_refused(run: Run, others: tuple[str, ...]):
    image("a.png")
    Path("empty").mkdir()

    assert run("compare", "a.png", *others).code == 2
    assert not list(Path().rglob("*.html"))

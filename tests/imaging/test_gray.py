"""A header tells gray from colour before any pixel is decoded, and never fails."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from restore_cli.imaging.gray import is_gray
from tests.imaging.files import pattern, saved


@pytest.mark.parametrize(
    ("mode", "gray"),
    [("1", True), ("L", True), ("LA", True), ("I;16", True), ("P", False), ("RGB", False), ("RGBA", False)],
)
def test_gray_is_told_from_colour(tmp_path: Path, mode: str, gray: bool) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(saved(Image.fromarray(pattern()).convert("L" if mode == "I;16" else mode).convert(mode), "PNG"))
    assert is_gray(path) is gray


def test_what_has_no_header_gives_no_answer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "words.png").write_text("no image")
    for path in (tmp_path, tmp_path / "pipe.png", tmp_path / "words.png", tmp_path / "absent.png"):
        assert is_gray(path) is None

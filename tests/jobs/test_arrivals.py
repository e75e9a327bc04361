"""Images count once they are whole, once each, and again when they change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from restore_cli.errors import StorageError
from restore_cli.jobs.arrivals import Arrivals


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def names(arrivals: Arrivals) -> list[str]:
    return [path.name for path in arrivals.settled()]


def test_a_file_that_grows_is_left_alone_until_it_stands_still(tmp_path: Path) -> None:
    clock = Clock()
    arrivals = Arrivals(tmp_path, settle_seconds=2, clock=clock)
    file = tmp_path / "a.png"
    for size in range(1, 6):
        file.write_bytes(bytes(size))
        assert names(arrivals) == []
        clock.now += 1.9
    assert arrivals.are_awaited()
    clock.now += 0.2

    assert names(arrivals) == ["a.png"]
    clock.now += 100
    assert names(arrivals) == []
    assert not arrivals.are_awaited()


def test_what_changes_or_comes_again_is_given_again(tmp_path: Path) -> None:
    clock = Clock()
    arrivals = Arrivals(tmp_path, settle_seconds=1, clock=clock)
    file = tmp_path / "a.png"

    def given() -> list[str]:
        before = names(arrivals)
        clock.now += 2
        return before + names(arrivals)

    file.write_bytes(b"1")
    assert given() == ["a.png"]
    os.utime(file, ns=(1, 1))
    assert given() == ["a.png"]
    file.unlink()
    assert given() == []
    file.write_bytes(b"1")
    assert given() == ["a.png"]


def test_only_images_in_sight_count(tmp_path: Path) -> None:
    clock = Clock()
    arrivals = Arrivals(tmp_path, settle_seconds=0, clock=clock)
    for name in (".hidden.png", "notes.txt", "a.png.part", "empty.png", "b.JPG"):
        (tmp_path / name).write_bytes(b"" if name == "empty.png" else b"1")
    (tmp_path / "folder.png").mkdir()
    names(arrivals)

    assert names(arrivals) == ["b.JPG"]


def test_the_later_of_two_namesakes_is_named(tmp_path: Path) -> None:
    arrivals = Arrivals(tmp_path, settle_seconds=0, clock=Clock())
    for name in ("a.bmp", "a.png", "b.png"):
        (tmp_path / name).write_bytes(b"1")
    arrivals.settled()

    named = [arrivals.namesake(path) for path in arrivals.settled()]

    assert named == [None, tmp_path / "a.bmp", None]


def test_a_folder_that_has_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be listed"):
        Arrivals(tmp_path / "gone", settle_seconds=0).settled()

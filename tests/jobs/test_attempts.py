"""Images that end their process: named before, failed after the second time, told from those that were cut off."""

from __future__ import annotations

from pathlib import Path

import pytest

from restore_cli.jobs import attempts as module
from restore_cli.jobs.attempts import ATTEMPTS_NAME, Attempts


def killed(folder: Path, name: str = "a.png", digest: str = "sha256:1") -> None:
    """Begin an image and go without a word, as a killed process does."""
    Attempts(folder).begin(name, digest)


def suspected(folder: Path, name: str = "a.png", digest: str = "sha256:1") -> bool:
    attempts = Attempts(folder)
    attempts.read()
    return attempts.ended_twice(name, digest)


def test_an_image_is_suspected_after_the_second_time(tmp_path: Path):
    assert not suspected(tmp_path)
    killed(tmp_path)
    assert not suspected(tmp_path)
    killed(tmp_path)
    assert suspected(tmp_path)
    assert not suspected(tmp_path, "b.png")


def test_another_file_under_its_name_and_another_version_get_a_chance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    killed(tmp_path)
    killed(tmp_path)
    assert not suspected(tmp_path, digest="sha256:2")
    monkeypatch.setattr(module, "__version__", "99")
    assert not suspected(tmp_path)


def test_what_was_finished_in_between_is_not_suspected(tmp_path: Path):
    killed(tmp_path)
    attempts = Attempts(tmp_path)
    attempts.begin("a.png", "sha256:1")
    attempts.end("a.png", "sha256:1")
    attempts.close()
    killed(tmp_path)
    assert not suspected(tmp_path)


def test_the_last_to_leave_takes_the_file_away_unless_something_is_open(tmp_path: Path):
    one, other = Attempts(tmp_path), Attempts(tmp_path)
    one.begin("a.png", "sha256:1")
    other.begin("b.png", "sha256:2")
    one.end("a.png", "sha256:1")
    one.close()
    assert (tmp_path / ATTEMPTS_NAME).exists()
    other.end("b.png", "sha256:2")
    other.close()
    assert not (tmp_path / ATTEMPTS_NAME).exists()
    killed(tmp_path)
    one.begin("c.png", "sha256:3")
    one.end("c.png", "sha256:3")
    one.close()
    assert (tmp_path / ATTEMPTS_NAME).exists()


def test_torn_and_foreign_lines_are_passed_over(tmp_path: Path):
    (tmp_path / ATTEMPTS_NAME).write_bytes(b'{"target": 1}\n[]\nnonsense\n{"target": "a.png", "inp')
    killed(tmp_path)
    killed(tmp_path)
    assert suspected(tmp_path)

"""A file written piece by piece takes its name when it is whole, whatever happens before."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from restore_cli.errors import StorageError
from restore_cli.storage.files import replace_with, replacing
from tests.storage.test_publish import failing, names


def test_the_name_is_given_when_the_block_ends(tmp_path: Path):
    target = tmp_path / "last.pt"
    target.write_bytes(b"old")
    with replacing(target) as file:
        file.write(b"one ")
        file.write(b"two")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"one two"
    assert names(tmp_path) == ["last.pt"]


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt, MemoryError])
def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, fault: type[BaseException]):
    target = tmp_path / "last.pt"
    target.write_bytes(b"old")

    def interrupted() -> None:
        with replacing(target) as file:
            file.write(b"half")
            raise fault

    with pytest.raises(fault):
        interrupted()
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["last.pt"]


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
def test_a_fault_of_the_storage_at_any_step_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
):
    target = tmp_path / "last.pt"
    target.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(Path if step == "replace" else os, step, failing(errno.ENOSPC))
        with pytest.raises(StorageError, match=f"cannot write {target}: No space left"), replacing(target) as file:
            file.write(b"new")
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["last.pt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_disk_that_fills_while_pieces_arrive_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(folder: Path) -> tuple[object, Path]:
        return Path("/dev/full").open("wb", buffering=0), folder / "none"

    monkeypatch.setattr("restore_cli.storage.files.new_file", full)
    with pytest.raises(StorageError, match="No space left"), replacing(tmp_path / "last.pt") as file:
        file.writelines([bytes(10_000)] * 100)
    assert names(tmp_path) == []


def test_a_finished_file_takes_the_name_or_both_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    target, part = tmp_path / "a.pth", tmp_path / ".a.pth.part"
    target.write_bytes(b"old")
    part.write_bytes(b"new")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", failing(errno.EACCES))
        with pytest.raises(StorageError, match="Permission denied"):
            replace_with(target, part)
    assert (target.read_bytes(), part.read_bytes()) == (b"old", b"new")
    replace_with(target, part)
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["a.pth"]

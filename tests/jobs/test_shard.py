"""Which part of the images is whose: by name alone, the same on every machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from restore_cli.errors import UsageError
from restore_cli.jobs.plan import plan_images
from restore_cli.jobs.shard import parse_shard
from restore_cli.settings import Existing, PathSettings, Shard, WriteSettings

PARTS = 4


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def part(index: int, *, existing: Existing = "error", folder: str = "in", count: int = PARTS) -> set[str]:
    settings = PathSettings(paths=(folder, "out"), recursive=True, shard=Shard(index=index, count=count))
    jobs, _ = plan_images(settings, WriteSettings(existing=existing))
    return {str(job.source) for job in jobs}


def test_parts_are_apart_and_together_are_all():
    names = {f"in/{index}.png" for index in range(20)} | {f"in/deep/{index}.png" for index in range(20)}
    touch(*names)
    parts = [part(index) for index in range(PARTS)]
    assert set.union(*parts) == names
    assert sum(map(len, parts)) == len(names)
    assert all(parts)


def test_a_part_follows_from_the_sha256_of_the_name_below_the_input():
    touch(*(f"in/deep/{index}.png" for index in range(20)))
    for index in range(PARTS):
        for source in part(index):
            name = Path(source).relative_to("in").as_posix()
            assert int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % PARTS == index


def test_files_that_are_added_and_another_root_move_no_image():
    touch(*(f"in/{index}.png" for index in range(20)))
    before = [part(index) for index in range(PARTS)]
    touch(*(f"in/new{index}.png" for index in range(20)))
    assert all(part(index) >= earlier for index, earlier in enumerate(before))
    Path("in").rename("moved")
    moved = [{name.replace("moved/", "in/") for name in part(index, folder="moved")} for index in range(PARTS)]
    assert all(now >= earlier for now, earlier in zip(moved, before, strict=True))


def test_what_other_parts_wrote_is_theirs():
    touch(*(f"in/{index}.png" for index in range(20)))
    mine = part(0)
    touch(*(f"out/{index}.png" for index in range(20) if f"in/{index}.png" not in mine))
    assert part(0) == mine
    with pytest.raises(UsageError, match="exist already"):
        part(1)


def test_results_that_would_meet_are_refused_by_every_part():
    touch("in/a.bmp", "in/a.png")
    for index in range(PARTS):
        with pytest.raises(UsageError, match="both be written"):
            part(index)


def test_a_part_may_be_empty():
    touch("in/a.png")
    assert sorted(len(part(index)) for index in range(PARTS)) == [0, 0, 0, 1]


def test_numbered_results_and_pipes_know_no_parts():
    touch("in/a.png")
    with pytest.raises(UsageError, match="--existing rename contradict"):
        part(0, existing="rename")
    shard = Shard(index=0, count=2)
    with pytest.raises(UsageError, match="- and --shard contradict"):
        plan_images(PathSettings(paths=("-", "-"), shard=shard), WriteSettings())


@pytest.mark.parametrize("text", ["4/4", "1", "1/0", "-1/4", "a/b", "1/2/3", "0/\u00b2"])
def test_what_is_no_part_is_refused(text: str):
    with pytest.raises(UsageError, match="--shard"):
        parse_shard(text)

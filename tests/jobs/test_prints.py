"""Very many names in little memory: a set of hashes, and plans that hold names alone."""

from __future__ import annotations

import gc
import random
import tracemalloc
from pathlib import Path

import pytest

from restore_cli.errors import UsageError
from restore_cli.jobs import prints
from restore_cli.jobs.plan import plan_images
from restore_cli.jobs.prints import Prints
from restore_cli.settings import PathSettings, WriteSettings


def test_members_are_found_whenever_they_were_added(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prints, "_MOST_RECENT", 50)
    found, truth = Prints(), set[str]()
    assert found.is_empty
    draw = random.Random(0)
    for _ in range(5000):
        name = f"{draw.randrange(4000)}.png"
        if draw.random() < 0.5:
            assert found.add(name) == (name in truth)
            truth.add(name)
        else:
            assert (name in found) == (name in truth)
    for number in range(200):
        found.note(("pair", number))
    assert ("pair", 199) in found
    assert ("pair", 200) not in found
    assert not found.is_empty


def names(folder: Path, count: int) -> None:
    for index in range(count):
        (folder / f"sub{index % 3}").mkdir(parents=True, exist_ok=True)
        (folder / f"sub{index % 3}" / f"{index:05}.png").touch()


def test_a_plan_holds_its_names_and_little_else(tmp_path: Path):
    names(tmp_path / "in", 3000)
    settings = PathSettings(paths=(str(tmp_path / "in"), str(tmp_path / "out")), recursive=True)
    plan_images(settings, WriteSettings())  # what is imported is not counted
    gc.collect()
    tracemalloc.start()
    jobs, skipped = plan_images(settings, WriteSettings())
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(jobs), len(skipped)) == (3000, 0)
    assert held < 3000 * 200  # a job of its own takes 1500 bytes


def test_jobs_made_anew_are_the_same_and_any_of_them_can_be_had(tmp_path: Path):
    names(tmp_path / "in", 12)
    for name in ("sub0/00003.png", "sub2/00011.png"):
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).touch()
    settings = PathSettings(paths=(str(tmp_path / "in"), str(tmp_path / "out")), recursive=True)
    jobs, skipped = plan_images(settings, WriteSettings(existing="skip"))
    listed = list(jobs)
    assert listed == [jobs[index] for index in range(len(jobs))] == [*jobs[:4], *jobs[4:]]
    assert [job.inner for job in skipped] == ["sub0/00003.png", "sub2/00011.png"]
    assert sorted(job.inner for job in (*jobs, *skipped)) == sorted(
        str(path.relative_to(tmp_path / "in")) for path in (tmp_path / "in").rglob("*.png")
    )
    assert jobs[-1] == listed[-1]


def test_an_image_that_two_inputs_reach_is_restored_once_whatever_others_are_called(tmp_path: Path):
    names(tmp_path / "in", 6)
    given = (str(tmp_path / "in"), str(tmp_path / "in" / "sub1"), str(tmp_path / "in" / "sub2" / "00002.png"))
    settings = PathSettings(paths=given, output=str(tmp_path / "out"), recursive=True)
    jobs, _ = plan_images(settings, WriteSettings())
    assert sorted(job.source.name for job in jobs) == [f"{index:05}.png" for index in range(6)]


def test_of_many_results_two_that_meet_are_named(tmp_path: Path):
    names(tmp_path / "in", 30)
    (tmp_path / "in" / "sub1" / "00004.jpg").touch()
    settings = PathSettings(paths=(str(tmp_path / "in"), str(tmp_path / "out")), recursive=True)
    with pytest.raises(UsageError, match=r"00004\.jpg and .*00004\.png would both be written to .*00004\.png"):
        plan_images(settings, WriteSettings(format="PNG"))

"""Two views of a scene find each other by name, and nothing is ever paired by luck."""

from __future__ import annotations

from pathlib import Path

import pytest

from restore_cli.errors import UsageError
from restore_cli.jobs.targets import ImageJob
from restore_cli.jobs.views import pair_views


def files(root: Path, *names: str) -> list[Path]:
    paths = [root / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


def jobs(*sources: Path) -> list[ImageJob]:
    return [ImageJob(source=source, target=Path("out", f"{source.stem}.png")) for source in sources]


def refusal(*arguments: object) -> str:
    with pytest.raises(UsageError) as caught:
        pair_views(*arguments)  # type: ignore[arg-type]
    return str(caught.value)


def test_a_file_is_the_right_view_of_the_one_image(tmp_path: Path):
    left, right = files(tmp_path, "a.png", "b.png")
    (job,) = pair_views(jobs(left), right)
    assert (job.source, job.right) == (left, right)


def test_in_a_folder_the_name_decides_whatever_the_suffix(tmp_path: Path):
    lefts = files(tmp_path / "left", "one.png", "two.png")
    rights = files(tmp_path / "right", "one.tif", "two.png", "three.png")
    assert [job.right for job in pair_views(jobs(*lefts), tmp_path / "right")] == rights[:2]


def test_in_a_tree_the_same_place_makes_a_pair(tmp_path: Path):
    lefts = files(tmp_path / "left", "one.png", "deep/one.png")
    rights = files(tmp_path / "right", "one.png", "deep/one.png")
    assert [job.right for job in pair_views(jobs(*lefts), tmp_path / "right")] == rights


def test_a_left_view_without_partner_is_refused_by_name(tmp_path: Path):
    left, _ = files(tmp_path, "left/one.png", "right/two.png")
    said = refusal(jobs(left), tmp_path / "right")
    assert f"{left} has no right view in {tmp_path / 'right'}" in said


def test_one_view_is_never_the_partner_of_two(tmp_path: Path):
    lefts = files(tmp_path / "left", "a/one.png", "b/one.png")
    files(tmp_path / "right", "one.png")
    assert "would be the right view of" in refusal(jobs(*lefts), tmp_path / "right")
    assert "is one file for 2 left views" in refusal(jobs(*lefts), tmp_path / "right" / "one.png")


def test_two_right_views_of_one_name_are_refused(tmp_path: Path):
    left, *_ = files(tmp_path, "left/one.png", "right/one.png", "right/one.jpg")
    assert "two right views of one name" in refusal(jobs(left), tmp_path / "right")


def test_a_view_is_not_its_own_partner_and_is_never_written_over(tmp_path: Path):
    left, right = files(tmp_path, "one.png", "right/one.png")
    assert "as a left and as a right view" in refusal(jobs(left), left)
    job = ImageJob(source=left, target=right)
    assert "would overwrite the right view" in refusal([job], right)


def test_a_missing_right_view_is_named(tmp_path: Path):
    (left,) = files(tmp_path, "one.png")
    assert "nowhere.png does not exist" in refusal(jobs(left), tmp_path / "nowhere.png")


def test_standard_input_takes_a_named_right_view_only(tmp_path: Path):
    (right,) = files(tmp_path, "right/one.png")
    piped = ImageJob(source=Path("-"), target=Path("-"), from_stdin=True, to_stdout=True)
    assert pair_views([piped], right)[0].right == right
    assert "has no name" in refusal([piped], right.parent)

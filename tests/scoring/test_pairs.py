"""Images are paired by their names, and what has no partner is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from restore_cli.errors import UsageError
from restore_cli.scoring.pairs import find_pairs


def fill(folder: Path, *names: str) -> Path:
    """Make empty files: pairing looks at names only."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_pairs_follow_names_and_not_the_sorted_order(tmp_path: Path) -> None:
    clean = fill(tmp_path / "clean", "a.png", "b.png", "c.png")
    degraded = fill(tmp_path / "degraded", "c.jpg", "a.jpg", "b.tif")
    pairs = find_pairs(clean, degraded)
    assert [(pair.name, pair.degraded and pair.degraded.name) for pair in pairs] == [
        ("a", "a.jpg"),
        ("b", "b.tif"),
        ("c", "c.jpg"),
    ]


@pytest.mark.parametrize("name", ["babyx4.png", "baby_x4.png", "babyX4.png", "baby-x4.png", "baby.png"])
def test_the_factor_behind_a_degraded_name_is_understood(tmp_path: Path, name: str) -> None:
    clean = fill(tmp_path / "HR", "baby.png")
    (pair,) = find_pairs(clean, fill(tmp_path / "LR", name), scale=4)
    assert pair.name == "baby"
    assert pair.degraded == tmp_path / "LR" / name


@pytest.mark.parametrize(("name", "scale"), [("babyx2.png", 4), ("babyx4.png", 1), ("baby4.png", 4)])
def test_another_factor_makes_another_name(tmp_path: Path, name: str, scale: int) -> None:
    clean = fill(tmp_path / "HR", "baby.png")
    with pytest.raises(UsageError, match=name):
        find_pairs(clean, fill(tmp_path / "LR", name), scale=scale)


def test_a_clean_image_whose_own_name_ends_in_a_factor_is_found(tmp_path: Path) -> None:
    clean = fill(tmp_path / "HR", "boxx4.png", "box.png")
    pairs = find_pairs(clean, fill(tmp_path / "LR", "boxx4.png", "box_x4.png"), scale=4)
    assert {pair.name: pair.degraded and pair.degraded.name for pair in pairs} == {
        "box": "box_x4.png",
        "boxx4": "boxx4.png",
    }


def test_an_unpaired_degraded_image_is_named(tmp_path: Path) -> None:
    clean = fill(tmp_path / "clean", "a.png")
    degraded = fill(tmp_path / "degraded", "a.png", "stray.png")
    with pytest.raises(UsageError, match=r"stray\.png: no clean image of that name"):
        find_pairs(clean, degraded)


def test_an_unpaired_clean_image_is_named(tmp_path: Path) -> None:
    clean = fill(tmp_path / "clean", "a.png", "lonely.png")
    with pytest.raises(UsageError, match=r"lonely\.png: no degraded image in .*degraded"):
        find_pairs(clean, fill(tmp_path / "degraded", "a.png"))


def test_many_unpaired_images_are_counted_and_not_all_named(tmp_path: Path) -> None:
    clean = fill(tmp_path / "clean", *(f"{number}.png" for number in range(20)))
    with pytest.raises(UsageError, match=r"1\.png, .*5\.png and 14 more: no degraded image"):
        find_pairs(clean, fill(tmp_path / "degraded", "0.png"))


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    clean = fill(tmp_path / "clean", "a.png", "a.jpg")
    with pytest.raises(UsageError, match="same name"):
        find_pairs(clean)


def test_two_inputs_of_one_truth_are_refused(tmp_path: Path) -> None:
    clean = fill(tmp_path / "HR", "a.png")
    with pytest.raises(UsageError, match="both belong to"):
        find_pairs(clean, fill(tmp_path / "LR", "a.png", "ax2.png"), scale=2)


def test_clean_images_alone_stand_in_natural_order(tmp_path: Path) -> None:
    clean = fill(tmp_path / "clean", "img10.png", "img2.png", "img1.png", "9.png")
    assert [pair.name for pair in find_pairs(clean)] == ["9", "img1", "img2", "img10"]


def test_other_files_and_hidden_ones_are_left_alone(tmp_path: Path) -> None:
    clean = fill(tmp_path / "clean", "a.png", "notes.txt", ".hidden.png")
    (clean / "folder.png").mkdir()
    assert [pair.name for pair in find_pairs(clean)] == ["a"]


def test_two_single_files_are_a_pair_whatever_their_names(tmp_path: Path) -> None:
    fill(tmp_path, "truth.png", "noisy.jpg")
    (pair,) = find_pairs(tmp_path / "truth.png", tmp_path / "noisy.jpg")
    assert (pair.name, pair.degraded) == ("truth", tmp_path / "noisy.jpg")


@pytest.mark.parametrize("option", ["--clean", "--degraded"])
def test_a_missing_or_empty_folder_is_named_with_its_option(tmp_path: Path, option: str) -> None:
    full, empty = fill(tmp_path / "full", "a.png"), fill(tmp_path / "empty")
    for folder, reason in ((empty, "no images"), (tmp_path / "absent", "no such file or folder")):
        folders = (folder, full) if option == "--clean" else (full, folder)
        with pytest.raises(UsageError, match=f"{option} .*{reason}"):
            find_pairs(*folders)


@pytest.mark.parametrize(
    ("clean_name", "degraded_name", "words"),
    [
        ("norain-001", "rain-001", ("norain", "rain")),
        ("normal00690", "low00690", ("normal", "low")),
        ("0001_GT_SRGB_010", "0001_NOISY_SRGB_010", ("GT", "NOISY")),
        ("baby_SRF_4_HR", "baby_SRF_4_LR", ("HR", "LR")),
        ("same", "same", ("GT", "NOISY")),
    ],
)
def test_names_of_published_sets_are_paired_by_the_words_they_differ_in(
    clean_name: str, degraded_name: str, words: tuple[str, str], tmp_path: Path
):
    clean, degraded = fill(tmp_path / "truth", f"{clean_name}.png"), fill(tmp_path / "input", f"{degraded_name}.png")
    (pair,) = find_pairs(clean, degraded, words=words)
    assert (pair.clean.stem, pair.degraded and pair.degraded.stem) == (clean_name, degraded_name)

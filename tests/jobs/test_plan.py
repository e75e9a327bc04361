"""Which paths mean which images, and where results go: names only, so the files here are empty."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from restore_cli.errors import UsageError
from restore_cli.jobs.plan import ImageJob, format_named, plan_images
from restore_cli.jobs.sources import PassedOver
from restore_cli.settings import Existing, PathSettings, WriteSettings


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, so that paths are written as a person types them."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def plan(
    *paths: str,
    output: str | None = None,
    beside: bool = False,
    in_place: bool = False,
    recursive: bool = False,
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    suffix: str | None = None,
    existing: Existing = "error",
    format_name: str | None = None,
) -> tuple[tuple[ImageJob, ...], tuple[ImageJob, ...]]:
    settings = PathSettings(
        paths=paths,
        output=output,
        beside=beside,
        in_place=in_place,
        recursive=recursive,
        include=include,
        exclude=exclude,
        suffix=suffix,
        task_suffix="_x4",
    )
    return plan_images(settings, WriteSettings(existing=existing, format=format_name))


def targets(*paths: str, output: str | None = None, **settings: bool | str | tuple[str, ...] | None) -> dict[str, str]:
    jobs, skipped = plan(*paths, output=output, **settings)  # type: ignore[arg-type]
    assert not skipped
    return {str(job.source): str(job.target) for job in jobs}


class TestWhereResultsGo:
    def test_one_file_alone_goes_beside_itself_with_the_suffix_of_the_task(self):
        touch("a/photo.png")
        assert targets("a/photo.png") == {"a/photo.png": "a/photo_x4.png"}

    def test_one_folder_alone_goes_into_a_folder_beside_it_and_names_stay(self):
        touch("in/b.jpg", "in/a.png")
        assert targets("in/") == {"in/a.png": "in_x4/a.png", "in/b.jpg": "in_x4/b.jpg"}

    def test_the_current_folder_is_called_by_its_real_name(self, here: Path):
        touch("a.png")
        assert targets(".") == {"a.png": str(here.with_name(here.name + "_x4") / "a.png")}

    def test_one_file_and_a_name_give_that_file(self):
        touch("a.png")
        assert targets("a.png", "b.jpg") == {"a.png": "b.jpg"}

    def test_one_file_and_an_existing_folder_give_a_file_in_it(self):
        touch("a.png", "out/other.png")
        assert targets("a.png", "out") == {"a.png": "out/a.png"}

    def test_a_separator_at_the_end_of_the_output_means_a_folder_to_be_made(self):
        touch("a.png")
        assert targets("a.png", "out/") == {"a.png": "out/a.png"}

    def test_a_folder_and_a_name_give_that_folder_whose_tree_mirrors_the_input(self):
        touch("in/a.png", "in/deep/er/b.png")
        assert targets("in", "out") == {"in/a.png": "out/a.png"}
        assert targets("in", "out", recursive=True) == {
            "in/a.png": "out/a.png",
            "in/deep/er/b.png": "out/deep/er/b.png",
        }

    def test_several_inputs_share_the_output_folder_and_each_folder_keeps_its_name(self):
        touch("one/x.jpg", "two/x.jpg", "c.png")
        assert targets("one", "two", "c.png", "out") == {
            "one/x.jpg": "out/one/x.jpg",
            "two/x.jpg": "out/two/x.jpg",
            "c.png": "out/c.png",
        }

    def test_beside_makes_every_path_an_input(self):
        touch("a.png", "b.png")
        assert targets("a.png", "b.png", beside=True) == {"a.png": "a_x4.png", "b.png": "b_x4.png"}

    def test_an_output_said_outright_makes_every_path_an_input(self):
        touch("a.png", "b.png")
        assert targets("a.png", "b.png", output="out") == {"a.png": "out/a.png", "b.png": "out/b.png"}

    def test_a_suffix_said_outright_is_used_in_another_folder_too(self):
        touch("a.png")
        assert targets("a.png", suffix="-big") == {"a.png": "a-big.png"}
        assert targets("a.png", "out/", suffix="-big") == {"a.png": "out/a-big.png"}

    def test_only_the_last_suffix_of_a_name_is_its_format(self):
        touch("a.tar.png", "photo")
        assert targets("a.tar.png", "photo", beside=True) == {"a.tar.png": "a.tar_x4.png", "photo": "photo_x4.png"}


class TestFormats:
    def test_a_format_is_kept_with_its_very_spelling(self):
        touch("a.JPG", "b.jpeg", "c.tif")
        assert targets("a.JPG", "b.jpeg", "c.tif", "out/") == {
            "a.JPG": "out/a.JPG",
            "b.jpeg": "out/b.jpeg",
            "c.tif": "out/c.tif",
        }

    def test_gif_and_bmp_become_png(self):
        touch("a.gif", "b.BMP")
        assert targets("a.gif", "b.BMP", beside=True) == {"a.gif": "a_x4.png", "b.BMP": "b_x4.png"}

    def test_a_format_said_outright_changes_the_suffix(self):
        touch("a.png", "b.jpeg")
        assert targets("a.png", "b.jpeg", "out/", format_name="JPEG") == {"a.png": "out/a.jpg", "b.jpeg": "out/b.jpeg"}

    def test_formats_are_named_as_people_do(self):
        assert [format_named(name) for name in ("jpg", "JPEG", "tif", "png", "webp")] == [
            "JPEG",
            "JPEG",
            "TIFF",
            "PNG",
            "WEBP",
        ]
        with pytest.raises(UsageError, match="'gif'; choose --format png, jpeg"):
            format_named("gif")

    def test_an_output_of_a_format_that_is_not_written_is_refused(self):
        touch("a.png")
        with pytest.raises(UsageError, match=r"b\.gif: images are not written as \.gif; choose one of \.png"):
            plan("a.png", "b.gif")

    def test_an_output_that_contradicts_the_format_is_refused(self):
        touch("a.png")
        with pytest.raises(UsageError, match=r"b\.png and --format jpeg contradict each other; name it b\.jpg"):
            plan("a.png", "b.png", format_name="JPEG")

    def test_a_new_output_without_suffix_is_neither_file_nor_folder(self):
        touch("a.png")
        with pytest.raises(
            UsageError, match=r"out does not exist.*write out/ for a folder, or a name such as out\.png"
        ):
            plan("a.png", "out")


class TestWhatIsRead:
    def test_in_a_folder_only_visible_names_of_images_are_taken(self):
        touch("in/a.PNG", "in/.hidden.png", "in/notes.txt", "in/.cache/b.png", "in/c.webp")
        assert list(targets("in", "out", recursive=True)) == ["in/a.PNG", "in/c.webp"]

    def test_a_named_file_is_taken_whatever_it_is_called(self):
        touch("notes.txt", ".hidden")
        assert list(targets("notes.txt", ".hidden", beside=True)) == ["notes.txt", ".hidden"]

    def test_an_output_folder_inside_the_input_folder_is_not_read(self):
        touch("in/a.png", "in/out/a.png", "in/sub/b.png")
        jobs, skipped = plan("in", "in/out", recursive=True, existing="skip")
        assert [str(job.source) for job in jobs] == ["in/sub/b.png"]
        assert [str(job.source) for job in skipped] == ["in/a.png"]

    def test_links_to_folders_are_not_followed(self):
        touch("in/a.png")
        Path("in/again").symlink_to(".", target_is_directory=True)
        assert list(targets("in", "out", recursive=True)) == ["in/a.png"]

    @pytest.mark.parametrize("recursive", [True, False])
    def test_links_that_lead_nowhere_hinder_no_other_image(self, recursive: bool):
        touch("in/a.png")
        for name, aim in (
            ("b", "b"),
            ("circle.png", "circle.png"),
            ("long", "x" * 300),
            ("long.png", "x" * 300 + ".png"),
        ):
            Path("in", name).symlink_to(aim)
        # Those called as images fail in their turn, in a line each.
        assert list(targets("in", "out", recursive=recursive)) == ["in/a.png", "in/circle.png", "in/long.png"]
        assert len(targets("in/circle.png", "in/long.png", "in/a.png", in_place=True)) == 3

    def test_a_name_that_is_too_long_fails_in_its_turn(self):
        touch("a.png")
        name = "x" * 300 + ".png"
        assert list(targets(name, "a.png", beside=True)) == [name, "a.png"]
        assert list(targets(name, "a.png", "out/")) == [name, "a.png"]
        with pytest.raises(UsageError, match="does not exist"):
            plan(name)

    def test_an_image_named_twice_is_restored_once(self):
        touch("in/a.png")
        assert targets("in/a.png", "./in/a.png", beside=True) == {"in/a.png": "in/a_x4.png"}

    def test_a_deep_tree_is_walked_without_recursion(self):
        folder = Path("in")
        for _ in range(300):
            folder /= "d"
        folder.mkdir(parents=True)
        (folder / "a.png").touch()
        assert list(targets("in", "out", recursive=True)) == [str(folder / "a.png")]

    def test_one_missing_file_among_others_fails_at_its_turn(self):
        touch("a.png")
        assert list(targets("a.png", "gone.png", beside=True)) == ["a.png", "gone.png"]

    def test_nothing_but_missing_files_is_refused_with_the_nearest_name(self):
        touch("photo.png")
        with pytest.raises(UsageError, match=r"phto\.png does not exist; did you mean photo\.png\?"):
            plan("phto.png")
        with pytest.raises(UsageError, match=r"none of the 2 inputs exists, phto\.png the first"):
            plan("phto.png", "gone.png", beside=True)

    def test_camera_raws_of_a_folder_are_named_unless_they_have_an_image_beside_them(self):
        touch("in/a.png", "in/a.NEF", "in/b.dng", "in/notes.txt")
        passed_over = PassedOver()
        settings = PathSettings(paths=("in", "out"), task_suffix="_x4")
        plan_images(settings, WriteSettings(), passed_over=passed_over)
        assert passed_over.warnings == ["in/b.dng: a camera raw, left out: develop it first, with a raw converter"]
        touch("in/c.CR2")
        plan_images(settings, WriteSettings(), passed_over=(passed_over := PassedOver()))
        begin = "2 camera raws left out, such as in/b.dng: develop them first"
        assert passed_over.warnings[0].startswith(begin)
        touch("raws/a.orf")
        with pytest.raises(UsageError, match=r"no images in raws; develop camera raws such as a\.orf first"):
            plan("raws")

    def test_a_folder_without_images_says_how_to_look_deeper(self):
        touch("in/sub/a.png")
        with pytest.raises(UsageError, match="no images in in; add -r"):
            plan("in")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
    def test_a_folder_that_cannot_be_listed_is_refused_alone_and_fails_at_its_turn_among_others(self):
        touch("in/a.png", "in/locked/b.png")
        Path("in/locked").chmod(0)
        with pytest.raises(UsageError, match="cannot list in/locked"):
            plan("in/locked", "out")
        assert set(targets("in", "out", recursive=True)) == {"in/a.png", "in/locked"}
        assert set(targets("in", in_place=True, recursive=True)) == {"in/a.png", "in/locked"}
        Path("in/locked").chmod(0o700)


class TestPatterns:
    def test_a_pattern_that_no_shell_expanded_is_expanded(self):
        touch("b1.png", "b2.png", "b2.txt", "deep/er/b3.png", ".b4.png")
        assert targets("b*.png", "out/") == {"b1.png": "out/b1.png", "b2.png": "out/b2.png"}
        assert targets("b?.png", beside=True) == {"b1.png": "b1_x4.png", "b2.png": "b2_x4.png"}
        assert list(targets("**/*.png", "out/")) == ["b1.png", "b2.png", "deep/er/b3.png"]
        assert targets("deep/*", "out", recursive=True) == {"deep/er/b3.png": "out/b3.png"}

    def test_what_exists_under_its_very_name_is_no_pattern(self):
        touch("[a].png", "a.png", "b*.png", "bc.png")
        assert list(targets("[a].png", "b*.png", beside=True)) == ["[a].png", "b*.png"]

    def test_names_that_look_like_options_patterns_or_templates_are_names(self):
        names = [
            "%d.png",
            "-rf.png",
            "#1.png",
            "$HOME.png",
            "a[1].png",
            "b*.png",
            "q'.png",
            "s .png",
            "{x}.png",
            "~.png",
        ]
        touch(*(f"in/{name}" for name in [*names, "\U0001f600.png"]))
        assert targets("in", "out") == {f"in/{name}": f"out/{name}" for name in [*names, "\U0001f600.png"]}

    def test_a_pattern_that_nothing_fits_is_refused(self):
        touch("a.png")
        with pytest.raises(UsageError, match=r"nothing fits the pattern x\*\.png"):
            plan("a.png", "x*.png", beside=True)

    def test_names_are_included_and_excluded(self):
        touch("in/IMG_1.png", "in/IMG_2.jpg", "in/scan.png", "in/thumbs/IMG_3.png", "in/deep/IMG_4.png", "in/notes.txt")
        tree = partial(targets, "in", "out", recursive=True)
        assert list(tree(include=("IMG_*",))) == [
            "in/IMG_1.png", "in/IMG_2.jpg", "in/deep/IMG_4.png", "in/thumbs/IMG_3.png",
        ]  # fmt: skip
        assert list(tree(include=("*.jpg", "scan*"))) == ["in/IMG_2.jpg", "in/scan.png"]
        assert list(tree(exclude=("thumbs", "*.jpg"))) == ["in/IMG_1.png", "in/scan.png", "in/deep/IMG_4.png"]
        assert list(tree(include=("deep/*",))) == ["in/deep/IMG_4.png"]
        assert list(tree(include=("IMG_*",), exclude=("*/IMG_*",))) == ["in/IMG_1.png", "in/IMG_2.jpg"]

    def test_patterns_hold_for_files_named_outright_too(self):
        touch("a.png", "b.png")
        assert list(targets("a.png", "b.png", beside=True, exclude=("b*",))) == ["a.png"]

    def test_patterns_that_leave_nothing_are_named(self):
        touch("in/a.png")
        with pytest.raises(UsageError, match="no images in in; look at --include and --exclude"):
            plan("in", "out", include=("b*",))


class TestWhatIsRefused:
    def test_an_existing_file_as_the_last_of_several_names_both_ways_out(self):
        touch("a.png", "b.png")
        with pytest.raises(UsageError, match=r"b\.png exists.*--output b\.png --existing overwrite.*--beside"):
            plan("a.png", "b.png", existing="overwrite")

    def test_several_inputs_into_one_file_are_refused(self):
        touch("a.png", "b.png", "c.png")
        with pytest.raises(UsageError, match=r"c\.png is a file, and 2 inputs need a folder"):
            plan("a.png", "b.png", output="c.png")

    def test_a_mistyped_last_input_does_not_become_a_folder(self):
        touch("a.png", "b.png")
        with pytest.raises(UsageError, match=r"c\.png does not exist, and as the output of 2 inputs.*say c\.png/"):
            plan("a.png", "b.png", "c.png")

    @pytest.mark.parametrize("name", ["a.png", "./a.png", "link.png", "sub/../a.png"])
    def test_writing_over_the_input_needs_in_place(self, name: str):
        touch("a.png", "sub/x")
        Path("link.png").symlink_to("a.png")
        with pytest.raises(UsageError, match=r"a\.png would be written over itself.*--in-place"):
            plan("a.png", output=name, existing="overwrite")

    def test_a_folder_into_itself_is_refused(self):
        touch("in/a.png", "in/sub/b.png")
        with pytest.raises(UsageError, match="over itself"):
            plan("in", "in", recursive=True)

    def test_a_result_never_overwrites_another_input(self):
        touch("a.bmp", "a_x4.png")
        with pytest.raises(UsageError, match=r"the result of a\.bmp would overwrite the input a_x4\.png"):
            plan("a.bmp", "a_x4.png", beside=True, existing="overwrite")

    def test_two_results_of_one_name_are_refused_before_any_work(self):
        touch("in/a.jpg", "in/a.png")
        with pytest.raises(UsageError, match=r"in/a\.jpg and in/a\.png would both be written to out/a\.png"):
            plan("in", "out", format_name="PNG")
        touch("one/a.png", "two/a.png")
        with pytest.raises(UsageError, match=r"both be written to out/a\.png; add --existing rename"):
            plan("one/a.png", "two/a.png", "out/", existing="overwrite")

    def test_twins_in_case_or_accents_stay_apart_on_the_file_system_that_holds_both(self):
        touch("in/A.png", "in/a.png", "in/caf\u00e9.png", "in/cafe\u0301.png")
        if len(list(Path("in").iterdir())) < 4:
            pytest.skip("this file system takes them for the same")
        assert len(set(targets("in", "out").values())) == 4

    def test_twins_from_elsewhere_are_refused(self):
        touch("one/A.png", "two/a.png")
        with pytest.raises(UsageError, match="would both be written to"):
            plan("one/A.png", "two/a.png", "out/")

    def test_an_output_below_a_file_is_refused(self):
        touch("a.png", "b")
        with pytest.raises(UsageError, match="b is a file, so nothing can be written below it"):
            plan("a.png", "b/c/")

    def test_contradicting_options_are_refused(self):
        touch("a.png")
        with pytest.raises(UsageError, match="--output and --beside contradict"):
            plan("a.png", output="b.png", beside=True)
        with pytest.raises(UsageError, match="--format and --in-place contradict"):
            plan("a.png", in_place=True, format_name="PNG")
        with pytest.raises(UsageError, match="path separator"):
            plan("a.png", suffix="/x")
        with pytest.raises(UsageError, match="a path is empty"):
            plan("")


class TestExisting:
    def test_an_existing_output_is_refused_before_any_work(self):
        touch("in/a.png", "in/b.png", "out/a.png", "out/b.png")
        with pytest.raises(UsageError, match=r"2 outputs exist already, out/a\.png the first; add --resume to go on"):
            plan("in", "out")

    def test_skip_leaves_out_what_exists(self):
        touch("in/a.png", "in/b.png", "out/a.png")
        jobs, skipped = plan("in", "out", existing="skip")
        assert [str(job.target) for job in jobs] == ["out/b.png"]
        assert [str(job.target) for job in skipped] == ["out/a.png"]

    def test_overwrite_plans_the_same_target(self):
        touch("a.png", "b.png")
        assert targets("a.png", output="b.png", existing="overwrite") == {"a.png": "b.png"}

    def test_overwrite_never_means_a_folder(self):
        touch("in/a.png", "out/a.png/x")
        with pytest.raises(UsageError, match=r"the output out/a\.png is a folder"):
            plan("in", "out", existing="overwrite")

    def test_rename_numbers_what_exists_and_what_meets(self):
        touch("in/a.jpg", "in/a.png", "in/b.png", "out/b.png", "out/b-2.png")
        assert targets("in", "out", existing="rename", format_name="PNG") == {
            "in/a.jpg": "out/a.png",
            "in/a.png": "out/a-2.png",
            "in/b.png": "out/b-3.png",
        }

    def test_a_dangling_link_counts_as_existing(self):
        touch("in/a.png", "out/x")
        Path("out/a.png").symlink_to("nowhere")
        with pytest.raises(UsageError, match=r"out/a\.png exists already"):
            plan("in", "out")

    def test_in_place_replaces_the_file_a_link_points_to(self):
        touch("store/a.png")
        Path("link.png").symlink_to("store/a.png")
        assert targets("link.png", in_place=True) == {"link.png": str(Path("store/a.png").resolve())}

    def test_in_place_refuses_formats_that_are_not_written(self):
        touch("a.gif")
        with pytest.raises(UsageError, match=r"--in-place cannot write a\.gif back as \.gif"):
            plan("a.gif", in_place=True)

"""`restore eval` from argv to tables, JSON Lines, files and exit codes, with tiny real networks."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restore_cli.weights.manifest import load_manifest
from tests.cli.conftest import Ran, Run, image, json_lines

Tiny = Callable[..., Path]


def clean_folder(*names: str, size: tuple[int, int] = (24, 22), mode: str = "RGB") -> None:
    for name in names or ("a.png", "b.png"):
        image(f"clean/{name}", size=size, mode=mode)


@pytest.fixture
def sr(run: Run, tiny: Tiny) -> Run:
    """Run `restore eval sr --scale 2` with a tiny network."""

    def run_sr(*arguments: object) -> Ran:
        return run("eval", "sr", "--scale", 2, "--weights", tiny(), "--threads", 1, *arguments)

    return run_sr


class TestScores:
    def test_a_table_names_protocol_images_and_candidates(self, sr: Run):
        clean_folder()
        ran = sr("--clean", "clean")
        assert ran.code == 0
        lines = ran.out.splitlines()
        assert lines[0] == "sr x2 on work, protocol paper"
        assert "2 px border cut" in lines[1]
        assert [line.split()[0] for line in lines[3:6]] == ["PSNR-Y", "a", "b"]
        assert lines[-3].split()[:4] == ["mean", "of", "PSNR-Y", "SSIM-Y"]
        assert [line.split()[0] for line in lines[-2:]] == ["bicubic", "sr-x2-3"]
        assert all(line.endswith("paper") for line in lines[-2:])

    def test_each_image_is_told_on_stderr_while_it_runs(self, sr: Run):
        clean_folder()
        err = sr("--clean", "clean").err
        assert "[1/2] a: PSNR-Y bicubic" in err
        assert "sha256:" in err
        assert "pad reflect" in err

    def test_json_lines_have_images_then_a_summary(self, sr: Run):
        clean_folder()
        *images, summary = json_lines(sr("--clean", "clean", "--json"))
        assert [(line["image"], line["candidate"]) for line in images] == [
            ("a", "bicubic"), ("a", "sr-x2-3"), ("b", "bicubic"), ("b", "sr-x2-3"),
        ]  # fmt: skip
        assert {line["protocol"] for line in [*images, summary]} == {"paper"}
        network = summary["candidates"][1]
        own = [line["scores"]["psnr_y"] for line in images if line["candidate"] == network["candidate"]]
        assert network["mean"]["psnr_y"] == pytest.approx(np.mean(own))
        assert (network["device"], network["pad"], network["digest"][:7]) == ("cpu", "reflect", "sha256:")

    def test_given_inputs_score_as_those_made_of_the_same_images(self, sr: Run):
        from restore_cli.imaging.resize import downscale_matlab

        clean_folder()
        Path("lr").mkdir()
        for name in ("a", "b"):
            small = downscale_matlab(np.asarray(Image.open(f"clean/{name}.png")), 2)
            Image.fromarray(small).save(f"lr/{name}x2.png")
        made = json_lines(sr("--clean", "clean", "--json"))[:-1]
        given = json_lines(sr("--clean", "clean", "--degraded", "lr", "--json"))[:-1]
        assert [line["scores"] for line in given] == [line["scores"] for line in made]

    def test_both_noise_protocols_are_scored_and_named(self, run: Run, tiny: Tiny):
        clean_folder("a.png")
        weights = tiny("denoise", scale=1, sigma_range=(0.0, 50.0))
        means = {}
        for protocol in ("paper", "8bit"):
            ran = run(
                "eval", "denoise", "--sigma", 50, "--clean", "clean", "--weights", weights, "--json", "--protocol",
                protocol,
            )  # fmt: skip
            summary = json_lines(ran)[-1]
            assert (ran.code, summary["protocol"], summary["subject"]) == (0, protocol, "denoise sigma 50")
            means[protocol] = [candidate["mean"]["psnr"] for candidate in summary["candidates"]]
        assert means["paper"][0] == means["8bit"][0]  # the floor is scored as an image would hold it
        assert means["paper"][1] != means["8bit"][1]  # but the network sees the unclipped noise

    @pytest.mark.parametrize("channels", [1, 3])
    def test_gray_images_are_scored_through_gray_and_rgb_networks(self, run: Run, tiny: Tiny, channels: int):
        clean_folder("a.png", mode="L")
        weights = tiny("denoise", scale=1, channels=channels)
        ran = run("eval", "denoise", "--gray", "--sigma", 25, "--clean", "clean", "--weights", weights, "--json")
        assert ran.code == 0
        assert json_lines(ran)[-1]["subject"] == "denoise gray sigma 25"

    def test_noise_beyond_what_weights_were_trained_for_is_said(self, run: Run, tiny: Tiny):
        from restore_cli.weights.file import entry_from_file
        from restore_cli.weights.load import load_weights, save_weights

        clean_folder("a.png")
        wide = tiny("denoise", scale=1)
        entry = entry_from_file(wide)
        assert entry is not None
        narrow = replace(entry, sigma_range=(0.0, 30.0))
        save_weights(Path("narrow.safetensors"), load_weights(entry, wide).network.state_dict(), narrow)
        ran = run("eval", "denoise", "--sigma", 45, "--clean", "clean", "--weights", "narrow.safetensors")
        assert ran.code == 0
        assert "was trained at sigma 0 to 30, not 45" in ran.err

    def test_every_task_makes_its_own_inputs(self, run: Run, tiny: Tiny):
        clean_folder("a.png")
        for task in ("derain", "lowlight"):
            ran = run("eval", task, "--clean", "clean", "--weights", tiny(task, scale=1), "--json")
            assert (ran.code, json_lines(ran)[-1]["protocol"]) == (0, "synthetic")

    def test_several_weights_stand_side_by_side_under_names_of_their_own(self, sr: Run, tiny: Tiny):
        clean_folder("a.png")
        Path("other").mkdir()
        other = Path("other") / tiny().name
        other.write_bytes(tiny().read_bytes())
        summary = json_lines(sr("--clean", "clean", "--weights", other, "--json"))[-1]
        names = [candidate["candidate"] for candidate in summary["candidates"]]
        assert names == ["bicubic", "sr-x2-3", "sr-x2-3-2"]

    def test_weights_called_as_the_floor_do_not_take_its_place(self, run: Run, tiny: Tiny):
        clean_folder("a.png")
        Path("bicubic.safetensors").write_bytes(tiny().read_bytes())
        ran = run("eval", "sr", "--scale", 2, "--clean", "clean", "--weights", "bicubic.safetensors", "--json")
        assert [candidate["candidate"] for candidate in json_lines(ran)[-1]["candidates"]] == ["bicubic", "bicubic-2"]


class TestFiles:
    def test_csv_page_and_images_are_written(self, sr: Run):
        clean_folder()
        ran = sr("--clean", "clean", "--csv", "s.csv", "--html", "s.html", "--save-images", "out")
        assert ran.code == 0
        with Path("s.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert [row["kind"] for row in rows] == ["image"] * 4 + ["mean"] * 2
        assert Path("s.html").read_text(encoding="utf-8").count("<img ") == 2 * 2 * 4
        saved = sorted(str(path) for path in Path("out").rglob("*.png"))
        assert saved == [
            "out/bicubic/a.png", "out/bicubic/b.png", "out/sr-x2-3/a.png", "out/sr-x2-3/b.png",
        ]  # fmt: skip
        with Image.open("out/bicubic/a.png") as image:
            assert image.size == (24, 22)

    def test_the_saved_images_are_those_that_were_scored(self, sr: Run):
        from restore_cli.metrics.psnr import psnr_y

        clean_folder("a.png")
        line = json_lines(sr("--clean", "clean", "--save-images", "out", "--json"))[1]
        saved, clean = (np.asarray(Image.open(path)) for path in ("out/sr-x2-3/a.png", "clean/a.png"))
        assert psnr_y(saved, clean, crop_border=2) == line["scores"]["psnr_y"]

    @pytest.mark.parametrize(
        ("option", "value", "taken"),
        [("--csv", "s.csv", "s.csv"), ("--html", "s.html", "s.html"), ("--save-images", "out", "out/bicubic/a.png")],
    )
    def test_what_exists_is_kept_unless_said_otherwise(self, sr: Run, option: str, value: str, taken: str):
        clean_folder("a.png")
        Path(taken).parent.mkdir(parents=True, exist_ok=True)
        Path(taken).write_text("mine", encoding="utf-8")
        refused = sr("--clean", "clean", option, value)
        assert (refused.code, refused.out) == (2, "")
        assert taken in refused.err
        assert Path(taken).read_text(encoding="utf-8") == "mine"
        assert sr("--clean", "clean", option, value, "--existing", "overwrite").code == 0
        assert Path(taken).read_bytes() != b"mine"

    def test_a_folder_that_is_missing_is_told_before_any_work(self, sr: Run):
        clean_folder("a.png")
        ran = sr("--clean", "clean", "--csv", "nowhere/s.csv")
        assert (ran.code, ran.out) == (2, "")
        assert "nowhere" in ran.err


class TestFaults:
    def test_an_unpaired_image_is_a_usage_error_that_names_it(self, sr: Run):
        clean_folder("a.png", "b.png")
        image("lr/a.png")
        ran = sr("--clean", "clean", "--degraded", "lr")
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.count("\n") == 1
        assert "clean/b.png: no degraded image in lr" in ran.err

    def test_a_broken_image_fails_alone_and_the_means_say_so(self, sr: Run):
        clean_folder()
        Path("clean/c.png").write_bytes(b"\x89PNG\r\n\x1a\nshort")
        ran = sr("--clean", "clean", "--json")
        assert ran.code == 1
        assert [line["image"] for line in json_lines(ran) if line.get("status") == "failed"] == ["c"]
        assert (json_lines(ran)[-1]["ok"], json_lines(ran)[-1]["failed"]) == (2, 1)
        assert "clean/c.png" in ran.err
        assert "1 of 3 images" in ran.err

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["drain", "--clean", "clean"], "unknown task 'drain', did you mean 'derain'?"),
            (["derain", "--clean", "clean", "--scale", "2"], "--scale belongs to sr"),
            (["sr", "--clean", "clean", "--sigma", "25"], "--sigma belongs to denoise"),
            (["sr", "--clean", "clean", "--kind", "motion"], "--kind belongs to deblur"),
            (["denoise", "--clean", "clean"], "give --sigma 25"),
            (["sr", "--clean", "clean", "--protocol", "8bit"], "use paper"),
            (["sr", "--clean", "absent"], "--clean absent: no such file or folder"),
            (["sr"], "'--clean'"),
            (["sr", "--clean", "clean", "-m", "ramit-2"], "did you mean 'ramit"),
            (["sr", "--clean", "clean", "--weights", "absent.pth"], "absent.pth: no such file"),
            (["sr", "--clean", "clean", "--tile", "many"], "--tile many"),
        ],
    )
    def test_what_makes_no_sense_is_refused_in_one_line(self, run: Run, arguments: list[str], message: str):
        clean_folder("a.png")
        ran = run("eval", *arguments)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert message in ran.err

    def test_weights_of_another_task_or_factor_are_refused(self, run: Run, tiny: Tiny):
        clean_folder("a.png")
        for arguments in (["derain"], ["sr", "--scale", "3"]):
            ran = run("eval", *arguments, "--clean", "clean", "--weights", tiny())
            assert ran.code == 2
            assert "is for sr x2, not for" in ran.err

    def test_a_file_that_says_nothing_of_itself_needs_a_name_before_it(self, run: Run):
        import torch

        clean_folder("a.png")
        torch.save({"weight": torch.zeros(1)}, "plain.pth")
        ran = run("eval", "sr", "--clean", "clean", "--weights", "plain.pth")
        assert ran.code == 2
        assert "--weights NAME=plain.pth" in ran.err
        named = run("eval", "sr", "--clean", "clean", "--weights", "ramit-1=plain.pth")
        assert named.code == 3
        assert "plain.pth" in named.err

    def test_weights_that_are_not_here_are_not_fetched_offline(self, run: Run):
        clean_folder("a.png")
        ran = run("eval", "sr", "--clean", "clean", "-m", "ramit-1", "--offline")
        assert ran.code == 3
        assert ran.err.count("\n") == 1

    def test_lpips_without_its_extra_is_one_line(self, sr: Run, monkeypatch: pytest.MonkeyPatch):
        from restore_cli.scoring import perceptual

        monkeypatch.setattr(perceptual, "lpips_missing", lambda: "lpips")
        clean_folder("a.png")
        ran = sr("--clean", "clean", "--lpips")
        assert (ran.code, ran.out) == (2, "")
        assert "run pip install 'restore-cli[lpips]'" in ran.err
        assert ran.err.count("\n") == 1


def test_weights_for_clean_images_and_for_photos_are_held_beside_each_other(run: Run):
    manifest = load_manifest()
    plain, photo = (manifest.select(task="sr", scale=4, variant=variant).id for variant in (None, "photo"))
    clean_folder("a.png", size=(48, 48))
    ran = run("eval", "sr", "--scale", 4, "--clean", "clean", "-m", plain, "-m", photo, "--threads", 1)
    assert ran.code == 0
    assert [line.split()[0] for line in ran.out.splitlines()[-3:]] == ["bicubic", plain, photo]
    refused = run("eval", "sr", "--scale", 2, "--clean", "clean", "-m", plain)
    assert refused.code == 2
    assert plain in refused.err


def test_the_help_has_examples(run: Run):
    ran = run("eval", "--help")
    assert ran.code == 0
    assert "restore eval sr --scale 4 --clean" in ran.out


@pytest.mark.slow
@pytest.mark.shared
def test_the_original_checkpoints_reach_their_published_figures_on_set5(
    run: Run, shared: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RESTORE_WEIGHTS_DIR", str(shared / "weights"))
    set5 = shared / "data" / "test" / "set5"
    ran = run(
        "eval", "sr", "--scale", 4, "--clean", set5 / "HR", "--degraded", set5 / "LR_bicubic" / "X4", "-m", "ramit-1",
        "-m", "ramit-slim", "--pad", "symmetric", "--context", "global", "--json",
    )  # fmt: skip
    assert ran.code == 0
    summary = json_lines(ran)[-1]
    assert summary["dataset"] == "Set5"
    figures = {candidate["candidate"]: candidate for candidate in summary["candidates"]}
    for name, psnr_y, ssim_y in (("ramit-1-sr-x4", 32.537, 0.8987), ("ramit-slim-sr-x4", 32.472, 0.8980)):
        assert figures[name]["mean"]["psnr_y"] == pytest.approx(psnr_y, abs=0.005)
        assert figures[name]["mean"]["ssim_y"] == pytest.approx(ssim_y, abs=0.0001)
        assert figures[name]["reported"]["psnr_y"]["value"] == psnr_y
        assert abs(figures[name]["difference"]["psnr_y"]) < 0.005

"""The restoring commands from argv to files, streams and exit codes, with a tiny real network."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from restore_cli.jobs.ledger import LEDGER_NAME
from tests.cli.conftest import Ran, Run, command, environment, image
from tests.conftest import ROOT

Tiny = Callable[..., Path]


def size_of(path: str | Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def json_lines(ran: Ran) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ran.out.splitlines()]


def left_overs(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*") if path.is_file() and path.name != LEDGER_NAME]


def results(folder: str) -> list[Path]:
    return [path for path in Path(folder).iterdir() if path.name != LEDGER_NAME]


@pytest.fixture
def sr(run: Run, tiny: Tiny) -> Run:
    """Run `restore sr` with a tiny network that enlarges twice."""

    def run_sr(*arguments: object) -> Ran:
        return run("sr", "--weights", tiny(), "--threads", "1", *arguments)

    return run_sr


class TestOneRun:
    def test_a_photo_comes_out_larger_beside_itself_and_its_path_is_the_data(self, sr: Run):
        image("photo.png", size=(9, 7))
        ran = sr("photo.png")
        assert (ran.code, ran.out) == (0, "photo_x2.png\n")
        assert size_of("photo_x2.png") == (18, 14)

    def test_a_tree_is_mirrored(self, sr: Run):
        image("in/a.png")
        image("in/deep/b.jpg")
        ran = sr("-r", "in", "out")
        assert ran.code == 0
        assert ran.out.splitlines() == ["out/a.png", "out/deep/b.jpg"]
        assert size_of("out/deep/b.jpg") == (18, 14)

    @pytest.mark.parametrize("size", [(1, 1), (7, 5), (33, 1)])
    def test_images_of_odd_sizes_work(self, sr: Run, size: tuple[int, int]):
        image("a.png", size=size)
        assert sr("a.png").code == 0
        assert size_of("a_x2.png") == (2 * size[0], 2 * size[1])

    def test_every_task_runs(self, run: Run, tiny: Tiny):
        image("a.png")
        for task, suffix in (("denoise", "denoised"), ("derain", "derained"), ("lowlight", "lowlight")):
            ran = run(task, "--weights", tiny(task, scale=1), "a.png")
            assert (ran.code, ran.out) == (0, f"a_{suffix}.png\n")
            assert size_of(f"a_{suffix}.png") == (9, 7)

    def test_a_format_said_outright_is_written(self, sr: Run):
        image("a.png")
        assert sr("a.png", "--format", "webp").out == "a_x2.webp\n"
        with Image.open("a_x2.webp") as pixels:
            assert pixels.format == "WEBP"

    def test_in_place_replaces_the_input(self, run: Run, tiny: Tiny):
        path = image("a.png")
        before = path.read_bytes()
        ran = run("denoise", "--weights", tiny("denoise", scale=1), "--in-place", "a.png")
        assert (ran.code, ran.out) == (0, "a.png\n")
        assert path.read_bytes() != before

    def test_the_digest_of_ones_own_weights_is_told(self, sr: Run, tiny: Tiny):
        image("a.png")
        digest = hashlib.sha256(tiny().read_bytes()).hexdigest()
        assert f"ramit-tiny-sr from {tiny()} (sha256:{digest}) on cpu in float32" in sr("a.png").err

    def test_verbose_says_why_and_quiet_says_nothing(self, sr: Run):
        image("a.png")
        assert "why: cpu: " in sr("a.png", "--existing", "overwrite", "-v").err
        assert sr("a.png", "--existing", "overwrite", "-q") == Ran(code=0, out="a_x2.png\n", err="")

    def test_odd_names_are_restored_and_escaped(self, sr: Run):
        names = ["two\nlines.png", "[red]x.png", "caf\u00e9.png", os.fsdecode(b"raw \xff.png")]
        for name in names:
            image(f"in/{name}")
        ran = sr("in", "out")
        assert ran.code == 0
        assert {path.name for path in results("out")} == set(names)
        assert set(ran.out.splitlines()) == {
            "out/two\\nlines.png",
            "out/[red]x.png",
            "out/caf\u00e9.png",
            "out/raw \\xff.png",
        }


class TestJson:
    def test_each_image_is_an_object_and_the_summary_the_last(self, sr: Run, tiny: Tiny):
        image("in/a.png")
        Path("in/b.png").write_bytes(b"no image")
        ran = sr("in", "out", "--json")
        first, second, summary = json_lines(ran)
        assert ran.code == 1
        assert first.pop("seconds") > 0
        assert first == {
            "type": "image",
            "source": "in/a.png",
            "target": "out/a.png",
            "status": "ok",
            "size_in": [7, 9],
            "size_out": [14, 18],
            "weights": "ramit-tiny-sr",
            "warnings": [],
            "error": None,
        }
        assert (second["status"], second["size_out"]) == ("failed", None)
        assert second["error"].startswith("in/b.png: ")
        assert summary.pop("seconds") > 0
        assert summary == {
            "type": "summary",
            "ok": 1,
            "skipped": 0,
            "failed": 1,
            "stopped": 0,
            "left_out": 0,
            "task": "sr",
            "model": "ramit-tiny",
            "weights": "ramit-tiny-sr",
            "digest": "sha256:" + hashlib.sha256(tiny().read_bytes()).hexdigest(),
            "device": "cpu",
            "dtype": "float32",
            "tile": "off",
            "context": "global",
            "cell": None,
            "share": None,
        }

    def test_that_an_image_goes_in_tiles_is_told_before_the_work(self, sr: Run):
        image("big.png", size=(180, 100))
        ran = sr("big.png", "--tile", "64", "--overlap", "16")
        assert ran.code == 0, ran.err
        assert ran.err.index("big.png: in ") < ran.err.index(" tiles of ") < ran.err.index("big.png -> big_x2.png")

    def test_a_report_holds_the_same_lines(self, sr: Run):
        image("a.png")
        ran = sr("a.png", "--json", "--report", "report.jsonl")
        assert Path("report.jsonl").read_text() == ran.out

    def test_a_report_never_overwrites_an_image(self, sr: Run):
        before = image("a.png").read_bytes()
        assert sr("a.png", "--report", "./a.png").code == 2
        assert Path("a.png").read_bytes() == before


class TestDryRun:
    def test_the_plan_is_shown_and_nothing_touched(self, run: Run):
        image("in/a.png")
        image("out/b.png")
        image("in/b.png")
        ran = run("sr", "-m", "ramit", "-n", "--existing", "skip", "--report", "report.jsonl", "in", "out")
        assert ran.code == 0
        assert ran.out.splitlines() == ["in/a.png -> out/a.png", "in/b.png -> out/b.png (exists, skipped)"]
        assert "ramit-sr-x4: would be fetched first" in ran.err
        assert sorted(path.name for path in Path().rglob("*")) == ["a.png", "b.png", "b.png", "in", "out"]

    def test_the_plan_as_json(self, run: Run):
        image("a.png")
        pixels, summary = json_lines(run("sr", "-m", "ramit", "--scale", "2", "--dry-run", "--json", "a.png"))
        assert pixels == {
            "type": "image",
            "source": "a.png",
            "target": "a_x2.png",
            "status": "planned",
            "weights": "ramit-sr-x2",
        }
        assert (summary["planned"], summary["weights"], summary["weights_path"]) == (1, "ramit-sr-x2", None)

    @pytest.mark.parametrize("command", [["sr", "--scale", "4"], ["run", "denoise,sr:4"]])
    def test_a_dry_run_refuses_what_the_run_refuses(self, run: Run, command: list[str]):
        image("in/fine.png")
        Image.new("L", (8, 5000)).save("in/tall.webp")
        Image.new("1", (3000, 400)).save("in/wide.tif")
        Path("in/cut.png").write_bytes(image("x.png", size=(64, 64)).read_bytes()[:400])
        Path("in/empty.png").touch()
        limits = ["--max-pixels", "1000000"]
        for more, reasons in (
            ([], {"tall.webp": "more than WEBP holds", "cut.png": "truncated", "empty.png": "it is empty"}),
            (limits, {"wide.tif": "--max-pixels"}),
            (["--long-side", "400", "--format", "webp", "--exclude", "*.png"], {}),
        ):
            planned = run(*command, "--dry-run", "--json", *more, "in", "out")
            failed = {line["source"]: line["error"] for line in json_lines(planned) if line.get("status") == "failed"}
            assert planned.code == (1 if failed else 0)
            assert not Path("out").exists()
            assert failed.keys() >= {f"in/{name}" for name in reasons}
            for name, reason in reasons.items():
                assert reason in failed[f"in/{name}"]
                assert planned.err.count(failed[f"in/{name}"]) == 1
        names = [f"in/{name}" for name in ("tall.webp", "cut.png", "empty.png")]
        ran = json_lines(run(*command, "--json", *names, "out/"))
        planned = json_lines(run(*command, "--json", "--dry-run", *names, "out2/"))
        told = [
            [(line["source"], line["error"]) for line in lines if line["type"] == "image"] for lines in (ran, planned)
        ]
        assert told[0] == told[1]


class TestPages:
    def test_every_page_of_a_tiff_is_restored_into_one(self, sr: Run):
        pages = [Image.new("RGB", (12, 10), (200, 30, 20)), Image.new("L", (9, 8), 120)]
        pages[0].save("scan.tif", save_all=True, append_images=pages[1:])
        first = sr("scan.tif", "-o", "first.tif")
        assert (first.code, "it holds 2 images: only the first is used" in first.err) == (0, True)
        ran = sr("--all-pages", "--strict", "scan.tif", "-o", "all.tif")
        assert ran.code == 0, ran.err
        with Image.open("all.tif") as both:
            sizes = [(both.seek(number), both.size)[1] for number in range(both.n_frames)]
        assert sizes == [(24, 20), (18, 16)]
        refused = sr("--all-pages", "scan.tif", "-o", "all.png")
        assert (refused.code, refused.err.count("write TIFF, or leave --all-pages out")) == (1, 1)
        assert sr("--all-pages", "scan.tif", "-o", "all.png", "--dry-run").code == 1


class TestFaults:
    def test_a_bad_file_is_one_line_and_the_others_are_restored(self, sr: Run):
        image("in/a.png")
        Path("in/b.png").touch()
        Path("in/c.png").write_bytes(image("c.png", size=(64, 64)).read_bytes()[:400])
        image("in/d.png")
        ran = sr("in", "out")
        assert ran.code == 1
        assert ran.out.splitlines() == ["out/a.png", "out/d.png"]
        errors = [line for line in ran.err.splitlines() if line.startswith("restore: error: ")]
        assert [line.split(": ")[2] for line in errors] == ["in/b.png", "in/c.png"]
        assert "2 restored, 2 failed in " in ran.err
        assert "Traceback" not in ran.err

    def test_the_end_of_a_batch_tells_what_failed_was_left_out_and_where_results_lie(self, sr: Run):
        for name in ("in/a.png", "in/b.png", "in/c.png", "out/c.png"):
            image(name)
        Path("in/bad.png").touch()
        for name in ("in/notes.txt", "in/photo.png.bak", "in/a.xmp"):
            Path(name).write_text("no image")
        ran = sr("in", "out", "--existing", "skip")
        end = ran.err[ran.err.index("1 image failed:") :].splitlines()
        assert ran.code == 1
        assert end[1].startswith("  in/bad.png: ")
        assert end[2] == "3 files left out: no image by name or content"
        assert end[3].startswith("2 restored, 1 skipped (there already), 1 failed in ")
        assert " Mpixel/s)" in end[3]
        assert end[4:] == ["the results are in out/"]
        assert "out/c.png" not in ran.err

    def test_results_keep_their_sources_times_where_asked(self, sr: Run):
        at = 1_000_000_000_123_456_789
        for name in ("a.png", "b.png"):
            os.utime(image(name), ns=(at, at))
        assert sr("a.png", "--keep-times").code == 0
        assert Path("a_x2.png").stat().st_mtime_ns == at
        assert sr("b.png").code == 0
        assert Path("b_x2.png").stat().st_mtime_ns != at
        assert sr("a.png", "--keep-times", "--in-place").code == 0
        assert Path("a.png").stat().st_mtime_ns == at

    def test_content_decides_where_a_suffix_says_nothing(self, sr: Run):
        image("in/a.png")
        for name in ("in/scan", "in/b.dat", "in/a.dat", "in/c.bak"):
            Path(name).write_bytes(Path("in/a.png").read_bytes())
        ran = sr("in", "out")
        assert ran.code == 0, ran.err
        assert {path.name for path in results("out")} == {"a.png", "b.png", "scan.png"}
        assert "2 files left out" in ran.err

    def test_links_that_lead_nowhere_are_a_line_each_and_end_no_batch(self, sr: Run):
        image("in/a.png")
        for name, leads_to in {"loop": "loop", "long": "x" * 300, "gone": "nowhere", "d.png": "nowhere"}.items():
            Path("in", name).symlink_to(leads_to)
        ran = sr("in", "out", "--recursive")
        assert (ran.code, ran.out) == (1, "out/a.png\n")
        for name in ("loop", "long", "gone"):
            assert ran.err.count(f"restore: warning: in/{name}: a link that leads nowhere, left out: ") == 1
        assert ran.err.count("restore: error: in/d.png: ") == 1

    @pytest.mark.slow
    def test_of_two_hundred_files_twenty_broken_ones_cost_nothing_but_themselves(self, sr: Run):
        for index in range(200):
            path = image(f"in/{index:03}.png", size=(8, 8))
            if index % 10 == 3:
                path.write_bytes(path.read_bytes()[: 10 * (index // 10)])
        ran = sr("in", "out")
        assert ran.code == 1
        assert len(results("out")) == len(ran.out.splitlines()) == 180
        errors = [line.split(": ")[2] for line in ran.err.splitlines() if line.startswith("restore: error: ")]
        assert errors == [f"in/{index:03}.png" for index in range(3, 200, 10)]
        assert "180 restored, 20 failed in " in ran.err

    def test_debug_shows_where_an_image_failed(self, sr: Run):
        Path("a.png").touch()
        assert "DecodeError" in sr("a.png", "--debug").err

    def test_fail_fast_leaves_the_rest(self, sr: Run):
        for name in "abcdefgh":
            Path("in").mkdir(exist_ok=True)
            Path(f"in/{name}.png").touch()
        ran = sr("in", "out", "--fail-fast", "--json")
        summary = json_lines(ran)[-1]
        assert ran.code == 1
        assert summary["failed"] >= 1
        assert summary["failed"] + summary["stopped"] == 8
        assert summary["stopped"] > 0

    def test_an_output_that_appears_meanwhile_is_not_overwritten(self, sr: Run):
        image("a.png")
        image("a_x2.png")
        before = Path("a_x2.png").read_bytes()
        ran = sr("a.png")
        assert (ran.code, ran.out) == (2, "")
        assert Path("a_x2.png").read_bytes() == before

    def test_all_skipped_is_all_done(self, sr: Run):
        image("a.png")
        image("a_x2.png")
        ran = sr("a.png", "--existing", "skip")
        assert (ran.code, ran.out) == (0, "")
        assert "a.png: a_x2.png exists, skipped" in ran.err
        assert "0 restored, 1 skipped (there already) in " in ran.err

    @pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder here that nobody can write to")
    def test_an_output_folder_that_cannot_be_made_is_found_before_the_network_is_loaded(self, sr: Run):
        image("a.png")
        ran = sr("a.png", "/proc/restored/")
        assert ran.code == 4
        assert ran.err.startswith("restore: error: /proc/restored: nothing can be written there")


class TestWeights:
    def test_weights_that_are_not_there_are_code_3(self, run: Run):
        image("a.png")
        ran = run("sr", "--weights", "gone.safetensors", "a.png")
        assert (ran.code, ran.err) == (3, "restore: error: gone.safetensors is no file; look at --weights\n")

    def test_damaged_weights_are_code_3(self, run: Run):
        image("a.png")
        Path("w.safetensors").write_bytes(b"\0" * 100)
        ran = run("sr", "--weights", "w.safetensors", "a.png")
        assert ran.code == 3
        assert ran.err.startswith("restore: error: w.safetensors ")

    def test_offline_weights_that_are_not_at_hand_are_code_3(self, run: Run):
        image("a.png")
        ran = run("sr", "-m", "ramit", "--offline", "a.png")
        assert ran.code == 3
        assert "--offline" in ran.err
        assert not Path("a_x4.png").exists()

    def test_weights_of_another_task_are_refused(self, run: Run, tiny: Tiny):
        image("a.png")
        ran = run("denoise", "--weights", tiny(), "a.png")
        assert ran.code == 2
        assert "is for sr, not for denoise; say `restore sr`" in ran.err

    def test_weights_of_another_scale_are_refused(self, sr: Run):
        image("a.png")
        ran = sr("--scale", "4", "a.png")
        assert ran.code == 2
        assert "enlarges 2 times, not 4" in ran.err

    def test_a_file_of_no_known_network_is_refused_with_those_that_are(self, run: Run):
        import torch

        image("a.png")
        torch.save({"x": torch.zeros(1)}, "w.pth")
        ran = run("sr", "--weights", "w.pth", "a.png")
        assert ran.code == 2
        assert "w.pth does not say of which network it is, and is of none that is known here" in ran.err
        assert "RRDBNet, " in ran.err
        assert "add --model" in ran.err

    def test_a_file_of_others_is_recognised_and_its_digest_shown(self, run: Run):
        import hashlib

        import torch

        from restore_cli.models import rrdbnet

        config = rrdbnet.Config(dim=8, growth=4, blocks=1)
        torch.save({"params_ema": rrdbnet.RRDBNet(config).half().state_dict()}, "4x_Mine.pth")
        image("a.png", size=(9, 7))
        ran = run("sr", "--weights", "4x_Mine.pth", "a.png", "b.png", "--verbose")
        assert ran.code == 0, ran.err
        assert hashlib.sha256(Path("4x_Mine.pth").read_bytes()).hexdigest()[:12] in ran.err
        with Image.open("b.png") as restored:
            assert restored.size == (36, 28)
        assert run("denoise", "--weights", "4x_Mine.pth", "a.png", "c.png").err.count("is for sr, not for denoise") == 1
        assert run("sr", "--scale", "2", "--weights", "4x_Mine.pth", "a.png").code == 2

    def test_a_file_that_does_not_fit_its_model_is_code_3(self, run: Run, tiny: Tiny):
        image("a.png")
        ran = run("sr", "--scale", "2", "-m", "ramit", "--weights", tiny(), "a.png")
        assert ran.code == 3
        assert "does not fit ramit-sr-x2" in ran.err

    def test_an_unknown_model_names_the_nearest(self, run: Run):
        image("a.png")
        ran = run("sr", "-m", "raimt", "a.png")
        assert ran.code == 2
        assert "did you mean 'ramit'" in ran.err

    def test_a_model_without_the_task_says_what_it_has(self, run: Run):
        image("a.png")
        ran = run("deblur", "-m", "ramit", "--kind", "defocus", "a.png")
        assert ran.code == 2
        assert "model 'ramit' has no weights for deblur defocus; it has sr x2" in ran.err

    def test_a_noise_level_that_was_not_trained_is_told(self, run: Run, tiny: Tiny):
        image("a.png")
        weights = tiny("denoise", scale=1, sigma_range=(15.0, 25.0))
        assert "warning" not in run("denoise", "--weights", weights, "--sigma", "20", "-n", "a.png").err
        ran = run("denoise", "--weights", weights, "--sigma", "40", "-n", "a.png")
        assert "warning: ramit-tiny-denoise was trained at sigma 15 to 25, the nearest there is to 40" in ran.err

    def test_the_noise_of_an_image_is_estimated_and_told(self, run: Run, tiny: Tiny):
        weights = tiny("denoise", scale=1, sigma_range=(0.0, 5.0))
        noisy = ROOT / "tests" / "samples" / "still_life_noisy.png"
        ran = run("denoise", "--weights", weights, "--sigma", "auto", "-n", noisy, "out/")
        told = re.search(r"still_life_noisy.png: noise of about sigma ([0-9.]+)", ran.err)
        assert told is not None, ran.err
        assert float(told[1]) == pytest.approx(25, abs=2.5)
        assert "was trained at sigma 0 to 5" in ran.err

    @pytest.mark.parametrize("sigma", ["-1", "51", "nan", "much"])
    def test_a_noise_level_that_does_not_exist_is_refused(self, run: Run, sigma: str):
        ran = run("denoise", "--sigma", sigma, "a.png")
        assert ran.code == 2
        assert "is neither a number from 0 to 50 nor auto" in ran.err


class TestGray:
    def chosen(self, run: Run, *arguments: str) -> list[str | None]:
        ran = run("denoise", "-m", "ramit", "--dry-run", "--json", *arguments)
        return [line["weights"] for line in json_lines(ran)[:-1]]

    def test_each_gray_image_gets_the_gray_network_whatever_lies_beside_it(self, run: Run):
        image("in/gray.png", mode="L")
        Path("in/broken.png").touch()
        image("in/color.png")
        equal = Image.open("in/gray.png").convert("RGB")
        equal.save("in/equal.png")
        assert self.chosen(run, "in", "out") == [
            None, "ramit-denoise-color", "ramit-denoise-gray", "ramit-denoise-gray",
        ]  # fmt: skip
        summary = json_lines(run("denoise", "-m", "ramit", "--dry-run", "--json", "in", "out"))[-1]
        assert summary["weights"] is None

    def test_an_image_comes_out_of_a_folder_as_it_does_alone_and_resume_knows_it(self, run: Run):
        image("in/gray.png", mode="L")
        image("in/color.png", size=(12, 11))
        Image.open("in/gray.png").convert("RGB").save("in/equal.png")
        ran = run("denoise", "in", "out", "--json")
        assert ran.code == 0, ran.err
        used = {line["source"]: line["weights"] for line in json_lines(ran)[:-1]}
        assert used == {
            "in/color.png": "unet-denoise-color",
            "in/equal.png": "unet-denoise-gray",
            "in/gray.png": "unet-denoise-gray",
        }
        for name in ("gray", "color", "equal"):
            assert run("denoise", f"in/{name}.png", "-o", f"{name}.png").code == 0
            assert Path(f"{name}.png").read_bytes() == Path(f"out/{name}.png").read_bytes()
        lines = [json.loads(line) for line in Path("out/.restore-ledger.jsonl").read_text().splitlines()]
        weights = {line["target"]: line["weights"] for line in lines}
        assert weights["gray.png"] == weights["equal.png"] != weights["color.png"]
        assert "3 skipped" in run("denoise", "in", "out", "--resume").err
        Path("out/gray.png").unlink()
        assert "1 restored, 2 skipped" in run("denoise", "in", "out", "--resume").err
        assert Path("gray.png").read_bytes() == Path("out/gray.png").read_bytes()
        assert "3 restored" in run("denoise", "in", "out", "--resume", "--color").err

    def test_what_is_said_outright_holds(self, run: Run):
        image("gray.png", mode="L")
        image("color.png")
        assert self.chosen(run, "--color", "gray.png") == ["ramit-denoise-color"]
        assert self.chosen(run, "--gray", "color.png") == ["ramit-denoise-gray"]
        assert self.chosen(run, "-m", "ramit-denoise-gray", "color.png") == ["ramit-denoise-gray"]

    def test_a_color_image_is_never_made_gray(self, run: Run, tiny: Tiny):
        image("a.png")
        ran = run("denoise", "--weights", tiny("denoise", scale=1, channels=1), "a.png")
        assert ran.code == 1
        assert "a.png: it is in color, and ramit-tiny-denoise is for gray images; leave --gray out" in ran.err

    def test_a_gray_image_stays_gray_through_a_network_for_color(self, run: Run, tiny: Tiny):
        image("a.png", mode="L")
        assert run("denoise", "--weights", tiny("denoise", scale=1), "a.png").code == 0
        with Image.open("a_denoised.png") as pixels:
            assert pixels.mode == "L"


class TestOptionsAreCheckedFirst:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (["--tile", "16"], "tiles of 16 pixels do not advance at an overlap of 32"),
            (["--tile", "large"], "--tile large is no size; take auto, off or a number of pixels"),
            (["--tile", "256", "--context", "global"], "--context global needs the whole image"),
            (["--tile", "256", "--context", "mixed"], "--context mixed needs the whole image"),
            (["--max-memory", "much"], "'much' is no amount of memory such as 512M or 2G"),
            (["--device", "gpu"], "unknown device 'gpu'; take auto, cpu, cuda, cuda:1 or mps"),
            (["--format", "gif"], "images are not written as 'gif'"),
            (["--sigma", "60"], "Invalid value for '--sigma'"),
            (["--beside", "-o", "x.png"], "--output and --beside contradict each other"),
        ],
    )
    def test_options_that_cannot_be_are_refused(self, run: Run, options: list[str], said: str):
        image("a.png")
        ran = run("denoise", "-m", "ramit", *options, "a.png")
        assert (ran.code, ran.out) == (2, "")
        assert said in ran.err
        assert ran.err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.usefixtures("here")
class TestProcess:
    """The program in a process of its own: signals, pipes and terminals."""

    @pytest.fixture
    def batch(self, tiny: Tiny) -> list[str]:
        """A command line whose work takes a while."""
        image("in/000.png", size=(160, 160))
        for index in range(1, 60):
            shutil.copy("in/000.png", f"in/{index:03}.png")
        return command("sr", "--weights", tiny(), "--threads", "1", "in", "out")

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_a_signal_finishes_what_is_in_hand_and_leaves(self, here: Path, batch: list[str], number: int, code: int):
        with subprocess.Popen(
            batch, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(number)
            _, errors = process.communicate(timeout=20)
        assert process.returncode == code
        assert "Traceback" not in errors
        assert " not done in " in errors
        assert left_overs(here) == []
        for path in results("out"):
            assert size_of(path) == (320, 320)

    def test_a_reader_that_takes_one_line_stops_no_image(self, tiny: Tiny):
        for name in "abcd":
            image(f"in/{name}.png")
        with subprocess.Popen(
            command("sr", "--weights", tiny(), "in", "out"),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            errors = process.stderr.read()
        assert process.returncode == 0
        assert "4 restored in " in errors
        assert "Traceback" not in errors
        assert "Exception" not in errors
        assert len(results("out")) == 4

    def test_on_a_terminal_a_bar_moves_and_no_path_scrolls(self, tiny: Tiny):
        for name in "abc":
            image(f"in/{name}.png", size=(64, 64))
        Path("in/d.png").touch()
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            command("sr", "--weights", tiny(), "in", "out"),
            env=environment(TERM="xterm", COLUMNS="100"),
            stdout=follower,
            stderr=follower,
        )
        os.close(follower)
        shown = b""
        while True:
            try:
                shown += os.read(leader, 4096)
            except OSError:
                break
        os.close(leader)
        assert process.wait(60) == 1
        text = shown.decode()
        assert "4/4" in text
        assert "out/c.png" not in text
        assert "in/d.png: it is empty" in text
        assert "3 restored, 1 failed in " in text

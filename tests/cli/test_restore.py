"""The restoring commands from argv to files, streams and exit codes, with a tiny real network."""

from __future__ import annotations

import hashlib
import os
import pty
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from restore_cli.cli.output import Output
from restore_cli.jobs.ledger import LEDGER_NAME
from tests.cli.conftest import Ran, Run, command, environment, image, json_lines

Tiny = Callable[..., Path]


def size_of(path: str | Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def left_overs(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*") if path.is_file() and path.name != LEDGER_NAME]


def results(folder: str) -> list[Path]:
    return [path for path in Path(folder).iterdir() if path.name != LEDGER_NAME]


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

    @pytest.mark.parametrize("place", ["out", "made/out/"])
    def test_folders_that_only_their_owner_may_look_into_are_mirrored_as_such(self, sr: Run, place: str):
        image("in/a.png")
        image("in/private/deep/b.png")
        image("closed/c.png")
        for folder in ("in/private", "closed"):
            Path(folder).chmod(0o700)
        ordinary = Path("in").stat().st_mode & 0o777
        assert sr("-r", "in", place).code == 0
        assert sr("--beside", "closed").code == 0
        assert sr("closed/c.png", "-o", "open/").code == 0  # a file that was named itself
        made = {str(path): path.stat().st_mode & 0o777 for path in map(Path, (place, f"{place}/private"))}
        assert made == {str(Path(place)): ordinary, str(Path(place, "private")): 0o700}
        assert Path("closed_x2").stat().st_mode & 0o777 == 0o700
        assert Path("open").stat().st_mode & 0o777 == ordinary

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

    def test_one_large_image_breaks_its_silence_where_no_bar_is_drawn(self, sr: Run, monkeypatch: pytest.MonkeyPatch):
        told, pauses = Output.image_at, [0.5]

        def told_slowly(self: Output, name: str, share: float, more: str = "") -> None:
            told(self, name, share, more)
            if share and pauses:
                time.sleep(pauses.pop())

        monkeypatch.setattr(Output, "image_at", told_slowly)
        monkeypatch.setitem(Output.__init__.__kwdefaults__, "silence_seconds", 0.1)  # a minute by default
        image("big.png", size=(180, 100))
        ran = sr("big.png", "--tile", "64", "--overlap", "16")
        assert ran.code == 0, ran.err
        assert re.search(r"^big\.png: \d+ %, .*, about .* left$", ran.err, re.MULTILINE), ran.err

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
        Image.new("RGBA", (9, 8), (200, 30, 20, 90)).save("in/clear.png")
        Image.new("L", (9, 8)).save("in/two.tif", save_all=True, append_images=[Image.new("L", (9, 8))])
        limits = ["--max-pixels", "1000000"]
        for more, reasons in (
            ([], {"tall.webp": "more than WEBP holds", "cut.png": "truncated", "empty.png": "it is empty"}),
            (limits, {"wide.tif": "--max-pixels"}),
            (["--long-side", "400", "--format", "webp", "--exclude", "*.png"], {}),
            (["--strict", "--format", "jpeg"], {"clear.png": "JPEG knows no transparency", "two.tif": "2 images"}),
        ):
            planned = run(*command, "--dry-run", "--json", *more, "in", "out")
            failed = {line["source"]: line["error"] for line in json_lines(planned) if line.get("status") == "failed"}
            assert planned.code == (1 if failed else 0)
            assert not Path("out").exists()
            assert failed.keys() >= {f"in/{name}" for name in reasons}
            for name, reason in reasons.items():
                assert reason in failed[f"in/{name}"]
                assert planned.err.count(failed[f"in/{name}"]) == 1
        names = [f"in/{name}" for name in ("tall.webp", "cut.png", "empty.png", "clear.png", "two.tif")]
        strict = (*command, "--json", "--strict")
        ran = json_lines(run(*strict, *names, "out/"))
        planned = json_lines(run(*strict, "--dry-run", *names, "out2/"))
        told = [
            [(line["source"], line.get("error")) for line in lines if line["type"] == "image"]
            for lines in (ran, planned)
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


class TestOptionsAreCheckedFirst:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (["--tile", "16"], "tiles of 16 pixels do not advance at an overlap of 32"),
            (["--tile", "large"], "--tile large is no size; use auto, off or a number of pixels"),
            (["--tile", "256", "--context", "global"], "--context global needs the whole image"),
            (["--tile", "256", "--context", "mixed"], "--context mixed needs the whole image"),
            (["--max-memory", "much"], "'much' is no amount of memory such as 512M or 2G"),
            (["--device", "gpu"], "unknown device 'gpu'; use auto, cpu, cuda, cuda:1 or mps"),
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

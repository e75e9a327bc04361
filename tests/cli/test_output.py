"""What reaches stdout and stderr, in which form, on a terminal and off it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from restore_cli.cli.output import Output
from restore_cli.errors import StorageError, UsageError
from restore_cli.storage.files import printable
from tests.cli.conftest import environment

Captured = pytest.CaptureFixture[str]


def run_code(code: str, *, stdout: int = subprocess.PIPE, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run Python code that has an `Output` named out, in a process of its own."""
    lines = f"from restore_cli.cli.output import Output\nout = Output()\n{code}"
    settings = {key: value for key, value in environment(**extra).items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    settings |= extra
    return subprocess.run(
        [sys.executable, "-c", lines], env=settings, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60
    )


def run_on_terminal(code: str, *, stdout_too: bool = True, **extra: str) -> tuple[str, str]:
    """Run such code with stderr (and stdout) on a terminal of 80 columns; return what it shows and a piped stdout."""
    leader, follower = pty.openpty()
    lines = f"from restore_cli.cli.output import Output\nout = Output()\n{code}"
    process = subprocess.Popen(
        [sys.executable, "-c", lines],
        env=environment(**{"TERM": "xterm", "COLUMNS": "80", **extra}),
        stdout=follower if stdout_too else subprocess.PIPE,
        stderr=follower,
        text=True,
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:  # how Linux says that the other end is gone
            break
        if not piece:
            break
        shown += piece
    os.close(leader)
    piped = process.stdout.read() if process.stdout is not None else ""
    if process.stdout is not None:
        process.stdout.close()
    assert process.wait(60) == 0, shown
    return shown.decode(), piped


class TestPrintable:
    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            ("plain name.png", "plain name.png"),
            ("caf\u00e9 \u65e5\u672c.png", "caf\u00e9 \u65e5\u672c.png"),
            ("two\nlines", "two\\nlines"),
            ("\x1b[31mred", "\\x1b[31mred"),
            ("gnp.\u202eexe", "gnp.\\u202eexe"),
            (os.fsdecode(b"raw \xff"), "raw \\xff"),
            ("[red]markup[/red]", "[red]markup[/red]"),
        ],
    )
    def test_what_could_move_the_cursor_or_fail_to_encode_is_escaped(self, name: str, shown: str):
        assert printable(name) == shown


class TestStreams:
    def test_data_goes_to_stdout_and_everything_else_to_stderr(self, capsys: Captured):
        out = Output(verbose=True)
        out.data("a.png")
        out.note("a note")
        out.detail("a detail")
        out.warn("a warning")
        out.error(UsageError("what", hint="what next"))
        assert capsys.readouterr() == (
            "a.png\n",
            "a note\na detail\nrestore: warning: a warning\nrestore: error: what; what next\n",
        )

    def test_json_replaces_data_lines(self, capsys: Captured):
        out = Output(json=True)
        out.data("a.png")
        out.record({"target": "caf\u00e9 " + os.fsdecode(b"\xff")})
        captured = capsys.readouterr().out
        assert captured.isascii()
        assert json.loads(captured) == {"target": "caf\u00e9 \udcff"}

    def test_quiet_leaves_warnings_and_errors(self, capsys: Captured):
        out = Output(quiet=True)
        out.note("a note")
        out.image_done("a line an image")
        out.warn("a warning")
        out.error("an error")
        assert capsys.readouterr().err == "restore: warning: a warning\nrestore: error: an error\n"

    def test_without_a_terminal_each_image_is_one_plain_line(self, capsys: Captured):
        out = Output()
        with out.image_progress(2, "sr"):
            out.image_done("first")
            out.image_done(None)
        assert capsys.readouterr().err == "first\n"

    def test_a_long_silence_is_broken_by_how_far_it_is(self, capsys: Captured):
        out = Output(silence_seconds=0.05)
        shown = ""
        with out.image_progress(3, "sr"):
            out.image_done("first", name="a.png")
            out.image_at("b.png", 0.5, "tile 3 of 4")
            while "b.png" not in shown:
                time.sleep(0.01)
                shown = capsys.readouterr().err
        assert "[2/3] b.png: 50 %, tile 3 of 4, about 0 s left\n" in shown

    def test_no_progress_means_no_lines_either(self, capsys: Captured):
        out = Output(progress=False)
        with out.image_progress(1, "sr"):
            out.image_done("first")
        assert capsys.readouterr().err == ""

    def test_a_download_is_one_line_and_weights_at_hand_are_none(self, capsys: Captured):
        out = Output()
        with out.transfer_progress("w.pth"):
            pass
        with out.transfer_progress("w.pth") as advance:
            advance(0, 4_000_000)
            advance(4_000_000, 4_000_000)
        assert capsys.readouterr().err == "fetching w.pth (4.0 MB)\n"

    def test_a_table_in_a_pipe_is_plain_columns(self, capsys: Captured):
        Output().table(("name", "size"), [("a", "1"), ("long", "1000")], title="left out", numeric={"size"})
        assert capsys.readouterr().out == "name  size\na        1\nlong  1000\n"

    def test_an_empty_table_still_has_its_headers(self, capsys: Captured):
        Output().table(("name", "size"), [])
        assert capsys.readouterr().out == "name  size\n"

    def test_a_report_holds_the_records_whatever_stdout_shows(self, capsys: Captured, tmp_path: Path):
        out = Output()
        with out.report(tmp_path / "report.jsonl"):
            out.record({"ok": 1})
            out.record({"ok": 2})
        assert (tmp_path / "report.jsonl").read_text() == '{"ok": 1}\n{"ok": 2}\n'
        assert capsys.readouterr().out == ""

    def test_a_report_that_cannot_be_written_is_said_at_once(self, tmp_path: Path):
        with (
            pytest.raises(StorageError, match=r"cannot write the report .*: Is a directory"),
            Output().report(tmp_path),
        ):
            pass

    def test_a_report_that_exists_is_neither_lost_nor_mixed_unasked(self, tmp_path: Path):
        path = tmp_path / "report.jsonl"
        path.write_text("{}\n")
        with pytest.raises(UsageError, match=r"the report .* exists already"), Output().report(path):
            pass
        out = Output()
        for asked, text in (({"append": True}, '{}\n{"ok": 1}\n'), ({"overwrite": True}, '{"ok": 1}\n')):
            with out.report(path, **asked):
                out.record({"ok": 1})
            assert path.read_text() == text

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
    def test_a_report_on_a_full_disk_is_told_when_all_is_done(self):
        done = []
        out = Output()

        def report() -> None:
            with out.report(Path("/dev/full")):
                for number in range(3):
                    out.record({"image": number})
                    done.append(number)

        with pytest.raises(StorageError, match="cannot write the report /dev/full: No space left") as caught:
            report()
        assert (done, caught.value.exit_code) == ([0, 1, 2], 4)


class TestTroubleWithStreams:
    def test_a_reader_that_has_gone_ends_neither_the_run_nor_the_peace(self):
        reader, writer = os.pipe()
        os.close(reader)
        done = run_code("for _ in range(3): out.data('x' * 100_000)\nout.note('went on')", stdout=writer)
        os.close(writer)
        assert (done.returncode, done.stderr) == (0, "went on\n")

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
    def test_a_full_disk_behind_stdout_is_an_error_of_storage(self):
        code = (
            "from restore_cli.errors import StorageError\n"
            "try: out.data('x')\n"
            "except StorageError as error: out.error(error); import os; os._exit(error.exit_code)"
        )
        full = os.open("/dev/full", os.O_WRONLY)
        done = run_code(code, stdout=full)
        os.close(full)
        assert done.returncode == 4
        assert "cannot write to standard output: No space left on device" in done.stderr

    @pytest.mark.parametrize("closed", ["1", "2"])
    def test_a_stream_that_was_never_open_is_no_trouble(self, closed: str):
        code = "from restore_cli.cli.output import Output; out = Output(); out.data('x'); out.note('y'); out.warn('z')"
        shell = f'exec {closed}>&-; exec "$0" -c "$1"'
        done = subprocess.run(
            ["/bin/sh", "-c", shell, sys.executable, code], env=environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    def test_an_ascii_locale_gets_escapes(self):
        done = run_code("out.data('caf\\u00e9'); out.note('\\u65e5')", PYTHONIOENCODING="ascii")
        assert (done.stdout, done.stderr) == ("caf\\xe9\n", "\\u65e5\n")


class TestColour:
    def test_forced_colour_is_no_animation(self):
        code = "with out.image_progress(1, 'sr'): out.image_done('a line')\nout.error('e')"
        assert run_code(code, FORCE_COLOR="1").stderr == "a line\nrestore: \x1b[31m\x1b[1merror:\x1b[0m e\n"

    def test_no_colour_wins(self):
        assert run_code("out.error('e')", FORCE_COLOR="1", NO_COLOR="1").stderr == "restore: error: e\n"

    def test_a_terminal_gets_colour(self):
        assert "\x1b[31m" in run_on_terminal("out.error('e')")[0]


class TestTerminal:
    BATCH = "with out.image_progress(2, 'sr'):\n out.data('a.png')\n out.image_done('a')\n out.warn('w')\n"

    def test_a_bar_counts_images_and_leaves_no_trace(self):
        shown, _ = run_on_terminal(self.BATCH)
        assert "1/2" in shown
        assert shown.count("a.png\r\n") == 1
        assert "\x1b[2K" in shown  # the bar's line is erased

    def test_finished_paths_do_not_scroll_where_a_bar_shows_them(self):
        code = "with out.image_progress(2, 'sr'):\n out.image_path('a.png')\n out.image_done('a')\n"
        assert "a.png" not in run_on_terminal(code)[0]
        assert "a.png" in run_on_terminal("out = Output(verbose=True)\n" + code)[0]
        assert run_on_terminal(code, stdout_too=False)[1] == "a.png\n"
        assert run_on_terminal(code, TERM="dumb")[0] == "a.png\r\n"

    def test_a_measured_row_stays_on_a_terminal_before_the_others_are_done(self):
        code = "from restore_cli.cli import app\nassert app.run(['bench', '-m', 'ramit-lite', '--runs', '0']) == 0"
        shown = run_on_terminal(code)[0]
        assert shown.index("1 of 5: ramit-lite-sr-x2") < shown.index("2 of 5: ramit-lite-sr-x4")

    def test_the_bar_takes_the_width_there_is_and_names_the_image(self):
        code = "import time\nwith out.image_progress(1, 'sr'):\n"
        code += " out.image_at('long' * 40 + '.png', 0.25)\n time.sleep(0.3)\n"
        for width in (40, 80, 200):
            shown = run_on_terminal(code, COLUMNS=str(width))[0]
            lines = [re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", line) for line in re.split("[\r\n]+", shown)]
            assert max(map(len, lines)) in range(width - 2, width + 1)
            assert "25%" in shown

    def test_data_reaches_a_pipe_untouched_while_the_bar_is_on_the_terminal(self):
        shown, piped = run_on_terminal(self.BATCH, stdout_too=False)
        assert piped == "a.png\n"
        assert "1/2" in shown

    def test_a_dumb_terminal_gets_no_animation(self):
        shown, _ = run_on_terminal(self.BATCH, TERM="dumb")
        assert shown == "a.png\r\nrestore: warning: w\r\n"

    def test_a_table_is_drawn_with_the_names_as_they_are(self):
        shown, _ = run_on_terminal("out.table(('name', 'n'), [('[red]x[/red]', '1')], title='Title')")
        assert "[red]x[/red]" in shown
        assert "Title" in shown

    def test_a_download_has_a_bar_of_its_own(self):
        code = "with out.transfer_progress('w.pth') as advance:\n advance(500_000, 1_000_000)\n"
        assert "w.pth" in run_on_terminal(code)[0]

    def test_a_download_takes_the_place_of_the_bar_of_images_and_gives_it_back(self):
        code = "with out.image_progress(1, 'loading'):\n"
        code += " with out.transfer_progress('w.pth') as advance:\n  advance(1, 2)\n out.image_now('sr')\n"
        shown = run_on_terminal(code)[0]
        assert shown.index("loading") < shown.index("w.pth") < shown.rindex("sr ")

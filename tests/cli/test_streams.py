"""Images through pipes: `-` is standard input and standard output, and nothing but the image goes there."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from restore_cli.cli import app
from tests.cli.conftest import Run, command, environment, image

Tiny = Callable[..., Path]
Piped = Callable[..., tuple[int, bytes, str]]


@pytest.fixture
def piped(here: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Piped:
    """Run `restore denoise` in this process with bytes on standard input; return code, stdout and stderr."""

    def run(*arguments: object, given: bytes = b"") -> tuple[int, bytes, str]:
        Path("given").write_bytes(given)
        capfdbinary.readouterr()
        with Path("given").open("rb") as file, io.TextIOWrapper(file) as stream:
            monkeypatch.setattr(sys, "stdin", stream)
            weights = ["--weights", str(tiny("denoise", scale=1)), "--threads", "1"]
            code = app.run(["denoise", *weights, *map(str, arguments)])
        captured = capfdbinary.readouterr()
        return code, captured.out, captured.err.decode()

    return run


def test_an_image_goes_from_pipe_to_pipe_and_nothing_else_does(piped: Piped):
    given = image("a.png").read_bytes()
    code, out, err = piped("-", "-", given=given)
    assert code == 0
    with Image.open(io.BytesIO(out)) as pixels:
        assert (pixels.format, pixels.size) == ("PNG", (9, 7))
    assert out.endswith(b"IEND\xaeB\x60\x82")
    assert "standard input -> standard output" in err
    assert piped("-", given=given)[1] == out
    assert piped("a.png", "-")[1] == out
    assert piped("-", "-o", "-", given=given)[1] == out
    assert piped("-", "b.png", given=given)[:2] == (0, b"b.png\n")
    assert Path("b.png").read_bytes() == out


@pytest.mark.parametrize(("given", "options", "written"), [
    ("a.jpg", [], "JPEG"), ("a.gif", [], "PNG"), ("a.png", ["--format", "webp"], "WEBP"),
])  # fmt: skip
def test_the_format_is_the_inputs_unless_said(piped: Piped, given: str, options: list[str], written: str):
    code, out, _ = piped("-", "-", *options, given=image(given).read_bytes())
    assert code == 0
    with Image.open(io.BytesIO(out)) as pixels:
        assert pixels.format == written


def test_what_comes_through_a_pipe_and_is_no_image_is_one_line(piped: Piped):
    for given, said in ((b"", "standard input: it is empty"), (b"<html>", "standard input: it is a web page")):
        code, out, err = piped("-", "-", given=given)
        assert (code, out) == (1, b"")
        assert f"restore: error: {said}" in err
        assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-", "a.png", "out/"], "- is one image and cannot be one of several"),
        (["a.png", "a.png", "-"], "- is one image and cannot be one of several"),
        (["in", "-"], "the folder in does not fit into standard output"),
        (["-", "in"], "standard input has no name to keep in in; name the output file"),
        (["-", "new/"], "standard input has no name to keep in new/"),
        (["-", "--beside"], "- and --beside contradict each other"),
        (["-", "--in-place"], "- and --in-place contradict each other"),
        (["-", "-", "--resume"], "- and --resume contradict each other"),
        (["-", "-", "--json"], "--json and an image on standard output contradict each other; say --report FILE"),
        (["-", "b"], "b does not exist and its name tells no format"),
        (["-", "a.png"], "a.png exists: is it the output or one more input?"),
        (["gone.png", "-"], "gone.png does not exist"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(piped: Piped, arguments: list[str], said: str):
    image("a.png")
    image("in/b.png")
    code, out, err = piped(*arguments, given=b"never looked at")
    assert (code, out) == (2, b"")
    assert said in err


def test_a_report_takes_the_json_of_a_piped_image(piped: Piped):
    code, _, _ = piped("-", "-", "--report", "report.jsonl", given=image("a.png").read_bytes())
    assert code == 0
    assert '"source": "-", "target": "-", "status": "ok"' in Path("report.jsonl").read_text()


def test_a_dry_run_reads_nothing(piped: Piped):
    assert piped("-", "-", "-n", given=b"never looked at")[:2] == (0, b"standard input -> -\n")


def test_a_file_called_by_a_single_dash_is_named_with_its_folder(piped: Piped):
    image("x.png").rename("-")
    assert piped("./-", "out/")[:2] == (0, b"out/-.png\n")


def test_standard_input_that_is_closed_is_told(run: Run, tiny: Tiny, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", None)
    ran = run("denoise", "--weights", tiny("denoise", scale=1), "-", "b.png")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "standard input is closed" in ran.err


@pytest.mark.slow
@pytest.mark.usefixtures("here")
class TestProcess:
    @pytest.fixture
    def line(self, tiny: Tiny) -> list[str]:
        image("a.png")
        return command("denoise", "--weights", tiny("denoise", scale=1), "--threads", "1", "a.png", "-")

    def test_an_image_is_never_written_to_a_terminal(self, line: list[str]):
        leader, follower = pty.openpty()
        done = subprocess.run(line, env=environment(), stdout=follower, stderr=subprocess.PIPE, text=True, timeout=60)
        os.close(follower)
        os.close(leader)
        assert done.returncode == 2
        assert "an image is not written to a terminal; name an output file, or redirect: > out.png" in done.stderr

    def test_a_reader_that_has_gone_is_told_in_one_line(self, line: list[str]):
        with subprocess.Popen(
            line, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            errors = process.stderr.read()
        assert process.returncode == 4
        assert "standard output: it cannot be written: Broken pipe" in errors
        assert "Traceback" not in errors
        assert "Exception" not in errors

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here that is always full")
    def test_a_full_disk_behind_standard_output_is_code_4(self, line: list[str]):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(line, env=environment(), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
        assert done.returncode == 4
        assert "standard output: it cannot be written: No space left on device" in done.stderr

"""The program's front door: help, exit codes, one line an error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from restore_cli.cli import app, restore
from restore_cli.cli.app import COMMANDS
from tests.cli.conftest import Run, command, environment, run_apart
from tests.flags import commands


def test_the_list_of_commands_says_what_each_says_of_itself(here: Path):
    context = typer.main.get_command(app.app)
    for name, (_, line) in app.COMMANDS.items():
        assert context.commands[name].get_short_help_str(limit=200) == line


def test_help_answers_in_less_than_four_tenths_of_a_second_of_work(here: Path):
    spent = []
    for _ in range(3):
        process = subprocess.Popen(command("--help"), env=environment(), stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        spent.append(used.ru_utime + used.ru_stime)
    assert min(spent) < 0.4


def test_no_command_module_loads_anything_heavy():
    code = (
        "import importlib, sys\n"
        "from restore_cli.cli.app import COMMANDS\n"
        "for module, _ in COMMANDS.values(): importlib.import_module(f'restore_cli.cli.{module}')\n"
        "heavy = {'torch', 'PIL', 'numpy', 'rich', 'huggingface_hub', 'safetensors'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_without_a_command_the_help_is_shown_and_the_code_is_usage(run: Run):
    ran = run()
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("Usage: restore [OPTIONS] COMMAND")
    for name in COMMANDS:
        assert f"\n  {name} " in ran.err


def test_a_working_folder_that_was_deleted_is_told_in_a_line(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch):
    gone = here / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    ran = run("denoise", here / "photo.png", "-o", here / "out.png")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines() == [
        "restore: error: the folder that this was started in is gone; change to another one, such as with cd ~"
    ]


def test_the_version_is_data(run: Run):
    from restore_cli import __version__

    for option in ("--version", "-V"):
        ran = run(option)
        assert (ran.code, ran.out) == (0, f"restore {__version__}\n")


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_shows_examples(run: Run, name: str, flag: str):
    ran = run(name, flag)
    assert ran.code == 0
    assert f"Examples:\n    restore {name}" in ran.out


@pytest.mark.parametrize("words", [(), ("sr",), ("models", "pull")])
def test_help_may_be_a_word(run: Run, words: tuple[str, ...]):
    assert run("help", *words).out == run(*words, "--help").out


def test_help_fits_eighty_columns(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    names = [name.split()[1:] for name, _ in commands()]
    long = [line for words in names for line in run(*words, "--help").out.splitlines() if len(line) > 80]
    assert not long


def test_help_puts_options_under_headings(run: Run):
    help_text = run("sr", "--help").out
    headings = ["Options:", "Reading and writing:", "Network:", "Messages:"]
    positions = [help_text.index(f"\n{heading}\n") for heading in headings]
    assert positions == sorted(positions)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["srr"], "there is no command 'srr'; type `restore sr`, or see `restore --help`"),
        (["photo.jpg"], "photo.jpg is an image, not a command; type `restore sr photo.jpg` to enlarge it"),
        (["."], ". is a folder, not a command; type `restore sr .`"),
        (["upscale", "my photo.jpg"], "there is no command 'upscale'; type `restore sr 'my photo.jpg'`"),
        (["help", "srr"], "there is no command 'srr'"),
        (["SR"], "there is no command 'SR'; type `restore sr`"),
        (["sr", "--sale", "2", "a.png"], "No such option: --sale"),
        (["sr", "--scal", "2", "a.png"], "No such option: --scal"),
        (["sr", "--scale", "5", "a.png"], "Invalid value for '--scale': it must be at most 4; see 'restore sr --help'"),
        (["sr", "--scale", "x", "a.png"], "Invalid value for '--scale': it must be a whole number"),
        (["sr", "--existing", "ask", "a.png"], "'ask' is not one of 'error', 'skip', 'overwrite', 'rename'"),
        (["sr"], "Missing argument 'INPUT... [OUTPUT]'; see 'restore sr --help'"),
        (["deblur", "--kind", "shake", "a.png"], "'shake' is not one of 'motion', 'defocus'"),
    ],
)
def test_a_usage_error_is_one_line_and_code_2(run: Run, arguments: list[str], said: str):
    ran = run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("restore: error: ")
    assert ran.err.count("\n") == 1
    assert said in ran.err


def test_an_error_of_ours_is_one_line_with_the_next_step(run: Run):
    ran = run("sr", "-m", "ramit", "gone.png")
    assert (ran.code, ran.err) == (2, "restore: error: gone.png does not exist; look at its name\n")


def test_a_folder_without_images_says_where_to_look(run: Run):
    Path("empty").mkdir()
    assert "no images in empty; name a folder with images in it" in run("sr", "empty").err
    Path("empty/below").mkdir()
    assert "no images in empty; add -r to look into its subfolders" in run("sr", "empty").err


def test_a_traceback_comes_only_when_asked_for(run: Run):
    assert "Traceback" not in run("sr", "-m", "ramit", "gone.png").err
    ran = run("sr", "--debug", "-m", "ramit", "gone.png")
    assert ran.err.startswith("Traceback")
    assert ran.err.endswith("restore: error: gone.png does not exist; look at its name\n")


def test_a_fault_of_our_own_is_one_line_too(run: Run, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise ZeroDivisionError("three\nlines\nlong")

    monkeypatch.setattr(restore, "plan_batch", fail)
    ran = run("sr", "-m", "ramit", "a.png")
    assert ran.code == 1
    assert ran.err.count("\n") == 1
    assert "internal fault, ZeroDivisionError" in ran.err


class _InterruptedInTheMaking:
    def __set_name__(self, owner: type, name: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_that_hits_a_class_in_the_making_is_code_130_too(run: Run, monkeypatch: pytest.MonkeyPatch):
    def define(*_: object) -> type:
        return type("Half", (), {"attribute": _InterruptedInTheMaking()})

    monkeypatch.setattr(restore, "plan_batch", define)
    ran = run("denoise", ".")
    assert (ran.code, ran.err) == (130, "restore: error: interrupted\n")


def test_an_interrupt_before_the_work_is_code_130(run: Run, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

    monkeypatch.setattr(restore, "plan_batch", interrupt)
    ran = run("sr", "-m", "ramit", "a.png")
    assert ran.code == 130
    assert "Traceback" not in ran.err


def test_help_into_a_closed_pipe_stays_silent(here: Path):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command("sr", "--help"), env=environment(), stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("typed", "offered"), [("restore de", {"denoise", "derain", "deblur"}), ("restore sr -m ramit-s", {"ramit-slim"})]
)
def test_the_shell_completes_commands_and_models(here: Path, typed: str, offered: set[str]):
    ran = run_apart(
        [],
        _RESTORE_COMPLETE="complete_bash",
        COMP_WORDS=typed,
        COMP_CWORD=str(len(typed.split()) - 1),
    )
    assert ran.err == ""
    assert offered <= set(ran.out.split())

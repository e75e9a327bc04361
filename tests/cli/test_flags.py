"""The commands and options that scripts rely on: changing one is a decision, made in flags.txt."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from restore_cli.cli import app
from tests.cli.conftest import Run

FILE = Path(__file__).with_name("flags.txt")
LONGEST_HELP = 70  # lines at 80 columns


def commands(group: Any, name: str = "restore") -> Iterator[tuple[str, Any]]:
    yield name, group
    for below in getattr(group, "commands", {}) or {}:
        yield from commands(group.commands[below], f"{name} {below}")


def test_commands_and_options_are_those_of_the_file():
    lines = []
    for name, command in commands(get_command(app.app)):
        options = sorted(
            {option for p in command.params for option in (*p.opts, *p.secondary_opts) if option[0] == "-"}
        )
        lines.append(f"{name}: {' '.join(options)}".rstrip())
    expected = FILE.read_text(encoding="ascii").splitlines()
    difference = "\n".join(
        difflib.unified_diff(expected, lines, "tests/cli/flags.txt", "the program", lineterm="", n=0)
    )
    assert lines == expected, f"say so in flags.txt, and in the changelog, if this is meant:\n{difference}"


def test_the_help_of_sr_fits_a_screen_and_has_the_common_options_first(run: Run):
    text = run("sr", "--help").out
    assert len(text.splitlines()) <= LONGEST_HELP
    common, rest = text.split("\nReading and writing:\n")
    assert all(
        option in common for option in ("--scale", "--output", "--recursive", "--resume", "--dry-run", "--model")
    )
    assert all(option in rest for option in ("--overlap", "--shard", "--debug"))


def test_every_option_says_in_a_sentence_what_it_does():
    bad = [
        f"{name} {parameter.opts[0]}: {parameter.help}"
        for name, command in commands(get_command(app.app))
        for parameter in command.params
        if not parameter.help or not parameter.help[0].isupper() or "." not in parameter.help
    ]
    assert not bad

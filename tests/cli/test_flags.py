"""Commands and options are an interface: they change only on purpose, and each says what it does."""

from __future__ import annotations

import difflib

from tests.cli.conftest import Run
from tests.flags import FILE, commands, lines

LONGEST_HELP = 70  # lines at 80 columns


def test_commands_and_options_are_those_of_the_file():
    expected, found = FILE.read_text(encoding="ascii").splitlines(), lines()
    difference = "\n".join(difflib.unified_diff(expected, found, "flags.txt", "the program", lineterm="", n=0))
    assert found == expected, f"if this is meant, run `python -m tests.flags`:\n{difference}"


def test_the_help_of_sr_fits_a_screen_and_has_the_common_options_first(run: Run):
    text = run("sr", "--help").out
    assert len(text.splitlines()) <= LONGEST_HELP
    common, rest = text.split("\nReading and writing:\n")
    assert all(option in common for option in ("--scale", "--output", "--recursive", "--resume", "--model"))
    assert all(option in rest for option in ("--overlap", "--shard", "--debug"))


def test_every_option_says_in_a_sentence_what_it_does():
    bad = [
        f"{name} {parameter.opts[0]}: {parameter.help}"
        for name, command in commands()
        for parameter in command.params
        if not parameter.help or not parameter.help[0].isupper() or "." not in parameter.help
    ]
    assert not bad

"""The commands and options that scripts rely on, in cli/flags.txt: `python -m tests.flags` writes what there is now.

Changing one is a decision, which belongs into the changelog too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from restore_cli.cli import app

FILE = Path(__file__).parent / "cli" / "flags.txt"


def commands() -> Iterator[tuple[str, Any]]:
    """Yield each command with what is typed for it."""
    yield from _below(get_command(app.app), "restore")


def _below(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    yield name, group
    for word in getattr(group, "commands", {}) or {}:
        yield from _below(group.commands[word], f"{name} {word}")


def lines() -> list[str]:
    """Return a line for each command: its options, sorted."""
    found = []
    for name, command in commands():
        names = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        options = sorted(name for name in names if name.startswith("-"))
        found.append(f"{name}: {' '.join(options)}".rstrip())
    return found


if __name__ == "__main__":
    FILE.write_text("\n".join(lines()) + "\n", encoding="ascii")

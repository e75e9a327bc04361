"""What happened during a training, a JSON object a line: the source of its curves.

A resumed run drops the lines behind its checkpoint first, since those steps are done again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NAME = "log.jsonl"


class Journal:
    """Append facts to a run's log.

    Args:
        folder: The run's folder.
        step: Lines of later steps are dropped.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / NAME
        kept = [line for line in read_journal(folder) if line.get("step", 0) <= step] if step else []
        temporary = self._path.with_name(f".{NAME}.part")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="ascii")
        temporary.replace(self._path)

    def write(self, fact: dict[str, Any]) -> None:
        """Append one fact; each is opened, written and closed, so that a kill loses at most a line."""
        with self._path.open("a", encoding="ascii") as file:
            file.write(json.dumps(fact) + "\n")


def read_journal(folder: Path) -> list[dict[str, Any]]:
    """Return the facts of a run's log; a line torn by a kill is left out, a missing log is empty."""
    path = folder / NAME
    if not path.is_file():
        return []
    facts: list[dict[str, Any]] = []
    for line in path.read_text(encoding="ascii").splitlines():
        try:
            facts.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return facts

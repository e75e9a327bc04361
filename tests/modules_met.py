"""Count the modules and functions that an image meets: `python -m tests.modules_met`, or with a command of your own.

What counts is a function that ran, in any thread, other than while modules were imported: neither the bodies of modules
and classes nor what they call.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from tests.conftest import ROOT

IMAGE = ROOT / "tests" / "samples" / "still_life.png"


def modules_met(arguments: Sequence[str]) -> dict[str, set[str]]:
    """Run the program and return the functions that ran, by module."""
    from restore_cli.cli import app

    met: dict[str, set[str]] = defaultdict(set)

    def note(frame: FrameType, event: str, _: Any) -> None:
        module = frame.f_globals.get("__name__", "")
        if event != "call" or not module.startswith("restore_cli") or frame.f_code.co_qualname in met[module]:
            return
        if not _is_importing(frame):
            met[module].add(frame.f_code.co_qualname)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        code = app.run(arguments)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    assert code == 0, code
    return {module: names for module, names in met.items() if names}


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__", "").startswith("restore_cli."):
            return True
        frame = frame.f_back
    return False


def main() -> None:
    """Print what a command meets, a line a module, and the sums."""
    with tempfile.TemporaryDirectory() as folder:
        usual = ["sr", "--scale", "2", str(IMAGE), "-o", str(Path(folder) / "larger.png"), "--quiet"]
        met = modules_met(sys.argv[1:] or usual)
    for module, names in sorted(met.items()):
        sys.stdout.write(f"{len(names):4} {module}\n")
    sums = {"modules": len(met), "functions": sum(map(len, met.values()))}
    sys.stdout.write(json.dumps(sums) + "\n")


if __name__ == "__main__":
    main()

"""Fixtures shared by all tests: where the development material lies, and the originals' deterministic fill."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# As many processes as cores run the tests, those that they start too: one thread each. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What the person who runs the tests has added to the list of weights is none of theirs.
os.environ["XDG_DATA_HOME"] = "/nowhere"

# A shell that starts the tests in the background has them ignore Ctrl-C, and so every program that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
# And nohup has them ignore a lost terminal.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

ROOT = Path(__file__).resolve().parent.parent

# Folders whose tests finish in seconds; `-m fast` is the set to run while writing.
FAST = ("imaging", "jobs", "metrics", "pages", "storage", "tasks", "tiling", "weights")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as fast what lies in the quick folders and is not marked as taking long, and the rules of the house."""
    folders = [ROOT / "tests" / name for name in FAST]
    for item in items:
        quick = item.path.parent in folders or item.path.name == "test_house.py"
        if quick and not _takes_long(item):
            item.add_marker(pytest.mark.fast)


def _takes_long(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in ("slow", "exhaustive", "gpu", "network"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with goldens, original checkpoints and images; tests that need it skip without it."""
    path = Path(os.environ.get("RESTORE_SHARED", ROOT.parent / "shared"))
    if not (path / "golden").is_dir():
        pytest.skip("no development material next to the checkout (set RESTORE_SHARED)")
    return path

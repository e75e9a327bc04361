"""Fixtures shared by all tests: where the development material lies, and the originals' deterministic fill."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# As many processes as cores run the tests, those that they start too: one thread each. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the tests in the background has them ignore Ctrl-C, and so every program that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with goldens, original checkpoints and images; tests that need it skip without it."""
    path = Path(os.environ.get("RESTORE_SHARED", ROOT.parent / "shared"))
    if not (path / "golden").is_dir():
        pytest.skip("no development material next to the checkout (set RESTORE_SHARED)")
    return path

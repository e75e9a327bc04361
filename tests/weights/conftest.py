"""A clean place to fetch into, and a server to fetch from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.weights.server import Server, serving


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test's own; nothing of the person's environment leads elsewhere."""
    for name in ("RESTORE_WEIGHTS_DIR", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg" / "restore-cli"


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on this machine that answers as the test says."""
    with serving() as running:
        yield running

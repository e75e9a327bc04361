"""`restore serve` refuses to start in one line where it cannot."""

from __future__ import annotations

import importlib.util
import socket

import pytest

from tests.cli.conftest import Run


def test_a_missing_extra_is_named(run: Run, monkeypatch: pytest.MonkeyPatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else find(name))

    ran = run("serve")

    assert ran.code == 2
    assert "pip install 'restore-cli[serve]'" in ran.err


def test_a_port_that_is_taken_is_named(run: Run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = run("serve", "--port", port)

    assert ran.code == 4
    assert f"cannot listen on 127.0.0.1:{port}" in ran.err

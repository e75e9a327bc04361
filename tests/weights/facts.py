"""Entries for tests: complete, and of whatever bytes a test makes up; needs no torch."""

from __future__ import annotations

import hashlib
from typing import Any

from restore_cli.weights.entry import Source, WeightsEntry

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def entry_for(body: bytes, *urls: str, **changes: Any) -> WeightsEntry:
    """An entry whose file has just these bytes."""
    facts: dict[str, Any] = {
        "id": "tiny-sr-x2",
        "model": "tiny",
        "arch": "ramit",
        "config": {"dim": 16},
        "task": "sr",
        "scale": 2,
        "channels": 3,
        "training_patch": 64,
        "file": "tiny.pth",
        "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "sources": tuple(Source(kind="https", url=url) for url in urls),
        "licence": "MIT",
        "origin": "this test",
        "citation": "none",
    }
    return WeightsEntry(**{**facts, **changes})

"""The context that weights were measured best with: read back as it was written, and refused where it says nothing."""

from __future__ import annotations

from typing import Any

import pytest

from restore_cli.errors import ManifestError
from restore_cli.weights.entry import BestContext, entry_from_json, entry_to_json
from tests.weights.facts import entry_for

MIXED = {"kind": "mixed", "cell": 128, "share": 0.5, "measured": "on images"}


def values(context: dict[str, Any]) -> dict[str, Any]:
    return {**entry_to_json(entry_for(b"weights", "https://example.org/tiny.pth")), "context": context}


@pytest.mark.parametrize(
    "context",
    [MIXED, {"kind": "local", "cell": 64, "measured": "on images"}, {"kind": "global", "measured": "on images"}],
)
def test_a_context_survives_json(context: dict[str, Any]):
    entry = entry_from_json(values(context), "entry")

    assert entry.context == BestContext(**context)
    assert entry_to_json(entry)["context"] == context


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "mixd"}, "context: field 'kind' is 'mixd', did you mean 'mixed'"),
        ({"share": None}, "field 'share' is missing"),
        ({"cell": None}, "field 'cell' is missing"),
        ({"kind": "local"}, "field 'share' has no meaning for kind 'local'"),
        ({"share": 1.5}, "field 'share' is 1.5, but must be < 1"),
        ({"cell": 0}, "field 'cell' is 0, but must be >= 8"),
        ({"measured": ""}, "field 'measured' must be text"),
        ({"gain": 0.1}, "unknown field 'gain'"),
    ],
)
def test_a_context_that_says_nothing_is_refused(change: dict[str, Any], says: str):
    with pytest.raises(ManifestError, match=says):
        entry_from_json(values({**MIXED, **change}), "entry")

"""Listing an entry changes that entry and nothing else of a manifest file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from restore_cli.errors import ManifestError
from restore_cli.weights.manifest import WeightsEntry, load_manifest, manifest_text, put_entry
from tests.conftest import ROOT
from tests.weights.facts import entry_for

MANIFEST = ROOT / "weights_manifest.json"
OWN: WeightsEntry = entry_for(b"x", file="tiny.safetensors", bundled=True, training={"data": {"folders": ["a"]}})


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copy(MANIFEST, tmp_path))


def test_the_manifest_of_the_checkout_is_laid_out_as_it_stands():
    text = MANIFEST.read_text(encoding="ascii")
    assert manifest_text(json.loads(text)) == text


def test_a_new_entry_is_added_at_the_end_and_the_rest_is_left_alone(copied: Path):
    before = load_manifest(copied).entries
    put_entry(copied, OWN)
    assert load_manifest(copied).entries == (*before, OWN)
    old, new = MANIFEST.read_text(encoding="ascii"), copied.read_text(encoding="ascii")
    assert new.startswith(old.removesuffix("\n    }\n  ]\n}\n"))


def test_an_entry_of_the_same_id_is_replaced_where_it_stands(copied: Path):
    put_entry(copied, OWN)
    last = entry_for(b"y", id="tiny-sr-x3", model="other", file="other.safetensors", bundled=True)
    put_entry(copied, last)
    better = entry_for(b"better", file="tiny.safetensors", bundled=True)
    put_entry(copied, better)
    assert load_manifest(copied).entries[-2:] == (better, last)


def test_an_entry_that_does_not_go_with_the_others_leaves_the_file_as_it_was(copied: Path):
    clash = entry_for(b"x", file=load_manifest(MANIFEST).entries[0].file)
    with pytest.raises(ManifestError, match="stays as it was"):
        put_entry(copied, clash)
    assert copied.read_bytes() == MANIFEST.read_bytes()
    assert [path.name for path in copied.parent.iterdir()] == [copied.name]

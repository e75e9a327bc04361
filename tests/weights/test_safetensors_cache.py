"""Copies of pickled checkpoints: used for the very file they were made of only, and never needed."""

from __future__ import annotations

import io
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from restore_cli.errors import DigestError
from restore_cli.models import get_architecture
from restore_cli.weights import load, safetensors_cache
from restore_cli.weights.entry import Source, WeightsEntry
from restore_cli.weights.load import LoadedWeights, load_weights
from tests.weights.facts import COMMIT, entry_for

ARCH = get_architecture("ramit")
CONFIG = ARCH.config.from_json({**ARCH.config.tiny().to_json(), "depths": [1, 1, 1, 1]})


@pytest.fixture(scope="module")
def checkpoint() -> bytes:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state_dict = ARCH.build(CONFIG).state_dict()
    buffer = io.BytesIO()
    torch.save({"params": state_dict}, buffer)
    return buffer.getvalue()


@pytest.fixture
def original(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: bytes) -> Path:
    """A checkpoint in the person's own folder, large and old enough to be copied."""
    monkeypatch.setattr(safetensors_cache, "WORTHWHILE_BYTES", 1000)
    monkeypatch.setattr(safetensors_cache, "_CLOCK_GRAIN_NS", 0)
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv("RESTORE_WEIGHTS_DIR", str(folder))
    path = folder / "tiny.pth"
    path.write_bytes(checkpoint)
    return path


@pytest.fixture
def entry(checkpoint: bytes) -> WeightsEntry:
    return entry_for(checkpoint, "https://example.org/tiny.pth", config=CONFIG.to_json(), state_dict_key="params")


def forbid_pickles(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> object:
        raise AssertionError("a pickle was opened")

    monkeypatch.setattr(load, "_read_checkpoint", fail)


def copy_in(cache: Path) -> Path:
    return cache / "copies" / "tiny-sr-x2.safetensors"


def same(one: LoadedWeights, other: LoadedWeights) -> bool:
    tensors = (one.network.state_dict(), other.network.state_dict())
    return all(torch.equal(a, b) for a, b in zip(*(_values(t) for t in tensors), strict=True))


def _values(state_dict: dict[str, Tensor]) -> list[Tensor]:
    return list(state_dict.values())


def test_the_second_load_opens_no_pickle_and_gives_the_same(
    original: Path, entry: WeightsEntry, monkeypatch: pytest.MonkeyPatch
):
    first = load_weights(entry)
    forbid_pickles(monkeypatch)
    second = load_weights(entry)
    assert same(first, second)
    assert (second.digest, second.path, second.notes) == (f"sha256:{entry.sha256}", original, ())


def test_a_changed_original_is_refused_whatever_its_time_says(original: Path, entry: WeightsEntry, checkpoint: bytes):
    load_weights(entry)
    before = original.stat()
    changed = bytearray(checkpoint)
    changed[len(changed) // 2] ^= 1
    original.write_bytes(changed)
    os.utime(original, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DigestError):
        load_weights(entry)


def test_a_changed_copy_is_never_used_and_made_anew(cache: Path, original: Path, entry: WeightsEntry):
    first = load_weights(entry)
    kept = copy_in(cache).read_bytes()
    draw = random.Random(0)
    for _ in range(20):
        damaged = bytearray(kept)
        damaged[draw.randrange(len(kept))] ^= 1 << draw.randrange(8)
        copy_in(cache).write_bytes(damaged[: draw.randrange(len(kept))] if draw.random() < 0.3 else damaged)
        assert safetensors_cache.find_copy(entry, original) is None
    assert same(load_weights(entry), first)
    assert copy_in(cache).read_bytes() == kept


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"original": 3}', "\xe9"])
def test_a_broken_record_means_no_copy(cache: Path, original: Path, entry: WeightsEntry, text: str):
    first = load_weights(entry)
    copy_in(cache).with_suffix(".json").write_text(text, encoding="latin-1")
    assert safetensors_cache.find_copy(entry, original) is None
    assert same(load_weights(entry), first)


def test_a_copy_is_bound_to_its_entry_and_to_the_place_of_its_original(
    original: Path, entry: WeightsEntry, checkpoint: bytes
):
    load_weights(entry)
    assert safetensors_cache.find_copy(entry, original) is not None
    assert safetensors_cache.find_copy(replace(entry, drop_keys=("norm",)), original) is None
    other = original.with_name("other.pth")
    other.write_bytes(checkpoint)
    assert safetensors_cache.find_copy(entry, other) is None


def test_without_a_published_digest_the_copy_is_held_to_the_recorded_one(
    cache: Path, original: Path, entry: WeightsEntry
):
    hub = Source(kind="huggingface", repo="owner/name", revision=COMMIT, filename="tiny.pth")
    trusting = replace(entry, sha256=None, bytes=None, trust_on_first_use=True, sources=(hub,))
    assert "recorded and held to" in load_weights(trusting).notes[0]
    assert safetensors_cache.find_copy(trusting, original) is not None
    (cache / "tiny-sr-x2.sha256").write_text(f"{'0' * 64}  tiny.pth\n")
    assert safetensors_cache.find_copy(trusting, original) is None
    with pytest.raises(DigestError, match="at its first use it was 0000"):
        load_weights(trusting)


def test_a_cache_that_cannot_be_written_costs_the_copy_and_nothing_else(
    original: Path, entry: WeightsEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert load_weights(entry).digest == f"sha256:{entry.sha256}"
    assert load_weights(entry).digest == f"sha256:{entry.sha256}"


def test_small_files_and_the_persons_own_are_not_copied(
    cache: Path, original: Path, entry: WeightsEntry, monkeypatch: pytest.MonkeyPatch
):
    load_weights(entry, original)
    assert not copy_in(cache).exists()
    monkeypatch.setattr(safetensors_cache, "WORTHWHILE_BYTES", 1 << 30)
    load_weights(entry)
    assert not copy_in(cache).exists()


def test_a_file_written_this_very_moment_is_copied_next_time_only(
    cache: Path, original: Path, entry: WeightsEntry, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(safetensors_cache, "_CLOCK_GRAIN_NS", 3_600_000_000_000)
    load_weights(entry)
    assert not copy_in(cache).exists()

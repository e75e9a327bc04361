"""Where files are looked for, and that no byte of them may differ."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from restore_cli.errors import DigestError, WeightsError
from restore_cli.models import get_architecture
from restore_cli.weights import store
from restore_cli.weights.entry import Source
from restore_cli.weights.file import Content, read_content
from restore_cli.weights.load import load_weights
from restore_cli.weights.manifest import load_manifest
from tests.weights.facts import COMMIT, entry_for
from tests.weights.server import Server

BODY = random.Random(1).randbytes(2000)
ENTRY = entry_for(BODY, f"http://127.0.0.1:9/{COMMIT}/tiny.pth")


def lay(path: Path, data: bytes = BODY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_the_cache_is_below_xdg_cache_home_or_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store.cache_dir() == tmp_path / "restore-cli"
    for ignored in ("", "relative/path"):  # the rule of XDG
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert store.cache_dir() == Path.home() / ".cache" / "restore-cli"


def test_looking_for_a_file_makes_no_folder(cache: Path) -> None:
    assert store.locate(ENTRY) is None
    assert not cache.parent.exists()


def test_without_a_home_files_are_still_found_and_fetching_says_what_to_set(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    assert store.locate(ENTRY) is None
    with pytest.raises(WeightsError, match="no home folder to keep weights in; set XDG_CACHE_HOME"):
        store.fetch(ENTRY)
    monkeypatch.setenv("RESTORE_WEIGHTS_DIR", str(tmp_path))
    laid = lay(tmp_path / "tiny.pth")
    assert store.fetch(ENTRY) == laid


def test_the_weights_folder_is_searched_with_its_subfolders_before_the_cache(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lay(cache / "tiny.pth")
    monkeypatch.setenv("RESTORE_WEIGHTS_DIR", str(tmp_path / "mine"))
    deep = lay(tmp_path / "mine" / "a" / "b" / "tiny.pth")
    assert store.find(ENTRY) == store.Found(path=deep, place="folder")
    shallow = lay(tmp_path / "mine" / "z" / "tiny.pth")
    assert store.locate(ENTRY) == shallow
    monkeypatch.delenv("RESTORE_WEIGHTS_DIR")
    assert store.find(ENTRY) == store.Found(path=cache / "tiny.pth", place="cache")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_what_is_no_file_is_not_taken_for_one(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RESTORE_WEIGHTS_DIR", str(tmp_path))
    os.mkfifo(tmp_path / "tiny.pth")
    assert store.locate(ENTRY) is None
    with pytest.raises(WeightsError, match="is not a file"):
        store.verify(ENTRY, tmp_path / "tiny.pth")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "tiny.pth").symlink_to("nowhere")
    assert store.locate(ENTRY) is None


def test_a_weights_folder_that_is_none_is_said(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTORE_WEIGHTS_DIR", "/no/such/folder")
    with pytest.raises(WeightsError, match="RESTORE_WEIGHTS_DIR is set to /no/such/folder, which is no folder"):
        store.locate(ENTRY)


@pytest.mark.parametrize("by", ["flag", "environment"])
def test_offline_never_touches_the_network(
    cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    server.answers["/x"] = lambda request: request.whole(BODY)
    hub = Source(kind="huggingface", repo="owner/name", revision=COMMIT, filename="tiny.pth")
    entry = dataclasses.replace(ENTRY, sources=(Source(kind="https", url=f"{server.url}/x"), hub))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1" if by == "environment" else "0")
    with pytest.raises(WeightsError) as caught:
        store.fetch(entry, offline=by == "flag")
    assert server.seen == []
    assert f"fetch {server.url}/x yourself and lay it into a folder that RESTORE_WEIGHTS_DIR names" in str(caught.value)
    lay(cache / "tiny.pth")
    assert store.fetch(entry, offline=True) == cache / "tiny.pth"


def test_a_cache_that_cannot_be_made_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(lay(tmp_path / "occupied")))
    with pytest.raises(WeightsError, match=r"cannot write .*occupied.*choose another cache with XDG_CACHE_HOME"):
        store.fetch(ENTRY)


def test_a_bundled_file_that_is_missing_says_the_installation_is_broken(cache: Path) -> None:
    entry = dataclasses.replace(ENTRY, bundled=True, file="missing.safetensors", sources=())
    with pytest.raises(WeightsError, match="missing from this installation; install restore-cli again"):
        store.fetch(entry)


def test_a_file_changed_at_any_of_a_thousand_places_is_noticed(tmp_path: Path) -> None:
    path = lay(tmp_path / "tiny.pth")
    assert store.verify(ENTRY, path).digest == f"sha256:{hashlib.sha256(BODY).hexdigest()}"
    for place in random.Random(2).sample(range(len(BODY)), 1000):
        changed = bytearray(BODY)
        changed[place] ^= 1 + place % 255
        with pytest.raises(DigestError, match="its sha256 is"):
            store.check(ENTRY, Content(path=path, data=bytes(changed)))


def test_a_file_cut_short_is_noticed_and_the_way_out_is_named(tmp_path: Path) -> None:
    path = lay(tmp_path / "tiny.pth", BODY[:-1])
    with pytest.raises(DigestError) as caught:
        store.verify(ENTRY, path)
    assert str(caught.value) == (
        f"{path} is not the file of tiny-sr-x2: its size is 1999, published is 2000; "
        f"fetch it anew with `restore models pull tiny-sr-x2`, or run it as your own with --weights {path}"
    )


def test_git_s_own_digest_is_held_to_where_no_sha256_is_known(tmp_path: Path) -> None:
    path = lay(tmp_path / "tiny.pth")
    said = subprocess.run(["git", "hash-object", str(path)], capture_output=True, text=True).stdout.strip()
    assert read_content(path).git_blob_sha1 == said
    entry = dataclasses.replace(ENTRY, sha256=None, bytes=None, git_blob_sha1=said)
    assert store.verify(entry, path).note is None
    lay(path, BODY[:-1])
    with pytest.raises(DigestError, match="its git blob is"):
        store.verify(entry, path)


def test_a_digest_seen_first_is_recorded_after_a_load_only_said_once_and_held_to(cache: Path, server: Server) -> None:
    body, other = (struct.pack("<Q", 2) + b"{}" + end for end in (b"", b" "))
    path_there = f"/{COMMIT}/tiny.pth"
    entry = entry_for(body, server.url + path_there, bytes=None, sha256=None, trust_on_first_use=True)
    record, digest = cache / "tiny-sr-x2.sha256", hashlib.sha256(body).hexdigest()
    server.answers[path_there] = lambda request: request.whole(body)
    path = store.fetch(entry)
    assert store.verify(entry, path).note == (
        "no digest of tiny.pth is published: the first load that succeeds records it"
    )
    assert not record.exists()
    assert store.record_first_use(entry, read_content(path)) == (
        f"no digest of tiny.pth is published: sha256:{digest} is recorded and held to from now on "
        f"(remove {record} to forget it)"
    )
    assert store.record_first_use(entry, read_content(path)) is None
    assert store.verify(entry, path).note is None
    lay(path, other)
    with pytest.raises(
        DigestError, match=f"at its first use it was .*to trust another file from now on, remove {record}"
    ):
        store.verify(entry, path)
    path.unlink()
    server.answers[path_there] = lambda request: request.whole(other)
    with pytest.raises(DigestError, match="at its first use it was"):
        store.fetch(entry)
    record.write_text("")
    with pytest.raises(WeightsError, match="cannot be read; remove it"):
        store.fetch(entry)
    record.unlink()
    assert store.fetch(entry).read_bytes() == other


def test_a_web_page_under_the_right_name_is_neither_kept_nor_recorded(cache: Path, server: Server) -> None:
    page = b"<!DOCTYPE html><html></html>"
    entry = entry_for(page, f"{server.url}/{COMMIT}/tiny.pth", bytes=None, sha256=None, trust_on_first_use=True)
    server.answers[f"/{COMMIT}/tiny.pth"] = lambda request: request.whole(page)
    with pytest.raises(DigestError, match="it is a web page"):
        store.fetch(entry)
    entry = dataclasses.replace(entry, config=get_architecture("ramit").config.tiny().to_json())
    laid = lay(cache / "tiny.pth", page)
    with pytest.raises(WeightsError, match="it is a web page"):
        store.verify(entry, laid)
    with pytest.raises(WeightsError, match="it is a web page"):
        load_weights(entry)
    assert not (cache / "tiny-sr-x2.sha256").exists()


def test_only_the_cache_is_emptied(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lay(cache / "tiny.pth")
    assert store.discard(ENTRY)
    assert not store.discard(ENTRY)
    monkeypatch.setenv("RESTORE_WEIGHTS_DIR", str(tmp_path / "mine"))
    laid = lay(tmp_path / "mine" / "tiny.pth")
    assert not store.discard(ENTRY)
    assert laid.exists()


def test_files_of_absurd_size_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.pth"
    with path.open("wb") as file:
        file.truncate((1 << 30) + 1)
    with pytest.raises(WeightsError, match="larger than 1024 MiB"):
        read_content(path)


def test_the_store_needs_no_torch() -> None:
    script = "import sys, restore_cli.weights.store; sys.exit(bool({'torch', 'huggingface_hub'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


@pytest.mark.shared
def test_the_originals_at_hand_are_found_in_subfolders_and_verified(
    shared: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTORE_WEIGHTS_DIR", str(shared / "weights"))
    published = [entry for entry in load_manifest().entries if not entry.bundled]
    found = {entry.id: path for entry in published if (path := store.locate(entry)) is not None}
    assert len(found) == 8
    for weights_id, path in found.items():
        assert path.parent == shared / "weights" / "ramit"
        assert store.verify(load_manifest().get(weights_id), path).note is None


def test_a_file_that_is_shared_by_hand_is_never_fetched_and_its_page_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = "https://example.org/owner/name"
    entry = dataclasses.replace(ENTRY, shared_at=page, sources=(), sha256=None, trust_on_first_use=True)
    with pytest.raises(WeightsError, match="its authors share it by hand") as caught:
        store.fetch(entry)
    assert caught.value.hint == f"download it from {page} and give it with --weights PATH"
    monkeypatch.setenv("RESTORE_WEIGHTS_DIR", str(tmp_path))
    (tmp_path / entry.file).write_bytes(b"laid here by hand")
    assert store.fetch(entry) == tmp_path / entry.file

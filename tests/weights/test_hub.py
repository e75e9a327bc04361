"""Files of a Hugging Face repository, from a server on this machine that speaks the Hub's protocol.

huggingface_hub reads its environment when it is imported, so each test runs a process of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.weights.facts import COMMIT
from tests.weights.server import Request, Server

BODY = random.Random(3).randbytes(3000)
FILE = f"/owner/name/resolve/{COMMIT}/folder/tiny.pth"

FETCH = """
import json, sys
from restore_cli.errors import RestoreError
from restore_cli.weights import store
from restore_cli.weights.entry import Source
from tests.weights.facts import COMMIT, entry_for
hub = Source(kind="huggingface", repo="owner/name", revision=COMMIT, filename="folder/tiny.pth")
entry = entry_for(bytes.fromhex(sys.argv[1]), sources=(hub,))
told = []
try:
    path = store.fetch(entry, progress=lambda done, total: told.append([done, total]))
    found = store.find(entry)
    assert found.path == path
    store.verify(entry, path)
    print(json.dumps({"path": str(path), "place": found.place, "told": told, "bytes": path.read_bytes().hex()}))
    if "discard" in sys.argv:
        assert store.discard(entry) and store.find(entry) is None
except RestoreError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def speaking(body: bytes, get: Callable[[Request], None] | None = None) -> Callable[[Request], None]:
    """Answer as the Hub does: the commit and the file's digest in the head, ranges in the body."""

    def answer(request: Request) -> None:
        if request.command == "GET":
            (get or (lambda asked: asked.whole(body)))(request)
            return
        etag = f'"{hashlib.sha256(BODY).hexdigest()}"'
        facts = {"X-Repo-Commit": COMMIT, "ETag": etag, "X-Linked-Etag": etag, "X-Linked-Size": len(body)}
        names = {name.replace("-", "_"): value for name, value in facts.items()}
        request.head(200, Content_Length=len(body), Accept_Ranges="bytes", **names)

    return answer


def fetching(server: Server, home: Path, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {"HF_ENDPOINT": server.url, "HF_HOME": str(home / "hf"), "XDG_CACHE_HOME": str(home / "xdg")}
    return subprocess.run(
        [sys.executable, "-c", FETCH, BODY.hex(), *more],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "no_proxy": "127.0.0.1", **own, **environment},
        timeout=120,
    )


def test_a_file_of_the_hub_is_fetched_into_its_cache_and_found_there(
    cache: Path, server: Server, tmp_path: Path
) -> None:
    server.answers[FILE] = speaking(BODY)
    run = fetching(server, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    answer = json.loads(run.stdout)
    assert bytes.fromhex(answer["bytes"]) == BODY
    assert Path(answer["path"]).is_relative_to(tmp_path / "hf")
    assert answer["place"] == "hub"
    assert answer["told"][-1] == [3000, 3000]
    assert run.stderr == ""
    server.seen.clear()
    assert fetching(server, tmp_path, "discard", HF_HUB_OFFLINE="1").returncode == 0
    assert server.seen == []
    run = fetching(server, tmp_path, HF_HUB_OFFLINE="1")
    assert run.returncode == 3
    assert "is not on this machine, and --offline or HF_HUB_OFFLINE forbids to fetch it" in run.stdout
    assert server.seen == []


@pytest.mark.slow
def test_wrong_bytes_from_the_hub_are_refused_and_not_kept(cache: Path, server: Server, tmp_path: Path) -> None:
    server.answers[FILE] = speaking(BODY[::-1])
    run = fetching(server, tmp_path)
    assert run.returncode == 3
    assert "is not the published file: its sha256 is" in run.stdout
    assert run.stdout.count("\n") == 1
    assert run.stderr == ""
    kept = [path for path in (tmp_path / "hf").rglob("*") if path.is_file() and path.stat().st_size >= len(BODY)]
    assert kept == []
    server.answers[FILE] = speaking(BODY)
    assert fetching(server, tmp_path).returncode == 0


@pytest.mark.slow
def test_a_download_cut_on_the_hub_is_taken_up(cache: Path, server: Server, tmp_path: Path) -> None:
    cuts = [1000, 2000]
    server.answers[FILE] = speaking(BODY, lambda request: request.part(BODY, cuts.pop(0) if cuts else len(BODY)))
    run = fetching(server, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert bytes.fromhex(json.loads(run.stdout)["bytes"]) == BODY


@pytest.mark.slow
@pytest.mark.parametrize("status", [404, 200])
def test_a_page_of_the_hub_is_not_weights(cache: Path, server: Server, tmp_path: Path, status: int) -> None:
    server.answers[FILE] = lambda request: request.page(status)
    run = fetching(server, tmp_path)
    assert run.returncode == 3
    assert run.stdout.startswith("cannot fetch https://huggingface.co/owner/name/")
    assert run.stdout.count("\n") == 1
    assert "RESTORE_WEIGHTS_DIR" in run.stdout

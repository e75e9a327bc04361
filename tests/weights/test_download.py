"""Fetching over http(s) from a real server that misbehaves; whatever it does, only the right bytes are kept."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from restore_cli.errors import DigestError, DownloadError, WeightsError
from restore_cli.weights import store
from restore_cli.weights.entry import WeightsEntry
from restore_cli.weights.store import Patience
from tests.weights.facts import COMMIT, entry_for
from tests.weights.server import Request, Server

BODY = random.Random(0).randbytes(137)
PATH = f"/{COMMIT}/tiny.pth"
QUICK = Patience(timeout_s=2.0, attempts=3, backoff_s=0.0)
IMPATIENT = Patience(timeout_s=0.2, attempts=2, backoff_s=0.0)


def published(server: Server) -> WeightsEntry:
    return entry_for(BODY, server.url + PATH)


def kept(cache: Path) -> list[str]:
    """What lies in the cache, lock files aside."""
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock") if cache.exists() else []


def once(first: Callable[[Request], None], then: Callable[[Request], None]) -> Callable[[Request], None]:
    left = [first]
    return lambda request: left.pop()(request) if left else then(request)


def good(request: Request) -> None:
    request.whole(BODY)


def test_a_file_is_fetched_once_and_then_found(cache: Path, server: Server) -> None:
    server.answers[PATH] = good
    told: list[tuple[int, int | None]] = []
    path = store.fetch(published(server), progress=lambda done, total: told.append((done, total)), patience=QUICK)
    assert path == cache / "tiny.pth"
    assert path.read_bytes() == BODY
    assert told[-1] == (137, 137)
    assert store.fetch(published(server), patience=QUICK) == path
    assert len(server.seen) == 1
    assert kept(cache) == ["tiny.pth"]


def test_a_connection_cut_at_any_byte_is_taken_up_there(cache: Path, server: Server) -> None:
    body = BODY[:40]  # short, so that every byte has its turn
    entry = entry_for(body, server.url + PATH)
    for cut in range(len(body)):
        server.seen.clear()
        server.answers[PATH] = once(
            lambda request, cut=cut: request.part(body, cut), lambda request: request.whole(body)
        )
        path = store.fetch(entry, patience=QUICK)
        assert path.read_bytes() == body
        assert [request.range for request in server.seen] == [None, f"bytes={cut}-" if cut else None]
        path.unlink()


def test_an_interrupted_run_is_taken_up_by_the_next(cache: Path, server: Server) -> None:
    server.answers[PATH] = lambda request: request.part(BODY, len(BODY), step=100)

    def interrupt(done: int, total: int | None) -> None:
        if done > 99:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.fetch(published(server), progress=interrupt, patience=QUICK)
    (part,) = kept(cache)
    assert part == ".tiny.pth.part"
    there = (cache / part).stat().st_size
    assert 0 < there <= len(BODY)
    assert store.fetch(published(server), patience=QUICK).read_bytes() == BODY
    assert kept(cache) == ["tiny.pth"]


@pytest.mark.parametrize("leftover", [b"x" * 100, b"x" * 137, b"x" * 300, BODY, BODY[:1]])
def test_whatever_an_earlier_run_left_behind_the_file_comes_out_right(
    cache: Path, server: Server, leftover: bytes
) -> None:
    server.answers[PATH] = good
    cache.mkdir(parents=True)
    (cache / ".tiny.pth.part").write_bytes(leftover)
    assert store.fetch(published(server), patience=QUICK).read_bytes() == BODY
    assert kept(cache) == ["tiny.pth"]


@pytest.mark.parametrize("status", [404, 403, 410, 200])
def test_a_web_page_is_never_kept_as_weights(cache: Path, server: Server, status: int) -> None:
    server.answers[PATH] = lambda request: request.page(status)
    with pytest.raises(DownloadError) as caught:
        store.fetch(published(server), patience=QUICK)
    assert ("web page" if status == 200 else str(status)) in caught.value.message
    assert "RESTORE_WEIGHTS_DIR" in str(caught.value)
    assert len(server.seen) == 1
    assert kept(cache) == []


def test_other_bytes_of_the_same_size_are_refused(cache: Path, server: Server) -> None:
    server.answers[PATH] = lambda request: request.whole(BODY[::-1])
    with pytest.raises(DigestError, match="is not the published file: its sha256 is "):
        store.fetch(published(server), patience=QUICK)
    assert kept(cache) == []


def test_a_file_of_another_size_is_refused_before_it_is_fetched(cache: Path, server: Server) -> None:
    server.answers[PATH] = lambda request: request.whole(BODY + b"x")
    with pytest.raises(DownloadError, match="offers 138 bytes, the published file has 137"):
        store.fetch(published(server), patience=QUICK)
    assert kept(cache) == []


def test_a_redirect_is_followed_and_keeps_the_range(cache: Path, server: Server) -> None:
    server.answers[PATH] = lambda request: request.head(302, Location="/elsewhere", Content_Length=0)
    server.answers["/elsewhere"] = once(lambda request: request.part(BODY, 50), good)
    assert store.fetch(published(server), patience=QUICK).read_bytes() == BODY
    assert server.seen[-1].range == "bytes=50-"


@pytest.mark.parametrize("target", ["http://example.org/tiny.pth", "file:///etc/passwd", "ftp://example.org/x"])
def test_a_redirect_away_from_https_is_refused(cache: Path, server: Server, target: str) -> None:
    server.answers[PATH] = lambda request: request.head(302, Location=target, Content_Length=0)
    with pytest.raises(DownloadError):
        store.fetch(published(server), patience=QUICK)
    assert kept(cache) == []


def test_an_endless_redirect_is_given_up_in_one_line(cache: Path, server: Server) -> None:
    server.answers[PATH] = lambda request: request.head(302, Location=PATH, Content_Length=0)
    with pytest.raises(DownloadError) as caught:
        store.fetch(published(server), patience=QUICK)
    assert "\n" not in str(caught.value)


def test_a_server_that_refuses_ranges_sends_it_all_again(cache: Path, server: Server) -> None:
    def without_ranges(request: Request) -> None:
        request.head(200, Content_Length=len(BODY))
        request.wfile.write(BODY)

    server.answers[PATH] = once(lambda request: request.part(BODY, 100), without_ranges)
    assert store.fetch(published(server), patience=QUICK).read_bytes() == BODY


@pytest.mark.parametrize("content_range", ["bytes 0-136/137", "bytes 101-136/137", "nonsense", ""])
def test_a_wrong_part_is_not_joined(cache: Path, server: Server, content_range: str) -> None:
    def wrong_part(request: Request) -> None:
        if request.offset() == 0:
            good(request)
            return
        request.head(206, Content_Range=content_range, Content_Length=37)
        request.wfile.write(BODY[:37])

    server.answers[PATH] = once(lambda request: request.part(BODY, 100), wrong_part)
    assert store.fetch(published(server), patience=QUICK).read_bytes() == BODY
    assert [request.range for request in server.seen] == [None, "bytes=100-", None]


def test_parts_of_two_files_are_noticed_and_fetched_anew_once(cache: Path, server: Server) -> None:
    server.answers[PATH] = once(lambda request: request.part(b"y" * 137, 100), good)
    assert store.fetch(published(server), patience=QUICK).read_bytes() == BODY
    assert [request.range for request in server.seen] == [None, "bytes=100-", None]


def test_a_slow_line_gets_through_as_long_as_bytes_come(cache: Path, server: Server) -> None:
    server.answers[PATH] = lambda request: request.part(BODY, len(BODY), pause_s=0.05, step=20)
    assert store.fetch(published(server), patience=IMPATIENT).read_bytes() == BODY
    assert len(server.seen) == 1


def stall(request: Request) -> None:
    request.part(BODY, 100)
    request.server.closing.wait(5.0)


def test_a_stalled_connection_is_dropped_and_taken_up(cache: Path, server: Server) -> None:
    server.answers[PATH] = once(stall, good)
    assert store.fetch(published(server), patience=IMPATIENT).read_bytes() == BODY
    assert server.seen[-1].range == "bytes=100-"


def test_a_server_that_only_stalls_is_given_up(cache: Path, server: Server) -> None:
    server.answers[PATH] = lambda request: request.server.closing.wait(5.0) and None
    start = time.monotonic()
    with pytest.raises(DownloadError, match="the server sends nothing"):
        store.fetch(published(server), patience=IMPATIENT)
    assert time.monotonic() - start < 3.0
    assert kept(cache) == []


def test_nobody_listening_is_said_at_once(cache: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    entry = entry_for(BODY, f"http://127.0.0.1:{port}{PATH}")
    with pytest.raises(DownloadError, match="Connection refused"):
        store.fetch(entry, patience=Patience(backoff_s=60.0))


def test_an_overloaded_server_is_asked_again_a_few_times(cache: Path, server: Server) -> None:
    server.answers[PATH] = once(lambda request: request.page(503), good)
    assert store.fetch(published(server), patience=QUICK).read_bytes() == BODY
    (cache / "tiny.pth").unlink()
    server.seen.clear()
    server.answers[PATH] = lambda request: request.page(503)
    with pytest.raises(DownloadError, match=r"503 .*\(3 attempts\)"):
        store.fetch(published(server), patience=QUICK)
    assert len(server.seen) == 3


HURRIED = Patience(timeout_s=1.0, answer_s=0.4, window_s=0.3, attempts=2, backoff_s=0.0)


def dribble(request: Request) -> None:
    """Send a byte every twentieth of a second: never silent, never done."""
    request.part(bytes(1 << 20), 1 << 20, pause_s=0.05, step=1)


def dribble_the_head(request: Request) -> None:
    request.wfile.write(b"HTTP/1.0 200 OK\r\nX-Padding: ")
    while not request.server.closing.wait(0.05):
        request.wfile.write(b"x")


@pytest.mark.parametrize("answer", [dribble, dribble_the_head])
def test_a_server_that_sends_next_to_nothing_is_given_up(
    cache: Path, server: Server, answer: Callable[[Request], None]
) -> None:
    entry = entry_for(bytes(1 << 20), server.url + PATH)
    server.answers[PATH] = answer
    with pytest.raises(DownloadError, match=r"\(2 attempts\)"):
        store.fetch(entry, patience=HURRIED)
    assert len(server.seen) == 2


def test_a_download_that_takes_too_long_in_all_is_given_up_and_leaves_nothing(cache: Path, server: Server) -> None:
    server.answers[PATH] = lambda request: request.part(BODY, len(BODY), pause_s=0.05, step=5)
    with pytest.raises(DownloadError, match=r"takes longer than 0\.3 s"):
        store.fetch(published(server), patience=Patience(total_s=0.3))
    assert kept(cache) == []


def test_a_body_beyond_the_limit_of_weights_files_is_refused_while_it_is_read(
    cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restore_cli.weights.download.MAX_WEIGHTS_BYTES", 100)
    entry = entry_for(BODY, server.url + PATH, bytes=None, sha256=None, trust_on_first_use=True)
    server.answers[PATH] = unannounced(BODY)
    with pytest.raises(DownloadError, match="more than 100 bytes"):
        store.fetch(entry, patience=QUICK)
    assert kept(cache) == []


def unannounced(body: bytes) -> Callable[[Request], None]:
    """Send a body whose end is the connection's end."""

    def answer(request: Request) -> None:
        request.head(200)
        request.wfile.write(body)

    return answer


def test_a_body_without_a_length_is_measured_against_the_published_size(cache: Path, server: Server) -> None:
    server.answers[PATH] = once(unannounced(BODY[:50]), unannounced(BODY))
    assert store.fetch(published(server), patience=QUICK).read_bytes() == BODY
    (cache / "tiny.pth").unlink()
    server.answers[PATH] = unannounced(BODY * 2)
    with pytest.raises(DownloadError, match="sends more than 137 bytes"):
        store.fetch(published(server), patience=QUICK)
    assert kept(cache) == []


def test_without_a_known_size_the_digest_alone_decides(cache: Path, server: Server) -> None:
    entry = entry_for(BODY, server.url + PATH, bytes=None)
    server.answers[PATH] = unannounced(BODY[:50])
    with pytest.raises(DigestError, match="is not the published file"):
        store.fetch(entry, patience=QUICK)
    server.answers[PATH] = unannounced(b"")
    with pytest.raises(DigestError, match="is empty"):
        store.fetch(entry, patience=QUICK)
    server.answers[PATH] = unannounced(BODY)
    assert store.fetch(entry, patience=QUICK).read_bytes() == BODY


def test_the_next_source_is_asked_when_one_fails_and_all_faults_are_named(cache: Path, server: Server) -> None:
    entry = entry_for(BODY, f"{server.url}/{COMMIT}/gone", server.url + PATH)
    server.answers[PATH] = good
    assert store.fetch(entry, patience=QUICK).read_bytes() == BODY
    (cache / "tiny.pth").unlink()
    server.answers[PATH] = lambda request: request.whole(BODY[::-1])
    with pytest.raises(WeightsError) as caught:
        store.fetch(entry, patience=QUICK)
    assert "404" in str(caught.value)
    assert "is not the published file" in str(caught.value)


FETCH = """
import sys
from pathlib import Path
from restore_cli.errors import RestoreError
from restore_cli.weights import store
from tests.weights.facts import entry_for
entry = entry_for(Path(sys.argv[1]).read_bytes(), sys.argv[2])
try:
    print(store.fetch(entry), flush=True)
except RestoreError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def fetching(tmp_path: Path, url: str, before: str = "") -> subprocess.Popen[str]:
    """Another process that fetches the file."""
    (tmp_path / "body").write_bytes(BODY)
    command = [sys.executable, "-c", before + FETCH, str(tmp_path / "body"), url]
    root = Path(__file__).parents[2]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env=os.environ)


def test_two_processes_at_once_fetch_one_good_file(cache: Path, server: Server, tmp_path: Path) -> None:
    server.answers[PATH] = lambda request: request.part(BODY, len(BODY), pause_s=0.05, step=4)
    runs = [fetching(tmp_path, server.url + PATH) for _ in range(2)]
    outputs = [run.communicate(timeout=60)[0].strip() for run in runs]
    assert outputs == [str(cache / "tiny.pth")] * 2
    assert (cache / "tiny.pth").read_bytes() == BODY
    assert len(server.seen) == 1
    assert kept(cache) == ["tiny.pth"]


def test_a_killed_process_leaves_a_part_that_the_next_takes_up(cache: Path, server: Server, tmp_path: Path) -> None:
    server.answers[PATH] = stall
    run = fetching(tmp_path, server.url + PATH)
    part = cache / ".tiny.pth.part"
    for _ in range(1000):
        if server.seen and part.exists():
            break
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    assert kept(cache) == [".tiny.pth.part"]
    server.answers[PATH] = good
    assert store.fetch(published(server), patience=QUICK).read_bytes() == BODY
    assert kept(cache) == ["tiny.pth"]


def test_a_full_disk_is_one_line_with_exit_code_three(cache: Path, server: Server, tmp_path: Path) -> None:
    server.answers[PATH] = good
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))"
    run = fetching(tmp_path, server.url + PATH, before=limit)
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 3
    assert output.startswith("cannot write ")
    assert output.count("\n") == 1
    assert "tiny.pth" not in kept(cache)

"""The server keeps its bounds: who may ask, how much, how many at once; and it answers while it works."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.server.server import Answer, Server, form, toy_server

TOKEN = "abc"  # noqa: S105 -- of a server that lives for this test
RESTORE = "/v1/restore?task=derain"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with toy_server(tmp_path_factory.mktemp("serve")) as running:
        yield running


def wait_until_idle(server: Server) -> None:
    """Wait until all places are free again: four images at once are taken."""
    for _ in range(100):
        with ThreadPoolExecutor(4) as pool:
            if all(a.status == 200 for a in pool.map(lambda _: server.ask("POST", RESTORE, b"x"), range(4))):
                return
        time.sleep(0.05)
    raise AssertionError("places were lost")


def test_a_raw_body_and_a_form_give_the_same(server: Server):
    body, kind = form(task="derain", image=b"pixels")

    raw = server.ask("POST", RESTORE, b"pixels")
    formed = server.ask("POST", "/v1/restore", body, Content_Type=kind)

    assert (raw.status, formed.status) == (200, 200)
    assert raw.body == formed.body == b"\x89PNG\r\n\x1a\npixels"
    assert raw.headers["content-type"] == "image/png"


def test_every_answer_carries_the_policy(server: Server):
    for path in ("/", "/page.js", "/healthz", "/nowhere", "/openapi.json"):
        headers = server.ask("GET", path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "unknown task ''"),
        ("task=paint", "unknown task 'paint'"),
        ("task=sr&scale=9", "scale '9' is not within 2 and 4"),
        ("task=sr&scale=2.5", "scale '2.5' is no whole number"),
        ("task=denoise&sigma=nan", "sigma 'nan' is not within 0 and 50"),
        ("task=derain&sigma=auto", "sigma belongs to denoise, not to derain"),
        ("task=sr&strength=0.5", "sr enlarges, and takes no strength"),
        ("task=sr&photo=maybe", "photo 'maybe' is neither true nor false"),
        ("task=deblur&kind=dual-pixel", "unknown kind 'dual-pixel'"),
        ("task=derain&width=9&long-side=9", "long_side and width contradict each other"),
        ("task=derain&background=sky", "background 'sky' is neither the name of a colour nor one such as '#336699'"),
        ("task=derain&format=exe", "images are not written as 'exe'"),
        ("task=derain&url=http://example.org/a.png", "unknown parameter 'url'"),
    ],
)
def test_what_cannot_be_asked_for_is_told_in_json(server: Server, query: str, words: str):
    answer = server.ask("POST", f"/v1/restore?{query}", b"x")

    assert (answer.status, answer.message) == (400, words)


def test_uploads_that_are_nothing_or_broken_forms_are_refused(server: Server):
    body, kind = form(task="derain")

    assert server.ask("POST", RESTORE, b"").message == "no image was sent"
    assert server.ask("POST", "/v1/restore", body, Content_Type=kind).message == "a form needs one file: the image"
    assert server.ask("POST", RESTORE, b"x", Content_Type="multipart/form-data").status == 400
    wait_until_idle(server)


def test_others_are_answered_while_a_long_form_is_taken_apart():
    requests = pytest.importorskip("starlette.requests")
    from restore_cli.server.upload import read_upload

    image = bytes(range(256)) * 12_000  # 3 MB
    body, kind = form(task="derain", image=image)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def take() -> tuple[bytes, dict[str, str]]:
        busy = asyncio.create_task(others())
        headers = [(b"content-type", kind.encode())]
        scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}
        try:
            return await read_upload(requests.Request(scope, receive), 1 << 30, 60)
        finally:
            busy.cancel()

    assert asyncio.run(take()) == (image, {"task": "derain"})
    assert turns > 10


def test_an_upload_that_says_it_is_too_long_is_refused_before_it_is_read(server: Server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(f"POST {RESTORE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2147483648\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


def test_an_upload_that_only_turns_out_too_long_is_cut_off(server: Server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(f"POST {RESTORE} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
        try:
            for _ in range(200):
                connection.sendall(chunk)
        except OSError:
            pass  # it hung up
        else:
            answer = connection.recv(4000)
            assert answer.startswith(b"HTTP/1.1 413")
            assert b"larger than the 1 MiB this server takes" in answer
    wait_until_idle(server)


def test_a_slow_upload_holds_nobody_up_and_is_given_up(server: Server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
        slow.sendall(f"POST {RESTORE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1".encode())
        assert server.ask("POST", RESTORE, b"x").status == 200
        assert slow.recv(1000).startswith(b"HTTP/1.1 408")


def test_more_than_the_queue_holds_is_told_to_come_back(server: Server):
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: server.ask("POST", RESTORE, b"6"), range(50)))

    assert {answer.status for answer in answers} == {200, 503}
    assert all(int(a.headers["retry-after"]) >= 1 for a in answers if a.status == 503)
    assert sum(answer.status == 200 for answer in answers) >= 4
    wait_until_idle(server)


def test_who_hangs_up_gives_the_place_back(server: Server):
    for _ in range(4):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(
                f"POST {RESTORE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\n100000".encode()
            )
            time.sleep(0.1)
    wait_until_idle(server)


def test_faults_of_the_machine_are_told_without_its_paths(server: Server):
    for sent, status in ((b"broken", 500), (b"bug", 422)):
        answer = server.ask("POST", RESTORE, sent)
        assert answer.status == status
        assert b"secret" not in answer.body


def events_of(answer: Answer) -> list[str]:
    return [
        json.loads(line.removeprefix("data: "))["state"]
        for line in answer.body.decode().splitlines()
        if "data: " in line
    ]


def test_a_queued_image_is_followed_by_events_and_fetched(server: Server):
    job = server.ask("POST", "/v1/jobs?task=derain", b"2").json

    states = events_of(server.ask("GET", job["events"]))
    assert states[-1] == "done"
    assert set(states) <= {"queued", "running", "done"}
    assert server.ask("GET", job["result"]).body.endswith(b"2")
    assert server.ask("DELETE", f"/v1/jobs/{job['id']}").status == 204
    assert server.ask("GET", job["result"]).status == 404


def test_events_tell_which_share_is_done(server: Server):
    job = server.ask("POST", "/v1/jobs?task=derain", b"30").json

    assert b'"state": "running", "ahead": 0, "share": 0.5' in server.ask("GET", job["events"]).body


def test_a_cancelled_image_stops_whether_it_waits_or_runs(server: Server):
    jobs = [server.ask("POST", "/v1/jobs?task=derain", b"100000").json for _ in range(2)]
    assert server.ask("GET", jobs[0]["result"]).status == 409
    followed: list[str] = []
    thread = threading.Thread(target=lambda: followed.extend(events_of(server.ask("GET", jobs[0]["events"]))))
    thread.start()

    for job in reversed(jobs):
        assert server.ask("DELETE", f"/v1/jobs/{job['id']}").status == 204

    thread.join(20)
    assert followed[-1] == "cancelled"
    wait_until_idle(server)


def test_other_sites_and_other_names_are_refused(server: Server):
    assert server.ask("GET", "/", Host="rebound.example").status == 421
    assert server.ask("POST", RESTORE, b"x", Origin="http://evil.example").status == 403
    assert server.ask("POST", RESTORE, b"x", Origin="null").status == 403
    own = f"127.0.0.1:{server.port}"
    assert server.ask("POST", RESTORE, b"x", Host=own, Origin=f"http://{own}").status == 200


def test_a_token_is_asked_of_everything_that_restores(tmp_path: Path):
    with toy_server(tmp_path, token=TOKEN) as server:
        assert server.ask("POST", RESTORE, b"x").status == 401
        assert server.ask("GET", "/v1/tasks", Authorization="Bearer wrong").status == 401
        assert server.ask("POST", RESTORE, b"x", Authorization=f"Bearer {TOKEN}").status == 200
        assert server.ask("GET", "/").status == 200


def test_the_openapi_document_names_every_route(server: Server):
    document = server.ask("GET", "/openapi.json").json

    assert document["openapi"].startswith("3.")
    assert {"/v1/restore", "/v1/tasks", "/healthz", "/v1/jobs", "/v1/jobs/{id}/events"} <= set(document["paths"])
    for path, methods in document["paths"].items():
        for method in set(methods) & {"get", "post", "delete"}:
            answer = server.ask(method.upper(), path.replace("{id}", "none"))
            assert answer.status != 405
            assert "nothing this server knows" not in answer.body.decode()


def test_who_waits_while_it_stops_is_told_and_a_short_image_is_finished(tmp_path: Path):
    with toy_server(tmp_path) as server, ThreadPoolExecutor(3) as pool:
        answers = []
        for length in (b"4", b"100000", b"1"):  # a fifth of a second, an hour, and one behind them
            answers.append(pool.submit(server.ask, "POST", RESTORE, length))
            time.sleep(0.1)
        server.process.send_signal(signal.SIGTERM)
        finished, *sent_away = [answer.result(60) for answer in answers]

        assert finished.status == 200
        assert [answer.status for answer in sent_away] == [503, 503]
        assert {answer.message for answer in sent_away} == {"the server is being stopped"}
        _, complaints = server.process.communicate(timeout=60)
        assert complaints == ""


def test_it_stops_with_an_image_in_hand(tmp_path: Path):
    with toy_server(tmp_path) as server:
        server.ask("POST", "/v1/jobs?task=derain", b"100000")
        assert server.stop() in {0, -15}

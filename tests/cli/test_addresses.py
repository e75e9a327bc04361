"""Images at addresses, from argv to files, with a real server on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from restore_cli.errors import DownloadError
from restore_cli.jobs import addresses
from restore_cli.storage.web import Patience, require_public
from restore_cli.weights import download
from restore_cli.weights.store import cache_dir
from tests.cli.conftest import Ran, Run, image
from tests.weights.server import Server, serving

Tiny = Callable[..., Path]
Denoise = Callable[..., Ran]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    patience = Patience(timeout_s=5.0, answer_s=5.0, attempts=2, backoff_s=0.0)
    monkeypatch.setattr(addresses, "_PATIENCE", patience)
    with serving() as running:
        yield running


@pytest.fixture
def denoise(run: Run, tiny: Tiny) -> Denoise:
    return lambda *arguments: run("denoise", "--weights", tiny("denoise", scale=1), "--threads", "1", *arguments)


@pytest.fixture
def photo(server: Server, here: Path) -> bytes:
    data = image("photo.png").read_bytes()
    server.answers["/deep/ph%6fto.png?size=2"] = lambda request: request.whole(data)
    return data


def test_images_at_addresses_give_what_their_files_give(denoise: Denoise, server: Server, photo: bytes):
    other = image("other.png", size=(8, 5)).read_bytes()
    server.answers["/other.png"] = lambda request: request.whole(other)
    urls = [server.url + "/deep/ph%6fto.png?size=2", server.url + "/other.png"]
    assert denoise("photo.png", "other.png", "files/").code == 0
    ran = denoise(*urls, "-o", "out/", "--allow-private", "--json")
    assert ran.code == 0
    for name in ("photo.png", "other.png"):
        assert Path("out", name).read_bytes() == Path("files", name).read_bytes()
    assert [json.loads(line).get("source") for line in ran.out.splitlines()] == [*urls, None]

    ran = denoise(*urls, "-o", "out/", "--allow-private", "--resume", "--json")
    assert [json.loads(line).get("status") for line in ran.out.splitlines()] == ["skipped", "skipped", None]


def test_a_result_without_an_output_is_written_where_one_stands(denoise: Denoise, server: Server, photo: bytes):
    assert denoise(server.url + "/deep/ph%6fto.png?size=2", "--allow-private").code == 0
    assert Path("photo_denoised.png").exists()


def test_addresses_do_not_lead_into_private_networks_unasked(denoise: Denoise, server: Server):
    private = f"https://127.0.0.1:{server.server_address[1]}/a.png"
    ran = denoise(private, "-o", "out/")
    assert ran.code == 1
    assert f"{private}: it leads to the private address 127.0.0.1; say --allow-private" in ran.err
    assert (len(ran.err.splitlines()), server.seen) == (3, [])
    assert denoise(private.replace("127.0.0.1", "localhost"), "-o", "out/").code == 1
    ran = denoise(server.url + "/a.png", "-o", "out/")
    assert (ran.code, "no https address; say https, or --allow-private" in ran.err) == (2, True)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.1", "224.0.0.1",
        "::1", "::", "fe80::1%eth0", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1",
    ],
)  # fmt: skip
def test_addresses_of_no_public_network_are_known(address: str):
    with pytest.raises(DownloadError, match="private address"):
        require_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_of_the_internet_are_let_through(address: str):
    require_public(address)


def test_a_redirect_is_asked_like_the_address_itself(server: Server, monkeypatch: pytest.MonkeyPatch):
    import threading

    asked: list[str] = []
    server.answers["/a.png"] = lambda request: request.head(302, Location=server.url + "/b.png", Content_Length=0)
    server.answers["/b.png"] = lambda request: request.whole(b"x")

    def refuse(address: str) -> None:
        asked.append(address)
        if len(server.seen) == 1:  # it has sent us on
            require_public(address)

    monkeypatch.setattr(addresses, "require_public", refuse)
    monkeypatch.setattr(addresses, "_may_be_asked", lambda _url, **_settings: True)
    with pytest.raises(Exception, match=r"/a\.png: it leads to the private address 127\.0\.0\.1"):
        addresses.fetch_image(server.url + "/a.png", allow_private=False, stop=threading.Event())
    assert set(asked) == {"127.0.0.1"}
    assert [seen.path for seen in server.seen] == ["/a.png"]


def test_each_fault_of_a_server_is_one_line_and_the_others_arrive(
    denoise: Denoise, server: Server, photo: bytes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(addresses, "MOST_BYTES", 1 << 20)
    large = bytes(2 << 20)
    server.answers["/page.png"] = lambda request: request.page(200)
    server.answers["/cut.png"] = lambda request: request.part(photo, 9)
    server.answers["/busy.png"] = lambda request: request.page(503)
    server.answers["/loop.png"] = lambda request: request.head(302, Location="/loop.png", Content_Length=0)
    server.answers["/large.png"] = lambda request: request.whole(large)
    server.answers["/good.png"] = lambda request: request.whole(photo)
    told = {
        "gone": "the server answers 404 Not Found",
        "page": "it is a web page",
        "cut": "(2 attempts)",
        "busy": "the server answers 503 Service Unavailable (2 attempts)",
        "loop": "the server redirects without end",
        "large": "2097152 bytes is more than 1 MiB",
        "good": "",
    }
    ran = denoise(*(f"{server.url}/{name}.png" for name in told), "-o", "out/", "--allow-private", "-q")
    assert (ran.code, Path("out/good.png").exists()) == (1, True)
    errors = ran.err.splitlines()
    assert len(errors) == 6
    for line, (name, fault) in zip(errors, told.items(), strict=False):
        assert f"{server.url}/{name}.png: " in line
        assert fault in line


def test_weights_come_from_an_address_and_offline_those_that_came_last(run: Run, tiny: Tiny, server: Server):
    image("a.png")
    file = tiny("denoise", scale=1)
    body = file.read_bytes()
    server.answers["/mine.safetensors"] = lambda request: request.whole(body)
    url = f"{server.url}/mine.safetensors"
    assert run("denoise", "--weights", file, "a.png", "-o", "here.png").code == 0
    ran = run("denoise", "--weights", url, "a.png", "-o", "there.png")
    assert ran.code == 0, ran.err
    assert Path("there.png").read_bytes() == Path("here.png").read_bytes()

    server.answers.clear()
    asked = len(server.seen)
    assert run("denoise", "--weights", url, "--offline", "a.png", "-o", "offline.png").code == 0
    assert len(server.seen) == asked
    ran = run("denoise", "--weights", f"{server.url}/other.safetensors", "--offline", "a.png", "-o", "x.png")
    assert (ran.code, "was not fetched before, and --offline forbids it now" in ran.err) == (3, True)
    ran = run("denoise", "--weights", url, "a.png", "-o", "x.png")  # what came last does not stand in for what is gone
    assert (ran.code, f"{url}: the server answers 404 Not Found" in ran.err) == (3, True)


def test_what_an_address_sends_in_place_of_weights_is_refused_in_one_line(
    run: Run, tiny: Tiny, server: Server, monkeypatch: pytest.MonkeyPatch
):
    image("a.png")
    body = tiny("denoise", scale=1).read_bytes()
    monkeypatch.setattr(download, "MAX_WEIGHTS_BYTES", len(body))
    server.answers["/page.safetensors"] = lambda request: request.page(200)
    server.answers["/cut.safetensors"] = lambda request: request.part(body, 9)
    server.answers["/long.safetensors"] = lambda request: request.whole(body + b"x")
    server.answers["/text.safetensors"] = lambda request: request.whole(b"not weights" * 9)
    server.answers["/hidden.safetensors"] = lambda request: request.whole(b"<!DOCTYPE html><html>sign in</html>")
    server.answers["/away.safetensors"] = lambda request: request.head(
        302, Location="http://192.0.2.1/mine.safetensors", Content_Length=0
    )
    told = {
        "page": "the server sends a web page instead of weights",
        "cut": "(2 attempts)",
        "long": "is more than any weights file has",
        "text": "is not a weights file",
        "hidden": "is not a weights file: it is a web page",
        "away": "which is no https address",
    }
    monkeypatch.setattr(download, "Patience", lambda: Patience(timeout_s=5.0, attempts=2, backoff_s=0.0))
    for name, fault in told.items():
        ran = run("denoise", "-q", "--weights", f"{server.url}/{name}.safetensors", "a.png", "-o", "x.png")
        assert (ran.code, len(ran.err.splitlines())) == (3, 1), ran.err
        assert (f"{name}.safetensors" in ran.err, fault in ran.err) == (True, True), ran.err
    assert not Path("x.png").exists()
    assert [path for path in cache_dir().rglob("*") if path.is_file() and path.suffix != ".lock"] == []
    ran = run("denoise", "--weights", "http://example.invalid/mine.safetensors", "a.png", "-o", "x.png")
    assert (ran.code, "no https address" in ran.err) == (3, True)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["https://", "-o", "out/"], "names no host"),
        (["https://host/", "-o", "out/"], "names no file"),
        (["https://host:x/a.png", "-o", "out/"], "is no address"),
        (["https://me:secret@host/a.png", "-o", "out/"], "the address of host holds a name or password"),
        (["https://host/a.png", "--in-place"], "--in-place cannot write https://host/a.png back"),
        (["https://host/a.png", "https://host/b.png"], "nothing can be written to https://host/b.png"),
    ],
)
def test_what_is_no_address_of_an_image_is_refused_before_any_work(denoise: Denoise, arguments: list[str], fault: str):
    ran = denoise(*arguments)
    assert (ran.code, fault in ran.err, "secret" in ran.err) == (2, True, False)

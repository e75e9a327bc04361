"""`restore serve` itself: the bytes of the command line by HTTP, and its page in a real browser."""

from __future__ import annotations

import base64
import io
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.browser import Browser
from tests.cli.conftest import command, environment
from tests.conftest import ROOT
from tests.server.server import form, real_server, toy_server

pytestmark = pytest.mark.slow

SAMPLE = ROOT / "tests" / "samples" / "still_life_noisy.png"


def bytes_of_the_command_line(task: str, tmp_path: Path) -> bytes:
    result = tmp_path / "result.png"
    subprocess.run(command(task, SAMPLE, "-o", result, "--device", "cpu"), env=environment(), check=True, timeout=240)
    return result.read_bytes()


def test_http_and_the_page_give_the_bytes_of_the_command_line(tmp_path: Path):
    expected = bytes_of_the_command_line("denoise", tmp_path)
    with real_server("--device", "cpu") as server:
        body, kind = form(task="denoise", image=SAMPLE.read_bytes())
        assert server.ask("POST", "/v1/restore?task=denoise", SAMPLE.read_bytes()).body == expected
        assert server.ask("POST", "/v1/restore", body, Content_Type=kind).body == expected
        refused = server.ask("POST", "/v1/restore?task=denoise", b"%PDF-1.7")
        assert (refused.status, refused.message) == (422, "it is a PDF document")

        for width, dark in ((1280, False), (390, True)):
            browser = Browser(tmp_path / str(width), width=width, dark=dark)
            try:
                look_at_the_page(browser, server.address, expected, width)
            finally:
                browser.close()
        assert server.stop() == 143


def look_at_the_page(browser: Browser, address: str, expected: bytes, width: int) -> None:
    browser.open(address)
    browser.wait_for("document.querySelectorAll('#task option').length > 3")
    browser.evaluate("document.getElementById('task').value = 'denoise'; offer()")
    data = {"items": [], "files": [str(SAMPLE), str(SAMPLE)], "dragOperationsMask": 1}
    x, y = browser.evaluate("(b => [b.x + 20, b.y + 20])(document.getElementById('drop').getBoundingClientRect())")
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.send("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)
    browser.wait_for("document.querySelectorAll('.save:not([hidden])').length === 2", seconds=200)
    browser.wait_for("document.querySelectorAll('.viewer.live').length === 2")

    split = "parseFloat(document.querySelector('.pane').style.getPropertyValue('--split'))"
    browser.evaluate("document.querySelector('input[aria-label^=Share]').focus()")
    start = browser.evaluate(split)
    browser.press("ArrowLeft")
    assert browser.evaluate(split) < start

    as_text = (
        ".then(blob => new Promise(done => { const reader = new FileReader(); reader.onload = () => "
        "done(reader.result.split(',')[1]); reader.readAsDataURL(blob); }))"
    )
    assert base64.b64decode(browser.evaluate(f"Promise.resolve(done[0].blob){as_text}")) == expected
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(browser.evaluate(f"zip(done){as_text}")))) as archive:
        assert archive.testzip() is None
        assert len(set(archive.namelist())) == 2
        assert all(archive.read(name) == expected for name in archive.namelist())

    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.unnamed_controls() == []
    assert browser.complaints() == []


def asked_for(browser: Browser, **choices: str) -> dict[str, str]:
    """Return what the page would ask for once somebody has made some choices."""
    for name, value in choices.items():
        browser.evaluate(f"(e => {{ e.value = '{value}'; e.dispatchEvent(new Event('change')); }})(byId('{name}'))")
    return dict(browser.evaluate("Object.fromEntries(chosen())"))


def test_the_page_brings_its_token_cancels_and_tells_faults(tmp_path: Path):
    key = "abc"
    with toy_server(tmp_path, token=key) as server:
        browser = Browser(tmp_path / "profile")
        try:
            browser.open(server.address)
            browser.wait_for("document.getElementById('problem').textContent.startsWith('a token is needed')")
            browser.open(f"{server.address}?#token={key}")  # another address: a new fragment alone loads nothing
            browser.wait_for("document.querySelectorAll('#task option').length > 3")

            browser.evaluate("restore(new File(['100000'], 'a.png')) && 0")
            browser.wait_for("document.querySelector('.state').textContent.startsWith('restoring')")
            browser.evaluate("document.querySelector('.cancel').click()")
            browser.wait_for("document.querySelector('.state').textContent === 'cancelled'")

            browser.evaluate("restore(new File(['broken'], '<i>b.png')) && 0")
            browser.wait_for("document.querySelector('.state').textContent.includes('cannot restore')")
            assert browser.evaluate("document.querySelector('.result h2').textContent") == "<i>b.png"

            assert asked_for(browser, task="denoise") == {"task": "denoise"}
            assert asked_for(browser, noise="auto") == {"task": "denoise", "sigma": "auto"}
            assert asked_for(browser, noise="set", sigma="12", strength="50") == {
                "task": "denoise",
                "sigma": "12",
                "strength": "0.5",
            }
            assert asked_for(browser, task="sr", scale="3") == {"task": "sr", "scale": "3"}
            assert asked_for(browser, weights="ramit-lite-sr-x2") == {"task": "sr", "weights": "ramit-lite-sr-x2"}

            server.stop()
            browser.evaluate("take([new File(['1'], 'late.png')])")
            browser.wait_for("document.querySelector('.state').textContent.startsWith('the server does not answer')")
            assert browser.unnamed_controls() == []
        finally:
            browser.close()

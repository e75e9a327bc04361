"""The system's Chromium, without a window, driven over its own debugging pipe: nothing to install beside it."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


class Browser:
    """One page in a browser of its own.

    Args:
        profile: An empty folder.
        width: Of the window in CSS pixels.
        dark: Whether its user likes dark pages.
    """

    def __init__(self, profile: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        program = next(filter(None, map(shutil.which, PROGRAMS)), None)
        if program is None:
            pytest.skip(f"no browser: none of {', '.join(PROGRAMS)} is installed")
        read_here, write_there = os.pipe()
        read_there, write_here = os.pipe()
        # The browser reads from descriptor 3 and writes to 4; the shell puts them there.
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run"]
        line = f'exec "$0" "$@" 3<&{read_there} 4>&{write_there}'
        self._process = subprocess.Popen(
            ["bash", "-c", line, program, *options, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(read_there, write_there),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_there)
        os.close(write_there)
        self._out = os.fdopen(write_here, "wb")
        self._in = os.fdopen(read_here, "rb")
        self._rest = b""
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self.messages: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM", "Network"):
            self.send(f"{domain}.enable")
        self.send("Page.setLifecycleEventsEnabled", enabled=True)
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", features=scheme)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while True:
            answer = self._read()
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return dict(answer["result"])
            self.messages.append(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            chunk = os.read(self._in.fileno(), 1 << 16)
            assert chunk, "the browser has gone"
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(line))

    def open(self, address: str) -> None:
        """Go to a page and wait until it is loaded."""
        loader = self.send("Page.navigate", url=address)["loaderId"]
        loaded = {"name": "load", "loaderId": loader}
        while not any(loaded.items() <= message.get("params", {}).items() for message in self.messages):
            self.messages.append(self._read())

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the page, awaited if it is a promise."""
        answer = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, condition: str, seconds: int = 60) -> None:
        """Wait until an expression is true in the page."""
        poll = f"new Promise(done => {{ const end = Date.now() + {seconds * 1000}; const look = () => " + (
            f"({condition}) ? done(true) : Date.now() > end ? done(false) : setTimeout(look, 50); look(); }})"
        )
        assert self.evaluate(poll), f"it never came: {condition}"

    def press(self, key: str) -> None:
        """Press a key and let go."""
        codes = {"ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35, "Tab": 9, "Enter": 13}
        for kind in ("rawKeyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key])

    def drag(self, x: float, y: float, to: float) -> None:
        """Press the mouse at a point, move it to the side, let go."""
        for kind, at in (("mousePressed", x), ("mouseMoved", to), ("mouseReleased", to)):
            self.send("Input.dispatchMouseEvent", type=kind, x=at, y=y, button="left", buttons=1, clickCount=1)

    def screenshot(self) -> bytes:
        """Return a PNG of the window."""
        return base64.b64decode(self.send("Page.captureScreenshot")["data"])

    def complaints(self) -> list[str]:
        """Return what the browser has complained of: blocked content, scripts that failed, files that are missing."""
        told = []
        for message in self.messages:
            if message.get("method") == "Log.entryAdded":
                told.append(str(message["params"]["entry"]["text"]))
            elif message.get("method") == "Runtime.exceptionThrown":
                told.append(str(message["params"]["exceptionDetails"]))
        return told

    def unnamed_controls(self) -> list[dict[str, Any]]:
        """Return the controls and images that a screen reader could not name."""
        nodes = self.send("Accessibility.getFullAXTree")["nodes"]
        roles = {"button", "slider", "textbox", "combobox", "checkbox", "link", "image", "spinbutton"}
        return [
            node for node in nodes
            if not node.get("ignored") and node.get("role", {}).get("value") in roles
            and not node.get("name", {}).get("value")
        ]  # fmt: skip

    def close(self) -> None:
        """End the browser."""
        self._out.close()
        self._process.wait(20)
        self._in.close()

"""A server in a process of its own, and requests to it over a socket."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cli.conftest import environment

# Stands in for the networks: waits as long as the image's name of a task says, looks at the stop as they do.
TOY = """
import socket, sys, threading, uvicorn
from restore_cli.server.app import ServeSettings, create_app
from restore_cli.server.worker import RestoredFile, StoppedError
from restore_cli.errors import WeightsError

def work(request, data, stop, tell):
    if data == b"broken":
        raise WeightsError("/secret/place is missing")
    if data == b"bug":
        raise RuntimeError("/secret/place")
    tell(0.5)
    for _ in range(int(data) if data.isdigit() else 0):
        if stop.wait(0.05):
            raise StoppedError
    made = b"\\x89PNG\\r\\n\\x1a\\n" + data
    return RestoredFile(data=made, format="PNG", weights="toy", seconds=0.0, size=(1, 1), warnings=())

listener = socket.create_server(("127.0.0.1", 0))
print(f"http://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
ending = threading.Event()

class EndingServer(uvicorn.Server):
    def handle_exit(self, sig, frame):
        ending.set()
        super().handle_exit(sig, frame)

settings = ServeSettings(
    token=sys.argv[1] or None, most_bytes=1 << 20, places=int(sys.argv[2]), upload_seconds=2.0, ending_seconds=0.5
)
EndingServer(uvicorn.Config(create_app(settings, work, ending), log_level="error")).run(sockets=[listener])
"""


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return str(self.json["error"]["message"])


@dataclass(frozen=True, kw_only=True)
class Server:
    process: subprocess.Popen[str]
    address: str

    @property
    def port(self) -> int:
        return int(self.address.rstrip("/").rpartition(":")[2])

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=240)
        try:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body=body, headers=names)
            answer = connection.getresponse()
            return Answer(status=answer.status, headers=answer.headers, body=answer.read())
        finally:
            connection.close()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextmanager
def _served(arguments: list[str]) -> Iterator[Server]:
    process = subprocess.Popen(
        [sys.executable, *arguments], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, process.stderr.read() if process.stderr is not None else ""
        server = Server(process=process, address=address.partition("#")[0])
        _wait_until_it_answers(server)
        yield server
    finally:
        process.kill()
        process.communicate()


def _wait_until_it_answers(server: Server) -> None:
    for _ in range(400):
        try:
            if server.ask("GET", "/healthz").status == 200:
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the server never answered")


def toy_server(folder: Path, *, token: str = "", places: int = 4):
    """Serve a toy in place of the networks."""
    program = folder / "toy_server.py"
    program.write_text(TOY)
    return _served([str(program), token, str(places)])


def real_server(*options: str):
    """Serve as `restore serve` does."""
    return _served(["-m", "restore_cli", "serve", "--port", "0", *options])


def form(**fields: str | bytes) -> tuple[bytes, str]:
    """Return a form's body and its content type; bytes are files."""
    boundary = "-----frontier"
    body = b""
    for name, value in fields.items():
        file = '; filename="../../etc/x.png"' if isinstance(value, bytes) else ""
        data = value if isinstance(value, bytes) else value.encode()
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + data + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"

"""A real HTTP server on this machine that misbehaves as told, for everything that fetches."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Request"], None]


@dataclass
class Seen:
    """One request as the server saw it."""

    method: str
    path: str
    range: str | None


class Request(BaseHTTPRequestHandler):
    """One request, with short ways to answer it; HTTP/1.0, so that every answer ends its connection."""

    server: Server

    def log_message(self, *args: object) -> None:
        """Keep pytest's output clean."""

    def do_GET(self) -> None:
        self.server.seen.append(Seen(self.command, self.path, self.headers.get("Range")))
        answer = self.server.answers.get(self.path)
        try:
            if answer is None:
                self.page(404)
            else:
                answer(self)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client hung up, as it may

    def do_HEAD(self) -> None:
        self.do_GET()

    def head(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def page(self, status: int) -> None:
        body = b"<!DOCTYPE html><html><body>not what you came for</body></html>"
        self.head(status, Content_Type="text/html; charset=utf-8", Content_Length=len(body))
        self.wfile.write(body)

    def offset(self) -> int:
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "bytes=0-")
        assert found is not None
        return int(found[1])

    def whole(self, body: bytes) -> None:
        """Answer as a good server does, ranges included."""
        self.part(body, len(body))

    def part(self, body: bytes, end: int, *, pause_s: float = 0.0, step: int = 1 << 20) -> None:
        """Promise all that was asked for, send up to byte `end`, `step` bytes at a time."""
        start = self.offset()
        if start >= len(body) > 0:
            self.head(416, Content_Range=f"bytes */{len(body)}", Content_Length=0)
            return
        facts: dict[str, object] = {"Content_Length": len(body) - start, "Content_Type": "application/octet-stream"}
        if start:
            facts["Content_Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self.head(206 if start else 200, **facts)
        if self.command == "HEAD":
            return
        for at in range(start, end, step):
            self.wfile.write(body[at : min(at + step, end)])
            self.wfile.flush()
            if pause_s and self.server.closing.wait(pause_s):
                return


class Server(ThreadingHTTPServer):
    """Answers by path, requests seen, and a flag that wakes whoever sleeps when it closes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.answers: dict[str, Answer] = {}
        self.seen: list[Seen] = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def gets(self) -> list[Seen]:
        return [request for request in self.seen if request.method == "GET"]


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()

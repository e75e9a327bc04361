"""A proxy in front of a real S3 server that is slow, refuses some of all requests, and loses answers."""

from __future__ import annotations

import http.client
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_NOT_PASSED_ON = {"connection", "transfer-encoding", "keep-alive"}


class _Request(BaseHTTPRequestHandler):
    """One request: refused before the server sees it, passed on, or passed on and its answer lost."""

    server: Unsteady
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Keep pytest's output clean."""

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        time.sleep(self.server.delay_s)
        self.server.asked += 1
        if self.server.expires_after is not None and self.server.asked > self.server.expires_after:
            text = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
            self._answer(HTTPStatus.BAD_REQUEST, [], text)
            return
        turn = self.server.turn()
        if turn == self.server.refused:
            self.server.faults += 1
            self._answer(
                HTTPStatus.SERVICE_UNAVAILABLE, [], b"<Error><Code>SlowDown</Code><Message>Wait</Message></Error>"
            )
            return
        connection = http.client.HTTPConnection(self.server.behind, timeout=60)
        try:
            connection.request(self.command, self.path, body or None, dict(self.headers.items()))
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if self.command == "PUT" and answer.status == HTTPStatus.OK:
            self.server.put[urlsplit(self.path).path] += 1
        if turn == self.server.lost:
            self.server.faults += 1
            self.close_connection = True
            return
        self._answer(answer.status, answer.getheaders(), data)

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
        self.send_response_only(status)
        length = str(len(data))
        for name, value in headers:
            if name.lower() == "content-length":
                length = value  # of a HEAD: that of the object
            elif name.lower() not in _NOT_PASSED_ON:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = _pass_on  # noqa: N815 -- the names that http.server calls


class Unsteady(ThreadingHTTPServer):
    """The proxy.

    Args:
        endpoint: Of the server behind it.

    Attributes:
        delay_s: Each request waits so long.
        refused: Which of ten requests, 0..9, is answered with 503, the server not asked; None for none.
        lost: Which of them is carried out and never answered.
        expires_after: So many requests are permitted, and then the credentials have expired; None for ever.
        asked: How many requests came.
        faults: How many were refused or lost.
        put: How often the server took an object, by its path.
    """

    daemon_threads = True

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.behind = urlsplit(endpoint).netloc
        self.delay_s = 0.0
        self.refused: int | None = None
        self.lost: int | None = None
        self.expires_after: int | None = None
        self.asked = self.faults = 0
        self.put: Counter[str] = Counter()
        self._turns = itertools.count()

    @property
    def url(self) -> str:
        """Return its endpoint."""
        return f"http://127.0.0.1:{self.server_port}"

    def turn(self) -> int:
        """Count one more request; return which of ten it is."""
        return next(self._turns) % 10


@contextmanager
def unsteady(endpoint: str) -> Iterator[Unsteady]:
    """Run the proxy while inside."""
    with Unsteady(endpoint) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()

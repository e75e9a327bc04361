"""One answer of a server over https: the only code that talks to servers, for weights and for images.

Stages 3, READ, and 5, RUN. A server that keeps a client waiting is hung up on, in the head of an answer, in its body
and in all; redirects are followed only where whoever asks permits it, and no further than any file goes. Where an
address comes from somebody else's list it may not lead into the network of whoever runs the program: that is asked of
the address that a connection is made to, since a name may stand for another one each time it is looked up. The client
is the one that huggingface_hub brings; it is imported when a file is asked for, since most runs need none.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self, cast

from restore_cli._version import __version__
from restore_cli.errors import DownloadError

if TYPE_CHECKING:
    import httpx2

_MAX_REDIRECTS = 10
_PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504}
_NOT_RETRIED = (ConnectionRefusedError, socket.gaierror, ssl.SSLCertVerificationError)
_IPV4_BEHIND_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Say how long to wait for a server.

    Attributes:
        timeout_s: Seconds without a single byte before a connection is given up.
        answer_s: Seconds until the head of an answer must be complete.
        least_rate: Bytes a second below which a connection is given up, as a mean over `window_s`.
        window_s: Seconds that the rate is taken over.
        total_s: Seconds for a whole download, all attempts together.
        attempts: Failed attempts in a row before the download is given up.
        backoff_s: Seconds before the second attempt; doubled each time.
    """

    timeout_s: float = 20.0
    answer_s: float = 60.0
    least_rate: float = 2048.0
    window_s: float = 20.0
    total_s: float = 7200.0
    attempts: int = 4
    backoff_s: float = 0.5


class InterruptionError(Exception):
    """An attempt failed in a way that another one may not; one that `starts_over` asks for the whole file."""

    def __init__(self, message: str, *, starts_over: bool = False) -> None:
        super().__init__(message)
        self.starts_over = starts_over


class Pace:
    """Hang up on servers that keep a client waiting: in the head of an answer, in its body, or in all.

    Args:
        patience: How long is too long.
        most_bytes: No file is longer.
        refuse: Takes each IP address that is about to be connected to, and raises where it may not be.
    """

    def __init__(self, patience: Patience, most_bytes: int, *, refuse: Callable[[str], None] | None = None) -> None:
        self.patience = patience
        self.most_bytes = most_bytes
        self._refuse = refuse
        self._end = time.monotonic() + patience.total_s
        self._timer: threading.Timer | None = None
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def is_over(self) -> bool:
        """Return whether the time for the whole download is up."""
        return time.monotonic() > self._end

    @property
    def hooks(self) -> dict[str, list[Callable[..., Any]]]:
        """Return what a client calls before each request and after the head of each answer."""
        return {"request": [self._before], "response": [self._after]}

    def _before(self, request: httpx2.Request) -> None:
        self._stop()
        request.extensions["trace"] = self._note
        self._timer = threading.Timer(self.patience.answer_s, self._hang_up)
        self._timer.daemon = True
        self._timer.start()

    def _after(self, response: httpx2.Response) -> None:
        self._stop()
        response.stream = _paced(cast("httpx2.SyncByteStream", response.stream), self)

    def _note(self, event: str, facts: dict[str, Any]) -> None:
        """Remember the socket of a new connection; a secure one replaces the plain one beneath it.

        Where it leads is asked before, so that nobody is knocked at in vain, and again when it is known for sure.
        """
        if self._refuse is not None and event == "connection.connect_tcp.started":
            with contextlib.suppress(OSError):  # told when the connection is made
                for *_, found in socket.getaddrinfo(facts["host"], facts["port"], type=socket.SOCK_STREAM):
                    self._refuse(str(found[0]))
        if self._refuse is not None and event == "connection.connect_tcp.complete":
            self._refuse(str(facts["return_value"].get_extra_info("server_addr")[0]))
        if event in {"connection.connect_tcp.complete", "connection.start_tls.complete"}:
            self._socket = facts["return_value"].get_extra_info("socket")

    def _hang_up(self) -> None:
        """End both directions, which wakes a reader in another thread; closing would not."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _paced(stream: httpx2.SyncByteStream, pace: Pace) -> httpx2.SyncByteStream:
    """Return a body that is read no slower than the patience allows, and no further than any file goes."""
    import httpx2

    class Paced(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            patience, since, arrived, total = pace.patience, time.monotonic(), 0, 0
            for chunk in stream:
                yield chunk
                arrived, total, now = arrived + len(chunk), total + len(chunk), time.monotonic()
                if total > pace.most_bytes:
                    raise DownloadError(f"the server sends more than {pace.most_bytes >> 20} MiB")
                if pace.is_over:
                    raise DownloadError(f"the download takes longer than {patience.total_s:g} s")
                if now - since >= patience.window_s:
                    if arrived < patience.least_rate * (now - since):
                        msg = f"the server sends less than {patience.least_rate:g} bytes a second"
                        raise httpx2.ReadError(msg)
                    since, arrived = now, 0

        def close(self) -> None:
            stream.close()

    return Paced()


@contextlib.contextmanager
def answer_of(url: str, pace: Pace, *, permits: Callable[[str], bool], offset: int = 0) -> Iterator[httpx2.Response]:
    """Open the answer, redirects followed.

    Args:
        url: Where.
        pace: How long it may take.
        permits: Takes an address, the first one and those of redirects, and tells whether it may be asked.
        offset: Of the first byte wanted.

    Raises:
        InterruptionError: If something goes wrong that another attempt may not meet.
        DownloadError: If it cannot be had.
    """
    import httpx2

    headers = {"User-Agent": f"restore-cli/{__version__}", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    try:
        with httpx2.Client(headers=headers, timeout=pace.patience.timeout_s, event_hooks=pace.hooks) as client:
            request: httpx2.Request | None = client.build_request("GET", url)
            for _ in range(_MAX_REDIRECTS):
                target = "nowhere" if request is None else str(request.url)
                if not permits(target):
                    raise DownloadError(f"will not fetch {url}: it leads to {target}, which is no https address")
                response = client.send(cast("httpx2.Request", request), stream=True)
                with contextlib.closing(response):
                    request = response.next_request
                    if not response.is_redirect:
                        _require_success(response, url, offset)
                        yield response
                        return
            raise DownloadError(f"cannot fetch {url}: the server redirects without end")
    except httpx2.TimeoutException as error:
        raise InterruptionError("the server sends nothing") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
        if any(isinstance(cause, _NOT_RETRIED) for cause in _causes(error)):
            raise DownloadError(f"cannot fetch {url}: {first_line(error)}") from error
        raise InterruptionError(first_line(error)) from error


def fetch_bytes(
    url: str,
    *,
    most_bytes: int,
    permits: Callable[[str], bool],
    refuse: Callable[[str], None] | None,
    patience: Patience,
    stop: threading.Event,
) -> bytes:
    """Return what lies at an address, held in memory.

    Args:
        url: Where.
        most_bytes: What is longer is refused.
        permits: As in `answer_of`.
        refuse: As in `Pace`.
        patience: How long it may take, and how often it is tried.
        stop: Set it to leave the download.

    Raises:
        DownloadError: If it cannot be had, or the download was left.
    """
    with Pace(patience, most_bytes, refuse=refuse) as pace:
        for attempt in range(1, patience.attempts + 1):
            try:
                with answer_of(url, pace, permits=permits) as response:
                    return _body(response, url, pace, stop)
            except InterruptionError as error:
                if attempt == patience.attempts or pace.is_over or stop.wait(patience.backoff_s * 2 ** (attempt - 1)):
                    raise DownloadError(f"cannot fetch {url}: {error} ({attempt} attempts)") from error
            except DownloadError as error:
                if url in error.message:
                    raise
                raise DownloadError(f"cannot fetch {url}: {error.message}", hint=error.hint) from error
    raise AssertionError


def _body(response: httpx2.Response, url: str, pace: Pace, stop: threading.Event) -> bytes:
    length = response.headers.get("Content-Length", "")
    promised = int(length) if length.isdecimal() else None
    if promised is not None and promised > pace.most_bytes:
        raise DownloadError(f"cannot fetch {url}: {promised} bytes is more than {pace.most_bytes >> 20} MiB")
    data = bytearray()
    for chunk in response.iter_raw():
        data += chunk
        if stop.is_set():
            raise DownloadError(f"cannot fetch {url}: interrupted")
    return bytes(data)


def require_public(address: str) -> None:
    """Refuse an address that is not of the internet at large: of this machine, its network, or nobody's.

    Raises:
        DownloadError: If it is one.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):  # those that stand for one of IPv4 lead wherever that does
        behind = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _IPV4_BEHIND_NAT64 else None
        ip = ip.ipv4_mapped or ip.sixtofour or behind or ip
    if not ip.is_global or ip.is_multicast:
        raise DownloadError(f"it leads to the private address {address}", hint="say --allow-private to let it")


def _require_success(response: httpx2.Response, url: str, offset: int) -> None:
    if response.is_success:
        return
    answer = f"the server answers {response.status_code} {response.reason_phrase}"
    out_of_range = response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset > 0
    if response.status_code in _PASSING_STATUS or out_of_range:
        raise InterruptionError(answer, starts_over=out_of_range)
    raise DownloadError(f"cannot fetch {url}: {answer}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def first_line(error: Exception) -> str:
    """Return what an error says, cut to one line."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]

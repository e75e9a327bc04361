"""One file over https, or of a Hugging Face repository: the only code that touches the network.

Stage 5, RUN, used by `store` alone. Over https a file is resumed where it was cut, retried a few times, and never
mistaken for what it is not: what arrives lies in a `.part` file whose digest the caller checks; here it is made sure
that the server sent a file at all (no web page, no error page), all of it, no more than that, and in reasonable time.
The Hub is asked through its own library and cache (HF_HOME's rules), held to the same pace. The client is the one which
that library brings; both are imported when a file is asked for, since most runs need neither.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast
from urllib.parse import urlsplit

from restore_cli._version import __version__
from restore_cli.errors import DownloadError, WeightsError
from restore_cli.weights.entry import MAX_WEIGHTS_BYTES, Source, is_allowed_address, is_loopback

if TYPE_CHECKING:
    import httpx2

Progress = Callable[[int, int | None], None]
"""Called with the bytes there so far and the bytes expected in all, None where not known."""

_WORTHWHILE_BYTES = 1 << 20  # an attempt that brought this much does not count as failed: slow lines get through
_MAX_REDIRECTS = 10
_PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504}
_NOT_RETRIED = (ConnectionRefusedError, socket.gaierror, ssl.SSLCertVerificationError)
_HUB_ATTEMPTS = 3


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


class _InterruptedError(Exception):
    """An attempt failed in a way that another one may not; one that `starts_over` asks for the whole file."""

    def __init__(self, message: str, *, starts_over: bool = False) -> None:
        super().__init__(message)
        self.starts_over = starts_over


def download(
    url: str,
    part: Path,
    *,
    size: int | None,
    resume: bool,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> bool:
    """Bring `part` to completion.

    Args:
        url: https address (or http of this machine).
        part: Where the bytes gather; left behind when interrupted, so that the next run can go on from there, but not
            when the server sends what cannot be the file.
        size: Bytes of the whole file, None where not known.
        resume: Join pieces of several answers; only for callers who check a digest afterwards.
        progress: Told of each piece.
        patience: How long to wait and how often to try.

    Returns:
        Whether the file was joined from several pieces.

    Raises:
        DownloadError: If the server cannot be reached, is too slow, does not have the file or sends something else.
        WeightsError: If `part` cannot be written.
    """
    patience = patience or Patience()
    with _Pace(patience) as pace:
        try:
            return _download(url, part, size, resume, progress, pace)
        except DownloadError as error:
            if not (resume and isinstance(error.__cause__, _InterruptedError)):
                part.unlink(missing_ok=True)
            raise


def _download(url: str, part: Path, size: int | None, resume: bool, progress: Progress | None, pace: _Pace) -> bool:
    patience = pace.patience
    failures, joined = 0, False
    while True:
        offset = _size_of(part) if resume else 0
        if size is not None and offset > size:
            offset = 0
        if offset == size:
            return True
        joined = joined or offset > 0
        try:
            with _response(url, offset, pace) as response:
                start, total = _span(response, offset, size, url)
                _copy(response, part, start, total, progress)
        except _InterruptedError as error:
            if error.starts_over:
                part.unlink(missing_ok=True)
            gained = _size_of(part) - offset
            failures = 0 if gained >= _WORTHWHILE_BYTES else failures + 1
            if failures >= patience.attempts or pace.is_over:
                raise DownloadError(f"cannot fetch {url}: {error} ({failures} attempts)") from error
            time.sleep(patience.backoff_s * 2 ** max(failures - 1, 0))
        else:
            return joined


class _Pace:
    """Hang up on servers that keep a client waiting: in the head of an answer, in its body, or in all.

    Args:
        patience: How long is too long.
    """

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        self._end = time.monotonic() + patience.total_s
        self._timer: threading.Timer | None = None
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def is_over(self) -> bool:
        """Tell whether the time for the whole download is up."""
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
        """Remember the socket of a new connection; a secure one replaces the plain one beneath it."""
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


def _paced(stream: httpx2.SyncByteStream, pace: _Pace) -> httpx2.SyncByteStream:
    """Return a body that is read no slower than the patience allows, and no further than any weights file goes."""
    import httpx2

    class Paced(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            patience, since, arrived, total = pace.patience, time.monotonic(), 0, 0
            for chunk in stream:
                yield chunk
                arrived, total, now = arrived + len(chunk), total + len(chunk), time.monotonic()
                if total > MAX_WEIGHTS_BYTES:
                    raise DownloadError(f"the server sends more than {MAX_WEIGHTS_BYTES >> 20} MiB")
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
def _response(url: str, offset: int, pace: _Pace) -> Iterator[httpx2.Response]:
    """Open the answer, redirects followed; what goes wrong is `_InterruptedError` (try again) or DownloadError."""
    import httpx2

    headers = {"User-Agent": f"restore-cli/{__version__}", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    try:
        with httpx2.Client(headers=headers, timeout=pace.patience.timeout_s, event_hooks=pace.hooks) as client:
            request: httpx2.Request | None = client.build_request("GET", url)
            for _ in range(_MAX_REDIRECTS):
                _require_allowed(request, url)
                response = client.send(cast("httpx2.Request", request), stream=True)
                with contextlib.closing(response):
                    request = response.next_request
                    if not response.is_redirect:
                        _require_success(response, url, offset)
                        yield response
                        return
            raise DownloadError(f"cannot fetch {url}: the server redirects without end")
    except httpx2.TimeoutException as error:
        raise _InterruptedError("the server sends nothing") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
        if any(isinstance(cause, _NOT_RETRIED) for cause in _causes(error)):
            raise DownloadError(f"cannot fetch {url}: {_first_line(error)}") from error
        raise _InterruptedError(_first_line(error)) from error


def _require_allowed(request: httpx2.Request | None, url: str) -> None:
    """Refuse to leave https; a server of this machine may redirect within this machine."""
    target = "nowhere" if request is None else str(request.url)
    turns_inward = _is_local(target) and not _is_local(url)
    if turns_inward or not is_allowed_address(target):
        raise DownloadError(f"will not fetch {url}: it leads to {target}, which is no https address")


def _require_success(response: httpx2.Response, url: str, offset: int) -> None:
    if response.is_success:
        return
    answer = f"the server answers {response.status_code} {response.reason_phrase}"
    out_of_range = response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset > 0
    if response.status_code in _PASSING_STATUS or out_of_range:
        raise _InterruptedError(answer, starts_over=out_of_range)
    raise DownloadError(f"cannot fetch {url}: {answer}")


def _span(response: httpx2.Response, offset: int, size: int | None, url: str) -> tuple[int, int | None]:
    """Return where the answer's first byte belongs and how long the whole file is, if that is known.

    Raises:
        DownloadError: If the answer cannot be the file.
        _InterruptedError: If it is another part of it.
    """
    head = response.headers
    if head.get("Content-Type", "").partition(";")[0].strip().lower() in {"text/html", "application/xhtml+xml"}:
        raise DownloadError(f"cannot fetch {url}: the server sends a web page instead of weights")
    length = head.get("Content-Length", "")
    start, total = 0, int(length) if length.isdecimal() else None
    if response.status_code == HTTPStatus.PARTIAL_CONTENT:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", head.get("Content-Range", "").strip())
        if found is None or int(found[1]) != offset:
            raise _InterruptedError("the server sends another part of the file than was asked for", starts_over=True)
        start, total = offset, None if found[2] == "*" else int(found[2])
    elif response.status_code != HTTPStatus.OK:
        raise DownloadError(f"cannot fetch {url}: the server answers {response.status_code} {response.reason_phrase}")
    if size is not None and total is not None and total != size:
        raise DownloadError(f"cannot fetch {url}: the server offers {total} bytes, the published file has {size}")
    total = size if total is None else total
    if total is not None and total > MAX_WEIGHTS_BYTES:
        raise DownloadError(f"cannot fetch {url}: {total} bytes is more than any weights file has")
    return start, total


def _copy(response: httpx2.Response, part: Path, start: int, total: int | None, progress: Progress | None) -> None:
    """Append the answer's body to `part`, cut to `start` bytes first, and make sure that it was all."""
    limit = MAX_WEIGHTS_BYTES if total is None else total
    done = start
    with _disk_faults(part), part.open("r+b" if start else "wb") as file:
        file.seek(start)
        file.truncate()
        for chunk in response.iter_raw():
            done += len(chunk)
            if done > limit:
                raise DownloadError(f"cannot fetch {response.url}: the server sends more than {limit} bytes")
            file.write(chunk)
            if progress is not None:
                progress(done, total)
        file.flush()
        os.fsync(file.fileno())
    if total is not None and done < total:
        raise _InterruptedError(f"the connection ended after {done} of {total} bytes")


def cached_by_hub(source: Source) -> Path | None:
    """Return where the Hub's cache has the file of that very commit, None where it has not."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(str(source.repo), str(source.filename), revision=source.revision)
    return Path(found) if isinstance(found, str) else None


def download_from_hub(
    source: Source, *, progress: Progress | None, anew: bool = False, patience: Patience | None = None
) -> Path:
    """Fetch a file into the Hub's cache and return where it lies; its size is checked there, not its digest.

    Args:
        source: Which file of which commit.
        progress: Told of each piece.
        anew: Fetch it even if the cache has it.
        patience: How long to wait.

    Raises:
        DownloadError: If the Hub cannot be reached, is too slow, or does not have it.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    with _Pace(patience or Patience()) as pace, _quiet_hub(pace):
        for left in reversed(range(_HUB_ATTEMPTS)):
            try:
                path = hf_hub_download(
                    str(source.repo),
                    str(source.filename),
                    revision=source.revision,
                    force_download=anew,
                    tqdm_class=_relay_to(progress),
                )
            except Exception as error:  # the library's errors, its HTTP client's, OSError
                if left == 0 or pace.is_over or isinstance(error, HfHubHTTPError | DownloadError):
                    raise DownloadError(f"cannot fetch {source}: {_first_line(error)}") from error
                anew = False  # it goes on where it was cut
            else:
                break
    return Path(path)


def forget_in_hub(path: Path) -> None:
    """Remove a file from the Hub's cache: the name in its snapshot and the bytes that it points to."""
    blob = path.resolve()
    for file in (path, blob):
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)


@contextlib.contextmanager
def _quiet_hub(pace: _Pace) -> Iterator[None]:
    """Keep the library's own warnings off stderr (what matters comes back as an error) and its client to the pace."""
    from huggingface_hub import get_session
    from huggingface_hub.utils import logging as hub_logging

    client, level = get_session(), hub_logging.get_verbosity()
    hooks = client.event_hooks
    client.event_hooks = {name: [*hooks[name], *added] for name, added in pace.hooks.items()}
    hub_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        client.event_hooks = hooks
        hub_logging.set_verbosity(level)


def _relay_to(progress: Progress | None) -> type[Any]:
    """Return a class that stands where the library wants a progress bar and only passes the numbers on."""

    class Relay:
        def __init__(self, *_: object, **facts: object) -> None:
            self._done = int(cast("int", facts.get("initial") or 0))
            self._total = cast("int | None", facts.get("total"))

        def update(self, step: float | None = 1) -> None:
            self._done += int(step or 0)
            if progress is not None:
                progress(self._done, self._total)

        def close(self) -> None:
            """Do nothing: there is no bar to close."""

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            self.close()

    return Relay


@contextlib.contextmanager
def _disk_faults(part: Path) -> Iterator[None]:
    """Turn trouble with the disk into an error that names the file and another place."""
    try:
        yield
    except OSError as error:
        msg = f"cannot write {part}: {error.strerror or error}"
        raise WeightsError(msg, hint="make room, or choose another cache with XDG_CACHE_HOME") from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_local(url: str) -> bool:
    return is_loopback(urlsplit(url).hostname or "")


def _size_of(part: Path) -> int:
    try:
        return part.stat().st_size
    except OSError:
        return 0


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]

"""One file over https: resumed where it was cut, retried a few times, never mistaken for what it is not.

Stage 5, RUN, used by `store` alone; with `hub` the only code that touches the network. What arrives lies in a `.part`
file whose digest the caller checks; here it is made sure that the server sent a file at all (no web page, no error
page) and all of it. The standard library does the talking, so that no HTTP client is a dependency of the core.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from restore_cli._version import __version__
from restore_cli.errors import DownloadError, WeightsError
from restore_cli.weights.entry import MAX_WEIGHTS_BYTES, is_allowed_address, is_loopback

Progress = Callable[[int, int | None], None]
"""Called with the bytes there so far and the bytes expected in all, None where not known."""

_CHUNK_BYTES = 1 << 16
_WORTHWHILE_BYTES = 1 << 20  # an attempt that brought this much does not count as failed: slow lines get through
_PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504}
_NOT_RETRIED = (ConnectionRefusedError, socket.gaierror, ssl.SSLCertVerificationError)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Say how long to wait for a server.

    Attributes:
        timeout_s: Seconds without a single byte before a connection is given up.
        attempts: Failed attempts in a row before the download is given up.
        backoff_s: Seconds before the second attempt; doubled each time.
    """

    timeout_s: float = 20.0
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
        part: Where the bytes gather; left behind when interrupted, so that the next run can go on from there.
        size: Bytes of the whole file, None where not known.
        resume: Join pieces of several answers; only for callers who check a digest afterwards.
        progress: Told of each piece.
        patience: How long to wait and how often to try.

    Returns:
        Whether the file was joined from several pieces.

    Raises:
        DownloadError: If the server cannot be reached, does not have the file or sends something else.
        WeightsError: If `part` cannot be written.
    """
    if not is_allowed_address(url):
        raise DownloadError(f"will not fetch {url}: not an https address")
    patience = patience or Patience()
    failures, joined = 0, False
    while True:
        offset = _size_of(part) if resume else 0
        if size is not None and offset > size:
            offset = 0
        if offset == size:
            return True
        joined = joined or offset > 0
        try:
            with _request(url, offset, patience.timeout_s) as response:
                start, total = _span(response, offset, size, url)
                _copy(response, part, start, total, progress)
        except _InterruptedError as error:
            if error.starts_over:
                part.unlink(missing_ok=True)
            gained = _size_of(part) - offset
            failures = 0 if gained >= _WORTHWHILE_BYTES else failures + 1
            if failures >= patience.attempts:
                raise DownloadError(f"cannot fetch {url}: {error} ({failures} attempts)") from error
            time.sleep(patience.backoff_s * 2 ** max(failures - 1, 0))
        else:
            return joined


class _CarefulRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects to https only; a server of this machine may redirect within this machine."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the request to send next."""
        turns_inward = _is_local(newurl) and not _is_local(req.full_url)
        if turns_inward or not is_allowed_address(newurl):
            fp.close()
            raise DownloadError(f"{req.full_url} redirects to {newurl}, which is no https address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextlib.contextmanager
def _request(url: str, offset: int, timeout_s: float) -> Iterator[http.client.HTTPResponse]:
    """Open a response, whatever goes wrong turned into `_InterruptedError` (try again) or DownloadError."""
    headers = {"User-Agent": f"restore-cli/{__version__}", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  (the scheme was checked)
    opener = urllib.request.build_opener(_CarefulRedirects)
    try:
        response = opener.open(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        answer = f"the server answers {error.code} {_said(error.reason)}"
        out_of_range = error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset > 0
        if error.code in _PASSING_STATUS or out_of_range:
            raise _InterruptedError(answer, starts_over=out_of_range) from error
        raise DownloadError(f"cannot fetch {url}: {answer}") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, _NOT_RETRIED):
            raise DownloadError(f"cannot fetch {url}: {_said(error.reason)}") from error
        raise _InterruptedError(_said(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _InterruptedError(_said(error)) from error
    with response:
        yield response


def _span(response: http.client.HTTPResponse, offset: int, size: int | None, url: str) -> tuple[int, int | None]:
    """Return where the answer's first byte belongs and how long the whole file is, if that is known.

    Raises:
        DownloadError: If the answer cannot be the file.
        _InterruptedError: If it is another part of it.
    """
    if response.headers.get_content_type() in {"text/html", "application/xhtml+xml"}:
        raise DownloadError(f"cannot fetch {url}: the server sends a web page instead of weights")
    start, total = 0, response.length
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        if found is None or int(found[1]) != offset:
            raise _InterruptedError("the server sends another part of the file than was asked for", starts_over=True)
        start, total = offset, None if found[2] == "*" else int(found[2])
    elif response.status != http.HTTPStatus.OK:
        raise DownloadError(f"cannot fetch {url}: the server answers {response.status} {response.reason}")
    if size is not None and total is not None and total != size:
        raise DownloadError(f"cannot fetch {url}: the server offers {total} bytes, the published file has {size}")
    total = size if total is None else total
    if total is not None and total > MAX_WEIGHTS_BYTES:
        raise DownloadError(f"cannot fetch {url}: {total} bytes is more than any weights file has")
    return start, total


def _copy(
    response: http.client.HTTPResponse, part: Path, start: int, total: int | None, progress: Progress | None
) -> None:
    """Append the answer's body to `part`, cut to `start` bytes first, and make sure that it was all."""
    limit = MAX_WEIGHTS_BYTES if total is None else total
    done = start
    with _disk_faults(part), part.open("r+b" if start else "wb") as file:
        file.seek(start)
        file.truncate()
        while chunk := _next_chunk(response):
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


def _next_chunk(response: http.client.HTTPResponse) -> bytes:
    """Return whatever has come, so that a slow line still moves the bar; nothing at the end."""
    try:
        return response.read1(_CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:  # not to be taken for trouble with the disk
        raise _InterruptedError(_said(error)) from error


@contextlib.contextmanager
def _disk_faults(part: Path) -> Iterator[None]:
    """Turn trouble with the disk into an error that names the file and another place."""
    try:
        yield
    except OSError as error:
        msg = f"cannot write {part}: {_said(error)}"
        raise WeightsError(msg, hint="make room, or choose another cache with XDG_CACHE_HOME") from error


def _is_local(url: str) -> bool:
    return is_loopback(urlsplit(url).hostname or "")


def _size_of(part: Path) -> int:
    try:
        return part.stat().st_size
    except OSError:
        return 0


def _said(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "the server sends nothing"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]

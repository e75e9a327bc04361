"""One weights file over https, or of a Hugging Face repository.

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
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast
from urllib.parse import urlsplit

from restore_cli.errors import DownloadError, WeightsError
from restore_cli.storage.web import InterruptionError, Pace, Patience, answer_of, first_line
from restore_cli.weights.entry import MAX_WEIGHTS_BYTES, Source, is_allowed_address, is_loopback

if TYPE_CHECKING:
    import httpx2

Progress = Callable[[int, int | None], None]
"""Called with the bytes there so far and the bytes expected in all, None where not known."""

_WORTHWHILE_BYTES = 1 << 20  # an attempt that brought this much does not count as failed: slow lines get through
_HUB_ATTEMPTS = 3


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
        progress: Called with each piece.
        patience: How long to wait and how often to try.

    Returns:
        Whether the file was joined from several pieces.

    Raises:
        DownloadError: If the server cannot be reached, is too slow, does not have the file or sends something else.
        WeightsError: If `part` cannot be written.
    """
    patience = patience or Patience()
    with Pace(patience, MAX_WEIGHTS_BYTES) as pace:
        try:
            return _download(url, part, size, resume, progress, pace)
        except DownloadError as error:
            if not (resume and isinstance(error.__cause__, InterruptionError)):
                part.unlink(missing_ok=True)
            raise


def _download(url: str, part: Path, size: int | None, resume: bool, progress: Progress | None, pace: Pace) -> bool:
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
            with answer_of(url, pace, permits=lambda target: _is_permitted(target, url), offset=offset) as response:
                start, total = _span(response, offset, size, url)
                _copy(response, part, start, total, progress)
        except InterruptionError as error:
            if error.starts_over:
                part.unlink(missing_ok=True)
            gained = _size_of(part) - offset
            failures = 0 if gained >= _WORTHWHILE_BYTES else failures + 1
            if failures >= patience.attempts or pace.is_over:
                raise DownloadError(f"cannot fetch {url}: {error} ({failures} attempts)") from error
            time.sleep(patience.backoff_s * 2 ** max(failures - 1, 0))
        else:
            return joined


def _is_permitted(target: str, url: str) -> bool:
    """Return whether an address stays on https; a server of this machine may redirect within this machine."""
    turns_inward = _is_local(target) and not _is_local(url)
    return not turns_inward and is_allowed_address(target)


def _span(response: httpx2.Response, offset: int, size: int | None, url: str) -> tuple[int, int | None]:
    """Return where the answer's first byte belongs and how long the whole file is, if that is known.

    Raises:
        DownloadError: If the answer cannot be the file.
        InterruptionError: If it is another part of it.
    """
    head = response.headers
    if head.get("Content-Type", "").partition(";")[0].strip().lower() in {"text/html", "application/xhtml+xml"}:
        raise DownloadError(f"cannot fetch {url}: the server sends a web page instead of weights")
    length = head.get("Content-Length", "")
    start, total = 0, int(length) if length.isdecimal() else None
    if response.status_code == HTTPStatus.PARTIAL_CONTENT:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", head.get("Content-Range", "").strip())
        if found is None or int(found[1]) != offset:
            raise InterruptionError("the server sends another part of the file than was asked for", starts_over=True)
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
        raise InterruptionError(f"the connection ended after {done} of {total} bytes")


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
        progress: Called with each piece.
        anew: Fetch it even if the cache has it.
        patience: How long to wait.

    Raises:
        DownloadError: If the Hub cannot be reached, is too slow, or does not have it.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    with Pace(patience or Patience(), MAX_WEIGHTS_BYTES) as pace, _quiet_hub(pace):
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
                    raise DownloadError(f"cannot fetch {source}: {first_line(error)}") from error
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
def _quiet_hub(pace: Pace) -> Iterator[None]:
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


def _is_local(url: str) -> bool:
    return is_loopback(urlsplit(url).hostname or "")


def _size_of(part: Path) -> int:
    try:
        return part.stat().st_size
    except OSError:
        return 0

"""One file of a Hugging Face repository, through its own library and its own cache (HF_HOME's rules).

Stage 5, RUN, used by `store` alone; with `download` the only code that touches the network. huggingface_hub is imported
when a file is asked for: it takes a quarter of a second, and most runs need none of it. It checks sizes, not digests:
the caller checks those.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self, cast

from restore_cli.errors import DownloadError
from restore_cli.weights.entry import Source

_ATTEMPTS = 3  # older releases give up at the first cut, but go on from there when called again


def cached(source: Source) -> Path | None:
    """Return where the Hub's cache has the file of that very commit, None where it has not."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(str(source.repo), str(source.filename), revision=source.revision)
    return Path(found) if isinstance(found, str) else None


def download(source: Source, *, progress: Callable[[int, int | None], None] | None, anew: bool = False) -> Path:
    """Fetch a file into the Hub's cache and return where it lies.

    Args:
        source: Which file of which commit.
        progress: Told of each piece.
        anew: Fetch it even if the cache has it.

    Raises:
        DownloadError: If the Hub cannot be reached or does not have it.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    for left in reversed(range(_ATTEMPTS)):
        try:
            with _quiet_hub():
                path = hf_hub_download(
                    str(source.repo),
                    str(source.filename),
                    revision=source.revision,
                    force_download=anew,
                    tqdm_class=_relay_to(progress),
                )
        except Exception as error:  # the library's errors, its HTTP client's (which depends on its version), OSError
            if left == 0 or isinstance(error, HfHubHTTPError):
                raise DownloadError(f"cannot fetch {source}: {_said(error)}") from error
            anew = False
        else:
            break
    return Path(path)


def forget(path: Path) -> None:
    """Remove a file from the Hub's cache: the name in its snapshot and the bytes that it points to."""
    blob = path.resolve()
    for file in (path, blob):
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)


@contextlib.contextmanager
def _quiet_hub() -> Iterator[None]:
    """Keep the library's own warnings off stderr; what matters comes back as an error."""
    from huggingface_hub.utils import logging as hub_logging

    before = hub_logging.get_verbosity()
    hub_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        hub_logging.set_verbosity(before)


def _relay_to(progress: Callable[[int, int | None], None] | None) -> type[Any]:
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


def _said(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]

"""Images that lie at an https address or in a bucket: which a word of the command line means, and its bytes.

Stages 2, PLAN, and 3, READ. An address may come from anybody's list, and the program may run where more can be reached
than from outside; so without leave it is followed to addresses of the internet alone, wherever redirects lead.
"""

from __future__ import annotations

import itertools
import threading
from array import array
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from restore_cli.errors import DecodeError, DownloadError, UsageError
from restore_cli.jobs.bucket_results import print_of_tag
from restore_cli.jobs.sources import Found, ImageSource, Selection
from restore_cli.storage.buckets import listed, read_object
from restore_cli.storage.files import is_in_bucket
from restore_cli.storage.web import Patience, fetch_bytes, require_public

MOST_BYTES = 1 << 30
"""No image is fetched that is longer, nor are weights."""

_PATIENCE = Patience(answer_s=30.0, total_s=600.0, attempts=3)


def source_at(url: str, *, allow_private: bool) -> ImageSource:
    """Return the image at an address; nothing is asked for yet.

    Args:
        url: The address.
        allow_private: Let it lead into private networks, and over http.

    Raises:
        UsageError: If it is none, holds a password, has no file's name, or is not https.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"{url} is no address: {error}") from error
    if not host:
        raise UsageError(f"{url} is no address: it names no host")
    if parts.username is not None or parts.password is not None:
        msg = f"the address of {host} holds a name or password, which reports would show"
        raise UsageError(msg, hint="fetch the image yourself and pipe it in as -")
    if not _may_be_asked(url, allow_private=allow_private):
        raise UsageError(f"{url} is no https address", hint="say https, or --allow-private for http too")
    name = PurePosixPath(unquote(parts.path)).name.lstrip(".").replace("\\", "_").replace("\0", "_")
    if not name:
        raise UsageError(f"{url} names no file that the result could be called after", hint="say -o FILE")
    # No such folder is likely: what lies at an address is nobody's file here.
    path = Path(parts.scheme + ":") / parts.netloc / parts.path.strip("/")
    return ImageSource(path=path.with_name(name), root=path.with_name(name), inner=name, url=url)


def found_in_bucket(url: str, selection: Selection) -> tuple[Found, ...]:
    """Return the images in a bucket that an input means: one object by its name, else those of a folder.

    Raises:
        UsageError: If there are none.
        StorageError: If the folder cannot be listed.
    """
    root = Path(url)
    if root.suffix.lower() in selection.suffixes and not url.endswith("/"):
        return (Found(root=root, url=url),) if selection.takes(root.name) else ()
    inners, tags = [], array("Q")
    for one in listed(url, recursive=selection.recursive):
        if _is_image(one.name, selection):
            inners.append(one.name)
            tags.append(print_of_tag(one.tag))
    if not inners:
        raise UsageError(f"no images in {url}", hint="look at its name; -r takes folders below it too")
    if any(one > next_one for one, next_one in itertools.pairwise(inners)):  # S3 lists them in order
        order = sorted(range(len(inners)), key=inners.__getitem__)
        inners, tags = [inners[index] for index in order], array("Q", (tags[index] for index in order))
    return (Found(root=root, url=url, inners=inners, tags=tags),)


def _is_image(inner: str, selection: Selection) -> bool:
    path = PurePosixPath(inner)
    is_safe = str(path) == inner and not any(part.startswith(".") for part in path.parts)
    is_called_image = path.suffix.lower() in selection.suffixes and selection.takes(inner)
    return is_safe and is_called_image and not any(selection.leaves_out(str(folder)) for folder in path.parents)


def fetch_image(url: str, *, allow_private: bool, stop: threading.Event) -> tuple[bytes, str | None]:
    """Return the bytes that lie at an address, and the tag of this state of them where it is in a bucket.

    Args:
        url: The address.
        allow_private: As in `source_at`.
        stop: Set it to leave the download.

    Raises:
        DecodeError: If they cannot be had.
        StorageError: If a bucket cannot be read.
    """
    if is_in_bucket(url):
        return read_object(url, MOST_BYTES)
    try:
        data = fetch_bytes(
            url,
            most_bytes=MOST_BYTES,
            permits=lambda target: _may_be_asked(target, allow_private=allow_private),
            refuse=None if allow_private else require_public,
            patience=_PATIENCE,
            stop=stop,
        )
    except DownloadError as error:
        raise DecodeError(error.message, hint=error.hint) from error
    return data, None


def _may_be_asked(url: str, *, allow_private: bool) -> bool:
    scheme = urlsplit(url).scheme.lower()
    return scheme == "https" or (allow_private and scheme == "http")

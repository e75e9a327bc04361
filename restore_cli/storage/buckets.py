"""Objects in S3, Google Cloud Storage and Azure: listed, read, and put where there is none.

Stages 2, PLAN, 3, READ, and 7, WRITE, through obstore, which finds credentials and endpoints in environment variables
and in the machine's role. A result is put in one piece, and only where nothing lies: of several writers of one name one
wins. What it was made of travels as the object's metadata, and so does a name of the put itself, by which a put whose
answer was lost is known again. Faults that only its owner can mend are one line and end a run; obstore has tried again
by then.
"""

from __future__ import annotations

import functools
import itertools
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from restore_cli.errors import DecodeError, StorageError, TargetExistsError, UsageError

_PROBE = ".restore-probe"
_PUT = "restore-put"
_OBJECTS_AT_ONCE = 1000
_RETRIES: Any = {"max_retries": 6, "retry_timeout": timedelta(seconds=120)}
# Over http only where the user's own endpoint says so: a server beside the machine.
_PATIENCE: Any = {"connect_timeout": "10s", "timeout": "300s", "allow_http": True}
_SAID_BY_SERVERS = re.compile(r"<Code>([^<]*)</Code>\s*<Message>([^<]*)</Message>")


class Listed(NamedTuple):
    """An object of a folder: its name there, what names this very state of it, and when it was put."""

    name: str
    tag: str | None
    modified: datetime


@dataclass(frozen=True, kw_only=True)
class Found:
    """An object that is there: its metadata, what names this very state of it, and what its server calls it."""

    metadata: Mapping[str, str]
    tag: str | None
    state: Mapping[str, str]


def listed(url: str, *, recursive: bool) -> Iterator[Listed]:
    """Yield the objects below a folder, as the server lists them: piece by piece where it is `recursive`.

    Raises:
        StorageError: If it cannot be listed.
    """
    obstore, store, key = _opened(url)
    prefix = f"{key.rstrip('/')}/" if key else ""
    with _faults(url):
        if recursive:
            chunks = obstore.list(store, prefix or None, chunk_size=_OBJECTS_AT_ONCE)
        else:
            chunks = (obstore.list_with_delimiter(store, prefix or None)["objects"],)
        for one in itertools.chain.from_iterable(chunks):
            name = str(one["path"])[len(prefix) :]
            yield Listed(name=name, tag=_bare(one["e_tag"]), modified=one["last_modified"])


def read_object(url: str, most_bytes: int) -> tuple[bytes, str | None]:
    """Return the bytes of an object, and what names this very state of it.

    Raises:
        DecodeError: If there is none, or it is longer than `most_bytes`.
        StorageError: If it cannot be read.
    """
    obstore, store, key = _opened(url)
    with _faults(url, is_input=True):
        answer = obstore.get(store, key)
        if answer.meta["size"] > most_bytes:
            raise DecodeError(f"{url}: {answer.meta['size']} bytes is more than {most_bytes >> 20} MiB")
        return bytes(answer.bytes()), _bare(answer.meta["e_tag"])


def find_object(url: str) -> Found | None:
    """Return what is known of an object, None where there is none.

    Raises:
        StorageError: If that cannot be told.
    """
    obstore, store, key = _opened(url)
    with _faults(url):
        try:
            answer = obstore.get(store, key, options={"head": True})
        except FileNotFoundError as error:
            if _SAID_BY_SERVERS.search(str(error)) and "NoSuchKey" not in str(error):
                raise
            return None
        metadata = {str(name).replace("_", "-"): str(value) for name, value in answer.attributes.items()}
        # Google asks for the version where only this state is to be replaced, the others for the tag.
        facts = {"e_tag": answer.meta["e_tag"], "version": answer.meta["version"]}
        state = {name: fact for name, fact in facts.items() if fact is not None}
        return Found(metadata=metadata, tag=_bare(answer.meta["e_tag"]), state=state)


def put_object(
    url: str,
    data: bytes,
    metadata: Mapping[str, str],
    *,
    overwrite: bool = False,
    replaces: Mapping[str, str] | None = None,
) -> str | None:
    """Put an object, whole, and return what names this very state of it.

    Args:
        url: Where.
        data: Its bytes.
        metadata: What is to be known of it.
        overwrite: Replace whatever is there.
        replaces: Replace only what is in this `state`; None for nothing that is there.

    Raises:
        TargetExistsError: If something else is there.
        StorageError: If it cannot be written.
    """
    obstore, store, key = _opened(url)
    mode: Any = "overwrite" if overwrite else "create" if replaces is None else dict(replaces)
    this_put = secrets.token_hex(8)
    attributes = {**metadata, _PUT: this_put}
    if url.lower().startswith("az://"):  # where names of metadata are those of C#
        attributes = {name.replace("-", "_"): value for name, value in attributes.items()}
    with _faults(url):
        try:
            answer = obstore.put(store, key, data, attributes=attributes, mode=mode, use_multipart=False)
        except (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError) as error:
            # Where the answer to a put was lost, obstore puts again, and meets with what we have put.
            found = find_object(url)
            if found is None or found.metadata.get(_PUT) != this_put:
                raise TargetExistsError(f"{url}: it exists already") from error
            return found.tag
    return _bare(answer["e_tag"])


def delete_object(url: str) -> None:
    """Delete an object of ours, if it is still there.

    Raises:
        StorageError: If it cannot be deleted.
    """
    obstore, store, key = _opened(url)
    with _faults(url), suppress(FileNotFoundError):
        obstore.delete(store, key)


def require_bucket(url: str) -> None:
    """Make sure that a folder can be written to and keeps what is there: some servers put over it whatever is asked.

    Raises:
        StorageError: If not.
    """
    probe = f"{url.rstrip('/')}/{_PROBE}-{secrets.token_hex(8)}"  # other machines may begin at this moment
    put_object(probe, b"", {}, overwrite=True)
    try:
        put_object(probe, b"", {})
    except TargetExistsError:
        return
    finally:
        with suppress(StorageError):  # some may put, and not delete
            delete_object(probe)
    msg = f"{url}: its server ignores If-None-Match, so that writers would put over each other's results"
    raise StorageError(msg, hint="write to a folder, or to a newer server")


@functools.lru_cache(maxsize=16)
def _store(bucket: str) -> tuple[Any, Any]:
    try:
        import obstore
        import obstore.exceptions
        from obstore.store import from_url
    except ImportError as error:
        msg = f"{bucket} needs obstore"
        raise UsageError(msg, hint="pip install 'restore-cli[cloud]'") from error
    with _faults(bucket):
        return obstore, from_url(bucket, retry_config=_RETRIES, client_options=_PATIENCE)


def _opened(url: str) -> tuple[Any, Any, str]:
    """Return the library, the bucket of an address, and the key in it."""
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    if not bucket:
        raise UsageError(f"{url} names no bucket")
    return (*_store(f"{scheme.lower()}://{bucket}"), key)


@contextmanager
def _faults(url: str, *, is_input: bool = False) -> Iterator[None]:
    """Turn the library's errors, which are many lines and no OSErrors, into one line."""
    try:
        yield
    except (DecodeError, StorageError, TargetExistsError, UsageError):
        raise
    except Exception as error:  # its classes have no common base that says what they are
        said = _SAID_BY_SERVERS.search(str(error))
        code = said[1] if said else ""
        if isinstance(error, FileNotFoundError) and is_input and code in {"", "NoSuchKey", "BlobNotFound"}:
            raise DecodeError(f"{url}: there is no such object", hint="look at its name") from error
        reason = f"{said[1]}, {said[2].splitlines()[0]}" if said and said[2] else _reason(error)
        msg = f"{url}: {reason.rstrip('.')}"
        raise StorageError(msg, hint="look at the bucket's name, credentials and endpoint, then --resume") from error


def _bare(e_tag: str | None) -> str | None:
    """Return a tag without its quotes, which some servers leave out in listings."""
    return None if e_tag is None else e_tag.strip('"')


def _reason(error: Exception) -> str:
    """Return the last part of what the library says, which is the cause."""
    line = " ".join(str(error).split("\n\nDebug source")[0].split())
    return (line.rpartition(" - ")[2] or type(error).__name__)[:200]

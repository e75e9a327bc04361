"""Results that go to buckets: put once, with their proof in the object's metadata, where folders have a ledger.

Stages 2, PLAN, and 7, WRITE. The proof has what a line of a ledger has. An object is asked for it when its image's turn
comes, once the image has been read; nothing is listed, locked or appended to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from restore_cli.errors import TargetExistsError
from restore_cli.jobs.ledger import Origin, digest_of_bytes
from restore_cli.storage.buckets import find_object, put_object

_INPUT, _WEIGHTS, _OPTIONS = "restore-input", "restore-weights", "restore-options"
_VERSION, _OUTPUT = "restore-version", "restore-output"


def url_of(path: Path) -> str:
    """Return the address that a path stands for, as planning keeps it: "s3:/bucket/key".

    Example:
        >>> url_of(Path("s3://bucket/out/a.png"))
        's3://bucket/out/a.png'
    """
    scheme, _, rest = path.as_posix().partition(":/")
    return f"{scheme}://{rest}"


def is_proved(target: Path, origins: Iterable[Origin], input_digest: str) -> bool:
    """Return whether the object at a target was made of an input by one of some origins.

    Raises:
        StorageError: If it cannot be asked.
    """
    found = find_object(url_of(target))
    return found is not None and any(
        _facts(origin, input_digest).items() <= found.metadata.items() for origin in origins
    )


def publish_in_bucket(
    data: bytes, target: Path, proof: tuple[Origin, str] | None, *, overwrite: bool, resume: bool
) -> None:
    """Put a result.

    Args:
        data: Its bytes.
        target: Where.
        proof: What it was made with, and the digest of its input.
        overwrite: Replace whatever is there.
        resume: Replace what is ours and was made otherwise.

    Raises:
        TargetExistsError: If something is there that may not be replaced, or is this very result.
        StorageError: If it cannot be written.
    """
    url = url_of(target)
    known = {} if proof is None else {**_facts(*proof), _OUTPUT: digest_of_bytes(data)}
    try:
        put_object(url, data, known, overwrite=overwrite)
    except TargetExistsError:
        found = find_object(url) if resume else None
        if found is None or not _is_ours(found.metadata) or known.items() <= found.metadata.items():
            raise
        put_object(url, data, known, replaces=found.e_tag)


def _facts(origin: Origin, input_digest: str) -> dict[str, str]:
    return {
        _INPUT: input_digest,
        _WEIGHTS: origin.weights,
        _OPTIONS: origin.options,
        _VERSION: origin.version,
    }


def _is_ours(metadata: Collection[str]) -> bool:
    return _INPUT in metadata and _OUTPUT in metadata

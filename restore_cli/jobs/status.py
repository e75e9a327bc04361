"""How far a batch is, told from its output folder alone: what is done, what failed, what was begun and never finished.

Stage 2, PLAN, for people and for schedulers: any machine that sees the folder may ask, while others work on it. The
ledger's word is taken; whether results are still what it says is `--resume`'s business.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from restore_cli.errors import UsageError
from restore_cli.jobs.attempts import ATTEMPTS_NAME, Attempts
from restore_cli.jobs.bucket_attempts import BucketAttempts
from restore_cli.jobs.bucket_results import Parts, url_of
from restore_cli.jobs.ledger import LEDGER_NAME, Ledger
from restore_cli.jobs.prints import Prints
from restore_cli.storage.files import is_in_bucket


@dataclass(frozen=True, kw_only=True)
class FolderStatus:
    """What the ledger of an output folder says.

    Attributes:
        done: How many images have a result.
        failures: Why the others failed, by the names of their results below the folder.
        begun: Names of results that were begun and not finished: in hand now, or their process was ended.
    """

    done: int
    failures: dict[str, str]
    begun: tuple[str, ...]


def status_of(place: str) -> FolderStatus:
    """Read how far the images of an output folder are, which may lie in a bucket.

    An image counts once: as what was said of it last, and as begun only if it is neither done nor failed for good.
    In a bucket images are begun several together.

    Raises:
        UsageError: If there is no ledger.
        StorageError: If it cannot be read.
    """
    folder = Path(place)
    ledger: Ledger | Parts
    attempts: Attempts | BucketAttempts
    if is_in_bucket(place):
        ledger, attempts = Parts(folder), BucketAttempts(url_of(folder))
    else:
        ledger, attempts = Ledger(folder), Attempts(folder)
    found = _counted(ledger.outcomes())
    attempts.read()
    for name, attempt in attempts.open.items():
        if found.is_done(name):
            continue
        if attempt.ended_its_process:
            found.failures[name] = "it ended its process twice"
        else:
            found.failures.pop(name, None)
            found.begun.append(name)
    has_ledger = found.written or found.failures or found.begun
    if not has_ledger and not os.path.lexists(folder / LEDGER_NAME) and not os.path.lexists(folder / ATTEMPTS_NAME):
        raise UsageError(f"{place} has no ledger", hint="name the output folder of a batch")
    return FolderStatus(done=found.done, failures=found.failures, begun=tuple(found.begun))


@dataclass(kw_only=True)
class _Counted:
    """What was said last of each image; of those that are done only prints are held, for there may be millions."""

    written: int = 0
    prints: Prints = field(default_factory=Prints)
    failures: dict[str, str] = field(default_factory=dict)
    begun: list[str] = field(default_factory=list)

    def is_done(self, name: str) -> bool:
        """Return whether an image was written, and nothing else was said of it since."""
        return name not in self.failures and name in self.prints

    @property
    def done(self) -> int:
        """Return how many images are done."""
        return self.written - sum(name in self.prints for name in (*self.failures, *self.begun))


def _counted(outcomes: Iterable[tuple[str, str | None]]) -> _Counted:
    found = _Counted()
    for name, error in outcomes:
        if error is not None:
            found.failures[name] = error
        else:
            found.failures.pop(name, None)
            found.written += not found.prints.add(name)
    return found

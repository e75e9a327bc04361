"""How far a batch is, told from its output folder alone: what is done, what failed, what was begun and never finished.

Stage 2, PLAN, for people and for schedulers: any machine that sees the folder may ask, while others work on it. The
ledger's word is taken; whether results are still what it says is `--resume`'s business.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from restore_cli.errors import UsageError
from restore_cli.jobs.attempts import ATTEMPTS_NAME, Attempts
from restore_cli.jobs.bucket_results import Parts
from restore_cli.jobs.ledger import LEDGER_NAME, Ledger
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
    In a bucket nothing is said of those that were begun.

    Raises:
        UsageError: If there is no ledger.
        StorageError: If it cannot be read.
    """
    folder = Path(place)
    if is_in_bucket(place):
        outcomes = dict(Parts(folder).outcomes())
        if not outcomes:
            raise UsageError(f"{place} has no ledger", hint="name the output folder of a batch")
        return _counted(outcomes, [])
    if not any(os.path.lexists(folder / name) for name in (LEDGER_NAME, ATTEMPTS_NAME)):
        raise UsageError(f"{folder} has no ledger", hint="name the output folder of a batch")
    ledger, attempts = Ledger(folder), Attempts(folder)
    outcomes = dict(ledger.outcomes())
    attempts.read()
    begun = []
    for name, attempt in attempts.open.items():
        if name in outcomes and outcomes[name] is None:
            continue
        if attempt.ended_its_process:
            outcomes[name] = "it ended its process twice"
        else:
            outcomes.pop(name, None)
            begun.append(name)
    return _counted(outcomes, begun)


def _counted(outcomes: dict[str, str | None], begun: list[str]) -> FolderStatus:
    failures = {name: error for name, error in outcomes.items() if error is not None}
    return FolderStatus(done=len(outcomes) - len(failures), failures=failures, begun=tuple(begun))

"""What of a plan is done already, proved by the ledgers of its output folders.

Stage 2, PLAN, for `--resume`, and asked again by the pipeline at each image's turn, since other processes may work on
the same folder. Loads no torch: a run that finds everything done ends before the network is built.
"""

from __future__ import annotations

import contextlib
import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from restore_cli._version import __version__
from restore_cli.errors import ImageError, RestoreError
from restore_cli.jobs.attempts import Attempts, DeadlyImageError
from restore_cli.jobs.bucket_attempts import BucketAttempts
from restore_cli.jobs.bucket_results import Parts, proof_of, url_of
from restore_cli.jobs.ledger import Ledger, Origin, digest_of_bytes, digest_of_file, digest_of_views
from restore_cli.jobs.plan import JobPlan
from restore_cli.jobs.targets import ImageJob, JobResult, Place, one_a_folder, picked, places
from restore_cli.storage.files import make_folder
from restore_cli.weights.entry import WeightsEntry

# They change how fast an image is restored, or rounding far below a level of 8 bits, but not what is requested: a
# batch may be resumed on another machine.
_SETTINGS_OF_THE_MACHINE = {"device", "threads", "compile", "share"}
_SETTINGS_OF_THE_RUN = {"existing", "resume", "keep_times"}


class Ledgers:
    """The ledgers of a plan's output folders, and whether they prove an image done.

    Args:
        origins: What results are made with, one for each network that an image of the plan can get. Which one it gets
            depends on nothing but its bytes and the options, both of which a line holds; so any of them proves it.
        ledgers: Those that were read before, by their folders.
    """

    def __init__(self, origins: Iterable[Origin] = (), ledgers: Mapping[Path, Ledger] | None = None) -> None:
        self._origins = set(origins)
        self._ledgers = dict(ledgers or {})
        self._parts: dict[Path, Parts] = {}
        self._attempts: dict[Path, Attempts | BucketAttempts] = {}
        self._begun: set[Path] = set()

    def accept(self, origin: Origin) -> None:
        """Take results of one more origin for proved."""
        self._origins.add(origin)

    def of(self, job: ImageJob) -> Ledger | None:
        """Return the ledger a job's result is written down in, None for none."""
        return None if job.home is None else self._ledger(job.home)

    def read(self, jobs: Sequence[ImageJob]) -> None:
        """Take in all ledgers of some jobs.

        Raises:
            StorageError: If one cannot be read.
        """
        for home in dict.fromkeys(job.home for job in one_a_folder(jobs)):
            if home is not None:
                self._ledger(home).read()
        for job in {job.bucket: job for job in one_a_folder(jobs)}.values():
            if (parts := self._parts_of(job)) is not None:
                parts.read(self._origins)

    def claim(self, job: ImageJob, *, create: bool) -> bool:
        """Take a job for this process, unless another living one has it.

        Args:
            job: An image of the plan.
            create: Make the folder and its ledger if need be, so that other processes see the claim; and take in what
                they have written, for `prove`.

        Raises:
            ImageError: If the folder cannot be made under its name.
            StorageError: If it cannot be made, or the ledger cannot be opened.
        """
        ledger = self.of(job)
        if ledger is None:
            return True
        if not create or job.home is None:
            return ledger.claim(job.target, create=False)
        make_folder(job.home, like=job.repeats(job.home))
        claimed = ledger.claim(job.target, create=True)
        if claimed:
            ledger.read()
        return claimed

    def release(self, job: ImageJob) -> None:
        """Let go of a claim, if there is one."""
        ledger = self.of(job)
        if ledger is not None:
            ledger.release(job.target)

    def know(self, job: ImageJob) -> bool:
        """Return whether a job's result was ever written, so that what lies there is ours to replace."""
        ledger = self.of(job)
        return ledger is not None and ledger.knows(job.target)

    def prove(self, job: ImageJob, input_digest: str | None = None, tag: str | None = None) -> bool:
        """Return whether a job's result is there, whole, and made of this very input in this very way.

        Args:
            job: An image of the plan.
            input_digest: Digest of its source, if it is known already.
            tag: What its bucket calls the state of the source that has this digest.
        """
        if (parts := self._parts_of(job)) is not None:
            return self._prove_in_bucket(job, parts, input_digest, tag)
        ledger = self.of(job)
        if ledger is None or not ledger.knows(job.target):
            return False
        digest = _digest_of_input(job) if input_digest is None else input_digest
        if job.is_in_place and job.right is not None:
            digest = digest_of_file(job.source)  # alone: it is the result that is looked for
        if digest is None:
            return False
        return ledger.proves(job.target, self._origins_now(), digest, in_place=job.is_in_place)

    def prove_file(self, place: Place) -> bool:
        """Return the same as `prove` of an image that is one file and whose result is another, without its job."""
        if place.home is None or place.source is None:
            return False
        ledger = self._ledger(place.home)
        if not ledger.knows(place.target):
            return False
        digest = digest_of_file(place.source)
        return digest is not None and ledger.proves(place.target, self._origins_now(), digest)

    def _origins_now(self) -> tuple[Origin, ...]:
        return tuple(self._origins)  # another thread may add one

    def _prove_in_bucket(self, job: ImageJob, parts: Parts, input_digest: str | None, tag: str | None) -> bool:
        """Ask the parts; and the object itself once its image was read, since a million are not asked for nothing."""
        origins = self._origins_now()
        if input_digest is None:
            given = job.tag if job.right is None else 0
            found = given or (_digest_of_input(job) if job.file is not None else None) or 0
            return any(parts.proves(job.target, origin, found) for origin in origins)
        proof = proof_of(job.target, origins, input_digest)
        if proof is None:
            return False
        origin, output, output_tag = proof
        parts.add(job.target, origin, input_digest=input_digest, output_digest=output, tags=(tag, output_tag))
        return True

    def write_down_in_bucket(
        self,
        job: ImageJob,
        origin: Origin,
        *,
        input_digest: str,
        output_digest: str,
        tags: tuple[str | None, str | None],
    ) -> None:
        """Write down a result that was put; as `Parts.add`."""
        if (parts := self._parts_of(job)) is not None:
            parts.add(job.target, origin, input_digest=input_digest, output_digest=output_digest, tags=tags)

    def write_down(self, job: ImageJob, origin: Origin, *, input_digest: str, output_digest: str) -> None:
        """Tell the ledger of a result that is about to get its name.

        Args:
            job: An image of the plan.
            origin: What its result was made with.
            input_digest: Digest of the source's bytes.
            output_digest: Digest of the result's bytes.

        Raises:
            StorageError: If the ledger cannot be written.
        """
        ledger = self.of(job)
        if ledger is not None:
            # In place the input is about to be lost, and a lost line would have its result restored once more.
            ledger.add(job.target, origin, input_digest=input_digest, output_digest=output_digest, sync=job.is_in_place)

    def read_attempts(self, jobs: Sequence[ImageJob]) -> None:
        """Take in which images of some jobs were begun and not finished.

        Raises:
            StorageError: If that cannot be read.
        """
        for attempts in dict.fromkeys(self._attempts_of(job) for job in one_a_folder(jobs)):
            if attempts is not None:
                attempts.read()
            if isinstance(attempts, BucketAttempts):
                attempts.expect(self._names_at(attempts, jobs))

    def refuse_deadly(self, job: ImageJob, input_digest: str) -> None:
        """Refuse an image that has ended its process as often as it may.

        Raises:
            DeadlyImageError: If it has.
        """
        attempts = self._attempts_of(job)
        if attempts is None or not attempts.ended_twice(self._name_of(job), input_digest):
            return
        msg = f"{job.source_name}: it ended its process twice"
        raise DeadlyImageError(msg, hint="say --retry-failed to try it once more")

    def begin(self, job: ImageJob, input_digest: str) -> None:
        """Write down that an image is begun, unless that is done.

        Raises:
            ImageError: If its folder cannot be made under its name.
            StorageError: If it cannot be written down.
        """
        attempts = self._attempts_of(job)
        if attempts is None or job.target in self._begun:
            return
        if job.home is not None:
            make_folder(job.home, like=job.repeats(job.home))
        attempts.begin(self._name_of(job), input_digest)
        self._begun.add(job.target)

    def strike_out(self, job: ImageJob, input_digest: str) -> None:
        """Write down that an image has not ended the process; trouble is passed over, since that is no fault of it."""
        attempts = self._attempts_of(job)
        if attempts is None:
            return
        name = self._name_of(job)
        if job.target in self._begun or attempts.is_open(name):
            self._begun.discard(job.target)
            with contextlib.suppress(RestoreError):
                attempts.end(name, input_digest)

    def end(self, job: ImageJob, input_digest: str, result: JobResult) -> None:
        """Write down what became of an image; trouble is passed over, since its result is settled.

        Args:
            job: An image of the plan.
            input_digest: Digest of its source, "" where it could not be read.
            result: What became of it.
        """
        if isinstance(result.error, DeadlyImageError):
            return
        if (parts := self._parts_of(job)) is not None and isinstance(result.error, ImageError):
            with contextlib.suppress(RestoreError):
                parts.add_failure(job.target, str(result.error), input_digest=input_digest)
        if result.status != "stopped" or job.target in self._begun:
            self.strike_out(job, input_digest)
        ledger = self.of(job)
        if isinstance(result.error, ImageError) and ledger is not None and job.home is not None and job.home.is_dir():
            with contextlib.suppress(RestoreError):
                ledger.add_failure(job.target, str(result.error), input_digest=input_digest)

    def close(self) -> None:
        """Let go of what tells which images were begun, and put what is not yet in a part of a bucket's ledger."""
        for attempts in self._attempts.values():
            with contextlib.suppress(RestoreError):  # a name too many costs an image its company, no more
                attempts.close()
        for parts in self._parts.values():
            with contextlib.suppress(RestoreError):  # results prove themselves, only more slowly
                parts.flush()

    def _ledger(self, home: Path) -> Ledger:
        if home not in self._ledgers:
            self._ledgers[home] = Ledger(home)
        return self._ledgers[home]

    def _parts_of(self, job: ImageJob) -> Parts | None:
        if job.bucket is None:
            return None
        if job.bucket not in self._parts:
            self._parts[job.bucket] = Parts(job.bucket)
        return self._parts[job.bucket]

    def _attempts_of(self, job: ImageJob) -> Attempts | BucketAttempts | None:
        place = job.home or job.bucket
        if place is None:
            return None
        if place not in self._attempts:
            self._attempts[place] = Attempts(place) if job.bucket is None else BucketAttempts(url_of(place))
        return self._attempts[place]

    def _names_at(self, attempts: BucketAttempts, jobs: Sequence[ImageJob]) -> Iterator[str]:
        return (self._name_of(job) for job in jobs if self._attempts_of(job) is attempts)

    def _name_of(self, job: ImageJob) -> str:
        """Return what a job's result is called in the ledger."""
        named = self.of(job) or self._parts_of(job)
        return str(job.target) if named is None else named.name_of(job.target)


def _digest_of_input(job: ImageJob) -> str | None:
    """Return the digest of what a job reads, None where that cannot be read."""
    digest = digest_of_file(job.source)
    right = None if job.right is None else digest_of_file(job.right)
    if digest is None or job.right is None:
        return digest
    return None if right is None else digest_of_views(digest, right)


def origin_of(plan: JobPlan, entry: WeightsEntry, weights_digest: str, *, by_image: bool = False) -> Origin:
    """Return what results of a plan depend on besides their inputs.

    Args:
        plan: What is to be done.
        entry: The entry of the weights they are made with.
        weights_digest: Digest of the weights file's bytes.
        by_image: The images themselves chose among several weights. That is an option of its own: a gray image that
            was restored with weights named outright is not what is asked for here.
    """
    run = {name: setting for name, setting in asdict(plan.run).items() if name not in _SETTINGS_OF_THE_MACHINE}
    if plan.run.sigma is None:
        del run["sigma"]  # ledgers written before networks took a level stay valid
    if plan.run.strength == 1.0:
        del run["strength"]  # likewise
    read = asdict(plan.read)
    if not plan.read.all_pages:
        del read["all_pages"]  # likewise
    request: dict[str, object] = {
        "task": plan.task,
        "config": entry.config,
        "read": read,
        "run": run,
        "allow_damaged": plan.read.allow_damaged,
        "write": {name: setting for name, setting in asdict(plan.write).items() if name not in _SETTINGS_OF_THE_RUN},
    }
    if by_image:
        request["weights"] = {"gray": plan.weights.gray, "sigma": plan.weights.sigma}
    options = digest_of_bytes(json.dumps(request, sort_keys=True, default=str).encode())
    steps = tuple(entry.config.get("steps", ()))
    return Origin(weights=weights_digest, options=options, version=__version__, steps=steps)


def split_done(jobs: Sequence[ImageJob], ledgers: Ledgers) -> tuple[Sequence[ImageJob], Sequence[ImageJob]]:
    """Return the jobs that are still to be done and those that are proved done.

    Raises:
        StorageError: If a ledger cannot be read.
    """
    ledgers.read(jobs)
    to_do, done = array("q"), array("q")
    for index, place in enumerate(places(jobs)):
        is_done = ledgers.prove(jobs[index]) if place.source is None else ledgers.prove_file(place)
        (done if is_done else to_do).append(index)
    return picked(jobs, to_do), picked(jobs, done)

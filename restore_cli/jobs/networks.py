"""The networks of a run: each is loaded when the first image needs it, once, and kept.

Stage 5, RUN, between the pipeline and `inference`. Most runs have one; where the images themselves choose (gray and
colour, levels of noise), those that no image needs are never read or fetched. torch comes in with the first of them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from restore_cli.jobs.choose import Choice, Chooser
from restore_cli.jobs.ledger import Origin
from restore_cli.jobs.plan import JobPlan
from restore_cli.jobs.resume import origin_of
from restore_cli.weights.file import read_content
from restore_cli.weights.store import Progress, fetch, locate

if TYPE_CHECKING:
    from restore_cli.imaging.decoded_image import DecodedImage
    from restore_cli.inference.report import NetworkFacts, RunFacts
    from restore_cli.inference.restorer import Restorer
    from restore_cli.jobs.targets import ImageJob, JobResult
    from restore_cli.metrics.noise_level import NoiseEstimate
    from restore_cli.weights.manifest import WeightsEntry

LOOKED_AT_FIRST = 3
"""So many images are looked at for the network that is loaded before the work begins; broken ones are rare."""

Transfer = Callable[[str], AbstractContextManager[Progress | None]]
"""Takes the name of a file that is about to be fetched, yields a function that takes how far it is."""


def no_report(_name: str) -> AbstractContextManager[Progress | None]:
    """Tell nobody of a download."""
    return contextlib.nullcontext()


class NetworkSource(Protocol):
    """What a batch asks of its networks, whether they are chosen for each image or were loaded before."""

    @property
    def default(self) -> WeightsEntry:
        """Return the weights of an image that nothing is known of."""
        ...

    @property
    def loaded(self) -> tuple[Restorer, ...]:
        """Return the networks that were needed so far."""
        ...

    def prepare(self, jobs: Sequence[ImageJob], *, only_fetch: bool = False) -> None:
        """Load the network of the first image, so that what is missing is found before the work begins."""
        ...

    def choose(self, image: DecodedImage) -> Choice:
        """Return which weights an image gets."""
        ...

    def restorer(self, entry: WeightsEntry, stop: threading.Event | None = None) -> Restorer:
        """Return a network, loaded now if it is not yet."""
        ...

    def origin(self, entry: WeightsEntry) -> Origin:
        """Return what results of a network depend on besides their inputs."""
        ...

    def origins(self) -> tuple[Origin, ...]:
        """Return the origins of all networks that some image could get."""
        ...

    def digest(self, entry: WeightsEntry) -> str:
        """Return the digest of a weights file."""
        ...


def facts_of_run(networks: NetworkSource, result: JobResult) -> RunFacts | None:
    """Return how the image of a result was run, None where it was not."""
    if result.status != "ok" or result.size_in is None:
        return None
    return next(r for r in networks.loaded if r.weights.entry.id == result.weights).describe(result.size_in)


class LoadedNetwork:
    """Give every image of a plan the same network, loaded before: a chain of several, or one that a server keeps.

    Args:
        plan: How it runs.
        restorer: The network.
        noise: What was estimated of the noise in the one image of the plan; None where nobody asked for it.
    """

    def __init__(self, plan: JobPlan, restorer: Restorer, *, noise: NoiseEstimate | None = None) -> None:
        self._plan = plan
        self._restorer = restorer
        self._noise = noise

    @property
    def default(self) -> WeightsEntry:
        """Return its weights."""
        return self._restorer.weights.entry

    @property
    def loaded(self) -> tuple[Restorer, ...]:
        """Return it."""
        return (self._restorer,)

    def prepare(self, jobs: Sequence[ImageJob], *, only_fetch: bool = False) -> None:
        """Do nothing: it is loaded."""

    def choose(self, image: DecodedImage) -> Choice:  # noqa: ARG002 -- as the others
        """Return its weights."""
        return Choice(entry=self.default, noise=self._noise)

    def restorer(self, entry: WeightsEntry, stop: threading.Event | None = None) -> Restorer:  # noqa: ARG002 -- likewise
        """Return it."""
        return self._restorer

    def origin(self, entry: WeightsEntry) -> Origin:
        """Return what its results depend on besides their inputs."""
        return origin_of(self._plan, entry, self.digest(entry))

    def origins(self) -> tuple[Origin, ...]:
        """Return its origin."""
        return (self.origin(self.default),)

    def digest(self, entry: WeightsEntry) -> str:  # noqa: ARG002 -- likewise
        """Return the digest of its file."""
        return self._restorer.weights.digest


class Networks:
    """Choose the network of each image of a plan, and load it when it is needed.

    Args:
        plan: Which weights, and how they run.
        transfer: Called with the name of a file before it is fetched.
        on_load: Called with each network, from the thread that loaded it.

    Raises:
        UsageError: If nothing serves the request.
        WeightsError: If the weights file is missing or damaged, or nothing is bundled.
    """

    def __init__(
        self, plan: JobPlan, *, transfer: Transfer | None = None, on_load: Callable[[NetworkFacts], None] | None = None
    ) -> None:
        self.chooser = Chooser(plan.weights)
        self._plan = plan
        self._transfer = transfer or no_report
        self._on_load = on_load
        self._restorers: dict[str, Restorer] = {}
        self._digests: dict[str, str] = {}
        self._lock = threading.Lock()

    @property
    def default(self) -> WeightsEntry:
        """Return the weights of an image that nothing is known of."""
        return self.chooser.default

    @property
    def loaded(self) -> tuple[Restorer, ...]:
        """Return the networks that were needed so far."""
        return tuple(self._restorers.values())

    def prepare(self, jobs: Sequence[ImageJob], *, only_fetch: bool = False) -> None:
        """Load the network of the first image, so that what is missing is found before the work begins.

        Args:
            jobs: What is to be done; nothing is loaded where there is nothing.
            only_fetch: Only see to it that its file is here, for other processes to load.

        Raises:
            WeightsError: If its file cannot be had or is not what it claims.
            DeviceError: If the device is not there.
        """
        if not jobs:
            return
        chooser = self.chooser
        looked_at = jobs[:LOOKED_AT_FIRST] if chooser.depends_on_image else ()
        choice = next(filter(None, (chooser.choose_for(job, self._plan.read) for job in looked_at)), None)
        entry = chooser.default if choice is None else choice.entry
        if not only_fetch:
            self.restorer(entry)
        elif self._plan.weights.path is None:
            self._fetch(entry)

    def choose(self, image: DecodedImage) -> Choice:
        """Return which weights an image gets."""
        return self.chooser.choose(image)

    def restorer(self, entry: WeightsEntry, stop: threading.Event | None = None) -> Restorer:
        """Return a network, loaded now if it is not yet.

        Args:
            entry: One of the chooser's candidates.
            stop: Set it to leave a download.

        Raises:
            WeightsError: If its file cannot be had or is not what it claims.
            DeviceError: If the device is not there.
            StopRequestedError: If `stop` was set.
        """
        with self._lock:
            if entry.id not in self._restorers:
                self._restorers[entry.id] = self._load(entry, stop)
            return self._restorers[entry.id]

    def origin(self, entry: WeightsEntry) -> Origin:
        """Return what results of a network depend on besides their inputs; it must be loaded, or its file be here."""
        return origin_of(self._plan, entry, self.digest(entry), by_image=self.chooser.depends_on_image)

    def digest(self, entry: WeightsEntry) -> str:
        """Return the digest of a weights file; the file is fetched where nobody else knows it.

        Raises:
            WeightsError: If the file cannot be had.
        """
        if entry.id in self._restorers:
            return self._restorers[entry.id].weights.digest
        if entry.id not in self._digests:
            path = self._plan.weights.path or locate(entry)
            if path is not None or entry.sha256 is None:
                path = path or self._fetch(entry)
                self._digests[entry.id] = f"sha256:{read_content(path).sha256}"
            else:
                self._digests[entry.id] = f"sha256:{entry.sha256}"
        return self._digests[entry.id]

    def origins(self) -> tuple[Origin, ...]:
        """Return the origins of all networks that some image of the plan could get.

        One whose file is not here and whose digest nobody published has none: nothing here was made with it.
        """
        only = not self.chooser.depends_on_image
        known = [e for e in self.chooser.candidates if only or e.sha256 is not None or locate(e) is not None]
        return tuple(self.origin(entry) for entry in known)

    def _fetch(self, entry: WeightsEntry) -> Path:
        with self._transfer(entry.file) as progress:
            return fetch(entry, offline=self._plan.weights.offline, progress=progress)

    def _load(self, entry: WeightsEntry, stop: threading.Event | None) -> Restorer:
        from restore_cli.inference.device import keep_freed_memory
        from restore_cli.inference.restorer import Restorer
        from restore_cli.inference.runner import StopRequestedError
        from restore_cli.weights.load import load_weights

        with self._transfer(entry.file) as progress:

            def advance(done: int, total: int | None) -> None:
                if stop is not None and stop.is_set():
                    raise StopRequestedError
                if progress is not None:
                    progress(done, total)

            keep_freed_memory()
            request = self._plan.weights
            weights = load_weights(entry, request.path, offline=request.offline, progress=advance)
        restorer = Restorer(weights, self._plan.run)
        if self._on_load is not None:
            self._on_load(restorer.facts())
        return restorer

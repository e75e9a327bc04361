"""What one of several workers does, wherever it runs: load the network once, then restore what it is given.

Stages 3 to 7. It is the pipeline of a single run; only who watches is elsewhere, and is told by messages.
"""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections.abc import Iterator
from dataclasses import replace

from restore_cli._version import __version__
from restore_cli.errors import RestoreError, WeightsError
from restore_cli.inference.report import ImageProgress, NetworkFacts
from restore_cli.jobs.batch import networks_of
from restore_cli.jobs.crew import Advanced, Batch, Done, Failed, Finished, Loaded, Order, Ready, Tell
from restore_cli.jobs.networks import NetworkSource, facts_of_run, no_report
from restore_cli.jobs.pipeline import run_jobs
from restore_cli.jobs.resume import Ledgers
from restore_cli.jobs.targets import ImageJob, JobResult
from restore_cli.weights.store import fetch_own


class Worker:
    """A worker with its network.

    Args:
        order: What it is to do.
        report: Takes its messages, from several threads.

    Raises:
        RestoreError: If weights or the device cannot be had, or are not those that were meant.
    """

    def __init__(self, order: Order, report: Tell) -> None:
        require_version(order.version)
        self._order = order
        self._report = report
        self._networks = self._load()
        self._ledgers = Ledgers(order.origins)
        report(Ready())

    def restore(self, batch: Batch, stop: threading.Event) -> None:
        """Restore some images; `stop` as in `run_jobs`."""
        plan = replace(
            self._order.plan,
            jobs=batch.jobs,
            one_by_one=batch.one_by_one,
            retry_failed=self._order.plan.retry_failed or batch.one_by_one,
        )
        summary = run_jobs(
            plan,
            self._networks,
            on_result=self._result,
            stop=stop,
            progress=self._progress if self._order.follow else None,
            ledgers=self._ledgers,
        )
        self._report(Finished(fatal=summary.fatal))

    def close(self) -> None:
        """Let go of what tells which images were begun."""
        self._ledgers.close()

    def _load(self) -> NetworkSource:
        plan = replace(self._order.plan, workers=None)
        wanted = plan.weights
        if wanted.url is not None and wanted.path is not None and not wanted.path.is_file():  # on another machine
            plan = replace(plan, weights=replace(wanted, path=fetch_own(wanted.url, offline=wanted.offline)))
        networks = networks_of(plan, no_report, self._loaded)
        networks.prepare(self._order.first)
        return networks

    def _loaded(self, network: NetworkFacts) -> None:
        if network.digest not in {origin.weights for origin in self._order.origins}:
            msg = f"{network.path} of a worker is not the file of the same name where the run was begun"
            raise WeightsError(msg, hint="copy it there")
        self._report(Loaded(network=network))

    def _progress(self, job: ImageJob, progress: ImageProgress) -> None:
        self._report(Advanced(target=job.target, progress=progress))

    def _result(self, result: JobResult) -> None:
        if result.error is not None:
            keep_traceback(result.error)
        self._report(Done(result=result, facts=facts_of_run(self._networks, result)))


def require_version(version: str) -> None:
    """Refuse to work for another version of the program.

    Raises:
        RestoreError: If it is one.
    """
    if version != __version__:
        msg = f"a worker has restore {__version__}, the run was begun by {version}"
        raise RestoreError(msg, hint="install the same version everywhere")


@contextlib.contextmanager
def faults_reported(tell: Tell) -> Iterator[None]:
    """Tell what a worker cannot go on from; a bug too is one line, as it is without workers."""
    try:
        yield
    except RestoreError as error:
        keep_traceback(error)
        tell(Failed(error=error))
    except Exception as error:  # noqa: BLE001 -- see above
        fault = RestoreError(f"unforeseen {type(error).__name__}: {error}", hint="see --debug and report it")
        fault.__cause__ = error
        keep_traceback(fault)
        tell(Failed(error=fault))


def keep_traceback(error: BaseException) -> None:
    """Put an error's traceback among its notes, which travel to other processes; frames and causes do not."""
    error.add_note("".join(traceback.format_exception(error)))

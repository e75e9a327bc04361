"""Workers that are actors of a Ray cluster: one that is named, else one that is started for the run and ends with it.

Stages 3 to 7. Only Ray's core is used, whose actors do not change between releases as its data library does; and where
work fails, who tries again is decided here and not there. The nodes must have this program in the same version, and the
folders under the same paths. Messages are fetched by calls that wait in the actor, so that nothing is asked in vain.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import queue
import socket
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from restore_cli._version import __version__
from restore_cli.errors import DeviceError, StorageError, UsageError
from restore_cli.inference.device import host_free_memory
from restore_cli.jobs.crew import Batch, Died, Failed, Finished, Message, Order, Ready
from restore_cli.settings import Share

_LISTEN_SECONDS = 5.0
_GATHER_SECONDS = 0.1
_STOP_SECONDS = 10.0
_THREADS = 3  # for restoring, listening, and being told to stop
_OBJECTS_BYTES = 100 << 20  # only messages pass through Ray's store, which else takes a third of the memory
_PORT = 6379
_ANSWER_SECONDS = 10.0


class Actors:
    """A crew of Ray actors; see `crew.Crew`.

    Args:
        address: Of the cluster, HOST or HOST:PORT; "auto" for the one that this machine is part of; None starts one.
    """

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._order = b""
        self._folder = ""
        self._resources: dict[str, float] = {}
        self._actors: dict[int, Any] = {}
        self._listening: dict[Any, int] = {}
        self._ready: set[int] = set()

    def start(self, order: Order, count: int) -> None:
        """Join or start the cluster, and start the actors: those that find no place start when there is one.

        Raises:
            UsageError: If Ray is not installed.
            DeviceError: If there is no such cluster.
        """
        ray = _ray()
        cores = os.cpu_count() or 1
        settings: dict[str, Any] = {"address": self._address}
        if self._address is None:  # "local": Ray joins what it finds where no address is given
            settings = {"address": "local", "num_cpus": cores, "object_store_memory": _OBJECTS_BYTES}
            settings |= {"include_dashboard": False}
        try:
            if self._address not in {None, "auto"}:
                settings["address"] = _answering(str(self._address))
            ray.init(**settings, namespace=f"restore-{uuid.uuid4()}", log_to_driver=False, logging_level="ERROR")
        except Exception as error:  # OSError, ValueError and what else Ray may raise
            what = "Ray cannot be started" if self._address is None else f"no Ray cluster answers at {self._address}"
            line = str(error).strip().partition("\n")[0]
            raise DeviceError(f"{what}: {line}", hint="look at --address, and at `ray status` there") from error
        run = order.plan.run
        gpus = ray.cluster_resources().get("GPU", 0.0) and run.device in {"auto", "cuda"}
        has_range = order.plan.workers is not None and order.plan.workers.most is not None
        cpus = cores // count or cores / count if self._address is None and not has_range else run.threads or 1
        self._resources = {"num_cpus": cpus, "num_gpus": 1 if gpus else 0}
        self._order, self._folder = pickle.dumps(order), str(Path.cwd())
        for worker in range(count):
            self.revive(worker)

    def revive(self, worker: int) -> None:
        """Start an actor, or start it anew."""
        remote = _ray().remote(max_concurrency=_THREADS, **self._resources)(Actor)
        self._actors[worker] = actor = remote.remote()
        actor.prepare.remote(__version__, self._order, self._folder)
        self._listen(worker)

    def hand_out(self, worker: int, batch: Batch) -> None:
        """Give an actor some images."""
        self._actors[worker].restore.remote(batch)

    def messages(self, seconds: float) -> Sequence[tuple[int, Message]]:
        """Return what actors say."""
        ray = _ray()
        waiting = list(self._listening)
        if not ray.wait(waiting, timeout=seconds)[0]:
            return []
        said: list[tuple[int, Message]] = []
        for answer in ray.wait(waiting, num_returns=len(waiting), timeout=0)[0]:
            worker = self._listening.pop(answer)
            try:
                messages = ray.get(answer)
                said += [(worker, message) for message in messages]
                if any(isinstance(message, Ready) for message in messages):
                    self._ready.add(worker)
            except ray.exceptions.RayError as error:
                self._actors.pop(worker, None)
                self._ready.discard(worker)
                said.append((worker, Died(reason=_why(error))))
            else:
                self._listen(worker)
        return said

    def stop(self) -> None:
        """Let the actors leave what they have in hand."""
        for actor in self._actors.values():
            actor.stop.remote()

    def close(self) -> None:
        """End the actors, and the cluster if it is ours."""
        ray = _ray()
        if not ray.is_initialized():
            return
        # Others have begun nothing, and may never find a place.
        ended = [actor.close.remote() for worker, actor in self._actors.items() if worker in self._ready]
        with contextlib.suppress(ray.exceptions.RayError):
            ray.wait(ended, num_returns=len(ended), timeout=_STOP_SECONDS) if ended else None
        for actor in self._actors.values():
            ray.kill(actor)
        self._actors.clear()
        self._listening.clear()
        ray.shutdown()

    def _listen(self, worker: int) -> None:
        self._listening[self._actors[worker].listen.remote()] = worker


class Actor:
    """What runs on a node: a worker, and what it has said and nobody has fetched yet."""

    def __init__(self) -> None:
        self._said: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._worker: Any = None

    def prepare(self, version: str, order: bytes, folder: str) -> None:
        """Load the network; `order` is only opened where the version is the same."""
        from restore_cli.jobs.worker import Worker, faults_reported, require_version

        with faults_reported(self._said.put):
            require_version(version)
            try:
                os.chdir(folder)
            except OSError as error:
                msg = f"{folder} is not there on a worker's machine: {error.strerror}"
                raise StorageError(msg, hint="share it under the same path") from error
            known: Order = pickle.loads(order)  # noqa: S301 -- from the one who started this actor
            plan = replace(known.plan, run=replace(known.plan.run, share=_own_share()))
            self._worker = Worker(replace(known, plan=plan), self._said.put)

    def restore(self, batch: Batch) -> None:
        """Restore some images."""
        from restore_cli.jobs.worker import faults_reported

        with faults_reported(self._said.put):
            self._worker.restore(batch, self._stop)

    def listen(self) -> list[Message]:
        """Return what was said since the last time, waiting for it for some seconds, and a moment for more.

        A call takes about a millisecond on either side, as much as some images. What is acted upon is told at once.
        """
        said: list[Message] = []
        with contextlib.suppress(queue.Empty):
            said.append(self._said.get(timeout=_LISTEN_SECONDS))
            end = time.monotonic() + _GATHER_SECONDS
            while not isinstance(said[-1], Ready | Finished | Failed):
                said.append(self._said.get(timeout=max(0.0, end - time.monotonic())))
        return said

    def stop(self) -> None:
        """Leave what is in hand."""
        self._stop.set()

    def close(self) -> None:
        """Let go of what tells which images were begun."""
        self._stop.set()
        if self._worker is not None:
            self._worker.close()


def _own_share() -> Share:
    """Return the part of the node's memory that goes with the actor's CPUs; its GPU, if it has one, is its own."""
    cpus = _ray().get_runtime_context().get_assigned_resources().get("CPU", 1.0)
    return Share(memory=int(host_free_memory() * min(1.0, cpus / (os.cpu_count() or 1))))


def _answering(address: str) -> str:
    """Return HOST:PORT of an address where something answers; Ray itself would ask for minutes.

    Raises:
        OSError: If nothing does.
    """
    host, _, port = address.partition(":")
    socket.create_connection((host, int(port or _PORT)), timeout=_ANSWER_SECONDS).close()
    return f"{host}:{port or _PORT}"


def _why(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]


def _ray() -> Any:
    """Return Ray, which tells nobody that it is used here.

    Raises:
        UsageError: If it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise UsageError("--engine ray needs Ray", hint="pip install 'restore-cli[ray]'") from error
    logging.getLogger("ray").setLevel(logging.ERROR)
    # It would print at length of each actor that dies, and on standard output, which is the images' and reports'.
    ray._private.worker._worker_logs_enabled = False
    return ray

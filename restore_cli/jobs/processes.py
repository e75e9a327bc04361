"""Workers that are processes of this machine.

Stages 3 to 7. They are started anew rather than forked, since torch's threads do not outlive a fork. A pipe leads to
each. Its end tells either side that the other is gone: the system closes it whatever a process dies of, so that no
worker outlives the run. Signals are the business of the process that started them, which tells them to stop.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from restore_cli.inference.children import main_module_hidden
from restore_cli.inference.device import host_free_memory
from restore_cli.jobs.crew import Batch, Died, Message, Order, Ready
from restore_cli.settings import RunSettings, Share

_STOP = "stop"
_END_SECONDS = 10.0
_SIGNALS = {getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)}


class WorkerProcesses:
    """A crew of processes; see `crew.Crew`."""

    def __init__(self) -> None:
        self._order: Order | None = None
        self._count = 0
        self._memory = 0
        self._processes: dict[int, SpawnProcess] = {}
        self._pipes: dict[int, Connection] = {}
        self._ready: set[int] = set()

    def start(self, order: Order, count: int) -> None:
        """Start the workers."""
        self._order, self._count = order, count
        # Measured once: what is free later depends on what the others hold just then, and tiles would depend on it.
        self._memory = host_free_memory() // count
        atexit.register(self.close)  # before the interpreter waits for its children
        for worker in range(count):
            self.revive(worker)

    def revive(self, worker: int) -> None:
        """Start a worker, or start it anew."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_work, args=(theirs, self._order, worker, self._count, self._memory), daemon=True
        )
        with _signals_kept_off(), main_module_hidden():
            process.start()
        theirs.close()
        self._processes[worker], self._pipes[worker] = process, ours

    def hand_out(self, worker: int, batch: Batch) -> None:
        """Give a worker some images."""
        self._send(worker, batch)

    def messages(self, seconds: float) -> Sequence[tuple[int, Message]]:
        """Return what workers say."""
        workers = {id(pipe): worker for worker, pipe in self._pipes.items()}
        reports: list[tuple[int, Message]] = []
        for pipe in connection.wait(list(self._pipes.values()), seconds):
            worker = workers[id(pipe)]
            try:
                message = self._pipes[worker].recv()
                if isinstance(message, Ready):
                    self._ready.add(worker)
                reports.append((worker, message))
            except (EOFError, OSError):  # OSError: it died in the middle of a message
                reports.append((worker, Died(reason=self._bury(worker))))
        return reports

    def stop(self) -> None:
        """Let the workers leave what they have in hand."""
        for worker in self._pipes:
            self._send(worker, _STOP)

    def close(self) -> None:
        """End the workers: those that are idle at once, others when they have left what they have in hand."""
        atexit.unregister(self.close)
        for pipe in self._pipes.values():
            pipe.close()
        for worker, process in self._processes.items():
            if worker not in self._ready:  # it has begun nothing
                process.kill()
            _end(process)
        self._pipes.clear()
        self._processes.clear()

    def _send(self, worker: int, what: object) -> None:
        with contextlib.suppress(OSError):  # it has died, which `messages` tells
            self._pipes[worker].send(what)

    def _bury(self, worker: int) -> str:
        self._pipes.pop(worker).close()
        self._ready.discard(worker)
        process = self._processes.pop(worker)
        _end(process)
        code = process.exitcode or 0
        return f"signal {-code}" if code < 0 else f"exit code {code}"


def _end(process: SpawnProcess) -> None:
    process.join(_END_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()


@contextlib.contextmanager
def _signals_kept_off() -> Iterator[None]:
    """Let processes started inside be deaf to the signals that end a run; ours come when it is over."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # else it is started inside, and lets the signals through behind it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe: Connection, order: Order, index: int, count: int, memory: int) -> None:
    """Do what comes through the pipe until it ends; the main function of a worker."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // count)))  # before torch is imported
    batches: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
    stop, speaking = threading.Event(), threading.Lock()

    def listen() -> None:
        with contextlib.suppress(EOFError, OSError):
            while isinstance(reports := pipe.recv(), Batch):
                batches.put(reports)
            stop.set()
            pipe.recv()
        stop.set()
        batches.put(None)

    def tell(message: Message) -> None:
        with speaking, contextlib.suppress(OSError):  # whoever listened is gone; `listen` sees it too
            pipe.send(message)

    threading.Thread(target=listen, name="orders", daemon=True).start()
    from restore_cli.jobs.worker import Worker, faults_reported

    with faults_reported(tell):
        run = _part_of_machine(order.plan.run, index, count, memory)
        worker = Worker(replace(order, plan=replace(order.plan, run=run)), tell)
        with contextlib.closing(worker):
            while (batch := batches.get()) is not None:
                worker.restore(batch, stop)


def _part_of_machine(run: RunSettings, index: int, count: int, memory: int) -> RunSettings:
    """Return the settings with what of the machine is one worker's: a GPU, if there are several, and memory."""
    import torch

    gpus = torch.cuda.device_count() if run.device == "auto" else 0
    device = f"cuda:{index % gpus}" if gpus > 1 else run.device
    on_one = -(-count // gpus) if gpus > 1 else count
    return replace(run, device=device, share=Share(memory=memory, device=1.0 / on_one))

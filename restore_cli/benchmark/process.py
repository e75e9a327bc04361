"""Measure each case in a process of its own.

A fresh process makes peak memory honest (nothing an earlier case left in an allocator), keeps thread counts and
compiled code of one case out of the next, and when the kernel kills it for want of memory only its row is lost. This
module imports no torch, so that the child can set up its signals before anything slow is loaded.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from restore_cli.benchmark.cases import BenchSettings, Case
from restore_cli.errors import RestoreError
from restore_cli.inference.children import main_module_hidden

if TYPE_CHECKING:
    from restore_cli.benchmark.measure import Measurement
    from restore_cli.benchmark.timing import OnStep, Stage


@dataclass(frozen=True, kw_only=True)
class _Step:
    stage: Stage
    done: int
    total: int | None


@dataclass(frozen=True, kw_only=True)
class _Failure:
    message: str


def measure_in_process(case: Case, settings: BenchSettings, on_step: OnStep) -> Measurement:
    """Measure a case in a fresh process.

    Raises:
        RestoreError: If the case cannot be measured: no such device, out of memory, killed.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(case, settings, sender), name=f"bench {case.entry.id}")
    with main_module_hidden():
        process.start()
    sender.close()  # the child's end is then the only one, and its death is the end of the stream
    try:
        while True:
            match receiver.recv():
                case _Step(stage=stage, done=done, total=total):
                    on_step(stage, done, total)
                case _Failure(message=message):
                    raise RestoreError(message)
                case measurement:
                    return measurement  # type: ignore[no-any-return]
    except EOFError:
        process.join()
        raise RestoreError(_describe_exit(process.exitcode)) from None
    finally:
        process.terminate()
        process.join()
        receiver.close()


def _work(case: Case, settings: BenchSettings, sender: Connection) -> None:
    # Ctrl-C reaches the whole process group; the parent ends this process and tells the user.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from restore_cli.benchmark.measure import measure
    from restore_cli.inference.device import keep_freed_memory

    keep_freed_memory()  # as the restoring commands do

    def on_step(stage: Stage, done: int, total: int | None) -> None:
        sender.send(_Step(stage=stage, done=done, total=total))

    with contextlib.suppress(BrokenPipeError):  # the parent is gone, and with it whoever wanted to know
        try:
            sender.send(measure(case, settings, on_step))
        except (RestoreError, MemoryError, RuntimeError) as error:
            sender.send(_Failure(message=_first_line(error)))


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _describe_exit(code: int | None) -> str:
    if code == -getattr(signal, "SIGKILL", 9):
        return "the measuring process was killed, most likely for want of memory; use a smaller --size or --batch"
    if code is not None and code < 0:
        return f"the measuring process was ended by signal {-code}"
    return f"the measuring process ended with exit code {code}"

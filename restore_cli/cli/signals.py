"""Ctrl-C and `kill` while images or steps are under way: finish what is in hand, then leave with the right code.

Stage 1, ASK. Outside of such work (while torch is loaded, say) either signal raises, and the program leaves through its
usual door.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import NoReturn

_WATCHED = (signal.SIGINT, signal.SIGTERM)
_SIGNAL_EXIT = 128  # plus the signal's number, as shells count
# Not told by the exception: what it passes on its way, imports and C code among them, may raise another in its place.
_taken: list[int] = []


@dataclass(kw_only=True)
class StopRequest:
    """Whether somebody wants the work to end.

    Attributes:
        stop: Set when it is so.
        signal: The signal that said it, None for none.
    """

    stop: threading.Event = field(default_factory=threading.Event)
    signal: int | None = None

    @property
    def exit_code(self) -> int | None:
        """Return 130 after SIGINT, 143 after SIGTERM, None after neither."""
        return None if self.signal is None else _SIGNAL_EXIT + self.signal


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM into a request to stop; the second ends the process there and then.

    Only for the main thread, which alone may handle signals.
    """
    request = StopRequest()

    def ask(number: int, _frame: FrameType | None) -> None:
        request.signal = number
        request.stop.set()
        for watched in _WATCHED:
            signal.signal(watched, signal.SIG_DFL)  # the system's own: it works inside long calls of C code too

    before = {watched: signal.signal(watched, ask) for watched in _WATCHED}
    try:
        yield request
    finally:
        for watched, handler in before.items():
            signal.signal(watched, handler)


def raise_on_sigterm() -> None:
    """Let SIGTERM raise KeyboardInterrupt, as SIGINT does."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        _taken.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def is_interruption(error: BaseException) -> bool:
    """Tell whether an error is an interruption, or was raised in the place of one.

    Up to Python 3.11 one that hits a class in the making, as happens in imports, comes out as a RuntimeError.
    """
    link: BaseException | None = error
    while link is not None and not isinstance(link, KeyboardInterrupt):
        link = link.__cause__
    return link is not None


def interruption_exit_code() -> int:
    """Return the exit code after a KeyboardInterrupt: 143 if SIGTERM raised it, else 130."""
    return _SIGNAL_EXIT + (_taken[-1] if _taken else signal.SIGINT)


def leave(code: int) -> NoReturn:
    """End the process with an exit code that is settled: further signals change nothing.

    After an interruption the interpreter is not shut down: where the interruption hit code run by `exec`, as in half of
    all imports, CPython would end by SIGINT whatever exit code it is given.
    """
    for watched in _WATCHED:
        signal.signal(watched, signal.SIG_IGN)
    if code not in {_SIGNAL_EXIT + watched for watched in _WATCHED}:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)

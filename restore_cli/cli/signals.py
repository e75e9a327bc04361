"""Ctrl-C, `kill` and a lost terminal: end at once where nothing is under way, else finish what is in hand.

Stage 1, ASK. While the program starts, which is mostly imports, the system's own handlers stand: the process ends by
the signal, whatever code is running, and a shell shows 130, 143 or 129. Results are written so that a kill leaves no
half of one, so nothing has to be cleared away then. A batch or a training stops in good order instead
(`stop_on_signals`); what has processes of its own to end is interrupted by an exception (`raise_on_signals`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import NoReturn

# A terminal that is closed sends SIGHUP; Windows has none.
_WATCHED = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_SIGNAL_EXIT = 128  # plus the signal's number, as shells count
# Not told by the exception: what it passes on its way may raise another in its place.
_taken: list[int] = []

_Handler = Callable[[int, FrameType | None], None]


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
        """Return 130 after SIGINT, 143 after SIGTERM, 129 after SIGHUP, None after none."""
        return None if self.signal is None else _SIGNAL_EXIT + self.signal


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the first signal into a request to stop; the second ends the process there and then.

    Only for the main thread, which alone may handle signals.
    """
    request = StopRequest()

    def ask(number: int, _frame: FrameType | None) -> None:
        request.signal = number
        request.stop.set()
        for watched in _watched():
            signal.signal(watched, signal.SIG_DFL)  # the system's own: it works inside long calls of C code too

    with _handled(ask):
        yield request


@contextlib.contextmanager
def raise_on_signals() -> Iterator[None]:
    """Let every signal raise KeyboardInterrupt, for work that has processes of its own to end."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        _taken.append(number)
        raise KeyboardInterrupt

    with _handled(interrupt):
        yield


@contextlib.contextmanager
def _handled(handler: _Handler) -> Iterator[None]:
    """Handle the watched signals while inside."""
    before = {watched: signal.signal(watched, handler) for watched in _watched()}
    try:
        yield
    finally:
        for watched, earlier in before.items():
            signal.signal(watched, earlier)


def _watched() -> list[int]:
    """Return the signals to handle: all but a loss of the terminal that `nohup` has the program ignore."""
    always = {signal.SIGINT, signal.SIGTERM}
    return [number for number in _WATCHED if number in always or signal.getsignal(number) != signal.SIG_IGN]


def is_interruption(error: BaseException) -> bool:
    """Return whether an error is an interruption, or was raised in the place of one.

    Up to Python 3.11 one that hits a class in the making, as happens in imports, comes out as a RuntimeError.
    """
    link: BaseException | None = error
    while link is not None and not isinstance(link, KeyboardInterrupt):
        link = link.__cause__
    return link is not None


def interruption_exit_code() -> int:
    """Return the exit code after a KeyboardInterrupt: that of the signal which raised it, else 130."""
    return _SIGNAL_EXIT + (_taken[-1] if _taken else signal.SIGINT)


def leave(code: int) -> NoReturn:
    """End the process.

    After a signal the interpreter is not shut down: where an interruption hit code run by `exec`, as in half of all
    imports, CPython would end by SIGINT whatever exit code it is given.
    """
    if code not in {_SIGNAL_EXIT + watched for watched in _WATCHED}:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)

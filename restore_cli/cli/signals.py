"""Ctrl-C and `kill` while pictures or steps are under way: finish what is in hand, then leave with the right code.

Stage 1, ASK. Outside of such work the usual rules hold: SIGINT raises KeyboardInterrupt, SIGTERM ends the process.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType

_WATCHED = (signal.SIGINT, signal.SIGTERM)
_SIGNAL_EXIT = 128  # plus the signal's number, as shells count


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

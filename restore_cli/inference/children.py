"""Start processes that do not run the caller's script again.

A spawned process imports its parent's main module first, so a script that calls us at its top level would be run again
by each child, and end in an error. Ours need nothing of it: what they run lies in this package. Imports no torch.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from types import ModuleType

_LOCK = threading.Lock()


@contextlib.contextmanager
def main_module_hidden() -> Iterator[None]:
    """Let processes that are started inside know of no main module."""
    with _LOCK:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main

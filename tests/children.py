"""Whether this process has started any other: asked of the system, since C code starts them too."""

from __future__ import annotations

import os
import resource


def children_seen() -> str | None:
    """Return a word on the processes that this one has started, living or dead, or None if there never was one."""
    try:
        pid, _ = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        # Those that were waited for have left their largest resident memory, which no process does without.
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return f"a child process of {usage.ru_maxrss} KiB" if usage.ru_maxrss else None
    return f"a child process, {pid or 'still alive'}"

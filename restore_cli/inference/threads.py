"""How long a thread of the CPU waits for its next piece of work before it sleeps.

Stage 5, RUN, on the CPU. GNU OpenMP, which torch brings on Linux, lets idle threads spin for a tenth of a second and
more: between the parts of a network, while Python works, and on a busy machine in the time of whoever would work. A
thread that spins about as long as waking takes loses at most that much each time. Measured on two busy cores: `restore
sr` on 160x128 pixels took 4.0 to 4.5 s of CPU and 12 s in all, 2.4 and 5.5 s with this; no pixel depends on it.
"""

from __future__ import annotations

import os

# Some 0.1 ms, twice what it takes to wake a thread.
_SPINS = "2000"


def spin_briefly() -> None:
    """Let idle threads sleep soon, unless the user's environment says how they wait.

    For programs, which own their process, and before torch is imported: OpenMP looks once.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)

"""How many threads numpy's products take, and how long torch's wait for their next piece of work before they sleep.

Stage 5, RUN, on the CPU. GNU OpenMP, which torch brings on Linux, lets idle threads spin for a tenth of a second and
more: between the parts of a network, while Python works, and on a busy machine in the time of whoever would work. A
thread that spins about as long as waking takes loses at most that much each time. Measured on two busy cores: `restore
sr` on 160x128 pixels took 4.0 to 4.5 s of CPU and 12 s in all, 2.4 and 5.5 s with this; no pixel depends on it.

OpenBLAS, which numpy brings, has threads of its own: `--threads` does not reach them, they spin too, and what numpy
multiplies here is small (the noise of a denoised image is looked at). `restore denoise --threads 1` took 104 ms of CPU
for an image of 64x64, 26 with a single one; the estimates are equal in every bit.
"""

from __future__ import annotations

import os

# Some 0.1 ms, twice what it takes to wake a thread.
_SPINS = "2000"


def settle_threads() -> None:
    """Let numpy work in one thread and idle threads of torch sleep soon, unless the user's environment says otherwise.

    For programs, which own their process, and before numpy and torch are imported: both look once.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
